package train

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

// optimizer is AdamW with decoupled weight decay over the parameter arenas (torch.optim.AdamW semantics; Loshchilov and
// Hutter 2019), and clipping by the global norm (torch.nn.utils.clip_grad_norm_).
type optimizer struct {
	k              kernel.Kernels
	weights, grads []float32
	first, second  []float32
	ranges         []decayRange

	beta1, beta2, epsilon, decay float64
	clip                         float64 // 0: off
}

// decayRange is a run of adjacent tensors that are updated, and decayed alike.
type decayRange struct {
	start, end int // elements of the arena
	decay      bool
}

func newOptimizer(k kernel.Kernels, p *model.Params, c *Config) *optimizer {
	o := &optimizer{
		k: k, weights: p.Weights(), grads: p.Grads(),
		beta1: c.Beta1, beta2: c.Beta2, epsilon: c.Epsilon, decay: c.WeightDecay, clip: c.Clip,
	}
	o.first, o.second = p.Moments()
	for _, t := range p.Tensors() {
		if t.Idle {
			continue // as torch passes over parameters without a gradient
		}
		end := t.Offset + t.Size()
		if n := len(o.ranges); n > 0 && o.ranges[n-1].decay == t.Decay && o.ranges[n-1].end == t.Offset {
			o.ranges[n-1].end = end
			continue
		}
		o.ranges = append(o.ranges, decayRange{t.Offset, end, t.Decay})
	}
	return o
}

// norm returns the 2-norm of all gradients, summed by the kernel's fixed tree. It is NaN or infinite when an element is.
func (o *optimizer) norm() (float64, error) {
	sum := o.k.SumSquares(0, &kernel.SumSquaresArgs{G: kernel.FromF32(o.grads), N: len(o.grads)})
	return math.Sqrt(sum), o.k.Sync(0)
}

// coefficient returns the factor that brings gradients of this norm down to the clipping bound; 1 when they are below.
func (o *optimizer) coefficient(norm float64) float64 {
	if o.clip == 0 {
		return 1
	}
	return min(1, o.clip/(norm+1e-6)) // torch's guard against a zero norm
}

// update does update number t ≥ 1 with gradients of the given norm.
func (o *optimizer) update(t int, rate, norm float64) error {
	args := kernel.AdamWArgs{
		LR: rate, Beta1: o.beta1, Beta2: o.beta2, Eps: o.epsilon, Clip: o.coefficient(norm), Step: t,
	}
	for _, r := range o.ranges {
		args.N = r.end - r.start
		args.W = kernel.FromF32(o.weights[r.start:r.end])
		args.G = kernel.FromF32(o.grads[r.start:r.end])
		args.M = kernel.FromF32(o.first[r.start:r.end])
		args.V = kernel.FromF32(o.second[r.start:r.end])
		args.Decay = 0
		if r.decay {
			args.Decay = o.decay
		}
		o.k.AdamW(0, &args)
	}
	return o.k.Sync(0)
}
