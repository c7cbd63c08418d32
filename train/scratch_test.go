package train

import (
	"context"
	"fmt"
	"testing"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

// What promise counts for the kernels' scratch is as much as they take, and not three times as much where it matters.
func TestScratchIsPromised(t *testing.T) {
	skipInPlainGo(t)
	for _, c := range []struct {
		preset                 string
		tokens, piece, threads int
	}{
		{"tiny", 512, 512, 2}, {"tiny", 8192, 512, 7}, {"tiny", 8192, 8192, 4}, {"tiny", 65536, 512, 2}, {"mini", 8192, 512, 2}, {"small", 2048, 512, 4}, {"base", 512, 512, 2},
		{"large", 512, 256, 4},
	} {
		for _, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
			taken, promised, err := scratchOf(c.preset, c.tokens, c.piece, c.threads, dtype)
			if err != nil {
				t.Fatal(err)
			}
			if taken > promised || promised > 3*taken+25e6 {
				t.Errorf("%+v, %v: %d bytes of scratch, %d promised", c, dtype, taken, promised)
			}
		}
	}
}

// scratchOf runs one micro-batch of a layer and returns the scratch that is there afterwards, and what the device promised.
func scratchOf(preset string, tokens, piece, threads int, dtype kernel.DType) (taken, promised int64, err error) {
	cfg, _, err := model.Preset(preset, 1000)
	if err != nil {
		return 0, 0, err
	}
	cfg.NumHiddenLayers = 1
	dev, err := device.Open(device.Options{Threads: threads})
	if err != nil {
		return 0, 0, err
	}
	defer dev.Close()
	p, err := model.NewParams(cfg, model.Heads{MLM: true})
	if err != nil {
		return 0, 0, err
	}
	defer p.Close()
	if err := p.AllocateGrads(); err != nil {
		return 0, 0, err
	}
	plan, err := model.Compile(dev, cfg, p, model.CompileOptions{Tokens: tokens, MaxPiece: piece, Mode: model.ModeTrain, Dropout: true, DType: dtype})
	if err != nil {
		return 0, 0, err
	}
	defer plan.Close()
	b := &model.Batch{Offsets: []int32{0}, Scale: 1}
	for t := range tokens {
		b.IDs = append(b.IDs, int32(5+t%900))
		if t%7 == 0 {
			b.Masked, b.Labels = append(b.Masked, int32(t)), append(b.Labels, 6)
		}
		if (t+1)%piece == 0 {
			b.Offsets = append(b.Offsets, int32(t+1))
		}
	}
	if err := plan.Run(context.Background(), b, false); err != nil {
		return 0, 0, err
	}
	k, ok := dev.Kernels().(interface{ ScratchBytes() int64 })
	if !ok {
		return 0, 0, fmt.Errorf("kernels %s do not say what they keep", dev.Family())
	}
	return k.ScratchBytes(), dev.ScratchBytes(), nil
}
