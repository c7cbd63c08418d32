package model

import (
	"hash/fnv"
	"math"
	"runtime"
	"sync"

	"github.com/secencoder/secencoder/internal/rng"
)

// Init sets all weights as HF 5.x initialises them: linear, embedding and convolution weights N(0, initializer_range),
// biases 0, LayerNorm 1 and 0, the row of the pad token 0. Element i of a tensor is a function of (seed, the tensor's
// name, i) and of nothing else: not of the heads beside it, the order, or the threads.
//
// Source: DebertaV2PreTrainedModel._init_weights, transformers 5.23.0 (4.x leaves the convolution at torch's default).
func (p *Params) Init(seed uint64) {
	for _, t := range p.tensors {
		w := t.of(p.weights)
		switch t.init {
		case initZero:
			clear(w)
		case initOne:
			for i := range w {
				w[i] = 1
			}
		default:
			h := fnv.New32a()
			h.Write([]byte(t.Name)) // never fails
			normals(w, p.cfg.InitializerRange, seed, h.Sum32())
			if t.init == initNormalPad && p.cfg.PadTokenID >= 0 {
				e := t.Shape[1]
				clear(w[p.cfg.PadTokenID*e : (p.cfg.PadTokenID+1)*e])
			}
		}
	}
}

// normals fills w with N(0, deviation): element group 4b … 4b+3 from the four words of block b, two Box-Muller pairs.
// The tensor's name stands in the counter's step word, so that a tensor keeps its numbers whatever stands beside it.
func normals(w []float32, deviation float64, seed uint64, name uint32) {
	const part = 1 << 16 // elements a goroutine takes at once; a multiple of 4
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for at := range next {
				for i := at; i < min(at+part, len(w)); i += 4 {
					r := rng.Block(seed, rng.Init, 0, name, uint64(i/4))
					var z [4]float64
					z[0], z[1] = boxMuller(r[0], r[1])
					z[2], z[3] = boxMuller(r[2], r[3])
					for j := range min(4, len(w)-i) {
						w[i+j] = float32(deviation * z[j])
					}
				}
			}
		})
	}
	for at := 0; at < len(w); at += part {
		next <- at
	}
	close(next)
	wg.Wait()
}

// boxMuller makes two independent normal numbers of two uniform words; half a unit keeps the logarithm finite.
func boxMuller(a, b uint32) (x, y float64) {
	r := math.Sqrt(-2 * math.Log((float64(a)+0.5)*0x1p-32))
	sin, cos := math.Sincos(2 * math.Pi * float64(b) * 0x1p-32)
	return r * cos, r * sin
}
