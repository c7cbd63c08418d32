package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/tokenizer"
)

const (
	tokenizerText  = 8_000_000 // bytes of generated logs
	tokenizerWords = 8192      // ids of the tokenizer that is trained on them
	tokenizerSlice = 1 << 16   // bytes of one slice, about
)

// Tokenizer measures encoding of generated logs, a line at a time, on one thread and on all. MBPerSecond is the median on
// all threads. Encoders keep caches; slices follow each other through text of which a third was not seen in training.
func Tokenizer(ctx context.Context, o Options) (_ *Result, err error) {
	lines, err := generated(ctx, o)
	if err != nil {
		return nil, err
	}
	train := lines[:len(lines)*2/3]
	t, _, err := tokenizer.Train(ctx, each(train), tokenizer.TrainOptions{VocabSize: tokenizerWords, Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	most := o.Threads
	if most == 0 {
		most = runtime.GOMAXPROCS(0)
	}
	r := &Result{What: "tokenizer", Machine: machine(nil, most), Versions: versions(), Settings: map[string]any{"vocab_size": t.VocabSize()}}
	o.begin()
	for _, n := range []int{1, most} {
		if n == most && n == 1 && len(r.Slices) > 0 {
			continue
		}
		seconds, size, err := encode(ctx, t, lines, n, o.duration()/2)
		if err != nil {
			return nil, err
		}
		r.Slices = append(r.Slices, seconds.slice("encode", "mb_per_second", n, size/1e6))
	}
	r.MBPerSecond, r.PeakBytes = r.Slices[len(r.Slices)-1].Median, peakBytes()
	return r, nil
}

// generated returns the lines of generated logs of all kinds.
func generated(ctx context.Context, o Options) (lines [][]byte, err error) {
	dir, err := os.MkdirTemp("", "secencoder-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report, err := synth.Write(ctx, filepath.Join(dir, "synth"), synth.Options{Bytes: tokenizerText, Seed: o.Seed, Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	for _, k := range report.Kinds {
		data, err := os.ReadFile(filepath.Join(dir, "synth", filepath.FromSlash(k.Log)))
		if err != nil {
			return nil, err
		}
		lines = append(lines, bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))...)
	}
	if len(lines) < 3 {
		return nil, fmt.Errorf("bench tokenizer: %d generated lines", len(lines))
	}
	return lines, nil
}

func each(lines [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// encode times slices in which n encoders encode tokenizerSlice bytes each, and returns the bytes of one slice.
func encode(ctx context.Context, t *tokenizer.Tokenizer, lines [][]byte, n int, limit time.Duration) (seconds timed, size float64, err error) {
	mean := 0
	for _, l := range lines {
		mean += len(l)
	}
	step := max(1, tokenizerSlice*len(lines)/max(1, mean)) // lines of one slice of one encoder
	encoders := make([]*tokenizer.Encoder, n)
	ids := make([][]uint32, n)
	for i := range encoders {
		encoders[i] = t.NewEncoder()
	}
	at, total := 0, 0
	for from := time.Now(); len(seconds.times) < 3 || time.Since(from) < limit; {
		if err := ctx.Err(); err != nil {
			return timed{}, 0, err
		}
		var wg sync.WaitGroup
		err := seconds.run(0, func() error {
			for i := range encoders {
				first := at + i*step
				wg.Go(func() {
					for j := range step {
						ids[i] = encoders[i].Append(ids[i][:0], lines[(first+j)%len(lines)])
					}
				})
			}
			wg.Wait()
			return nil
		})
		if err != nil {
			return timed{}, 0, err
		}
		for j := range n * step {
			total += len(lines[(at+j)%len(lines)])
		}
		at += n * step
	}
	return seconds, float64(total) / float64(len(seconds.times)), nil
}
