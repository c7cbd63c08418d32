package exec

import (
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// Policy says which forward values are kept for the backward pass; the others are computed a second time.
type Policy uint8

const (
	// None keeps everything.
	None Policy = iota
	// Cheap computes again what costs little for the bytes it takes: inside a layer the norms and the dense layer with
	// the activation, which alone holds 8 of the 16 hidden widths that a layer keeps for a token (intermediate size 4H)
	// for a ninth of the arithmetic of a step, and the sum of the embeddings.
	Cheap
	// Layer keeps what passes from layer to layer and the results of attention (output and log-sum-exp), and computes the
	// rest of each layer again before its backward pass: about a quarter more arithmetic. Attention is kept because its
	// arithmetic grows with the square of a piece's length and its results with the length: at 48,000 tokens they hold
	// one hidden width a token and save a quarter of the step.
	Layer
)

// Policies are all policies, fastest first.
var Policies = []Policy{None, Cheap, Layer}

// String returns the name that --memory takes.
func (p Policy) String() string {
	switch p {
	case None:
		return "none"
	case Cheap:
		return "cheap"
	case Layer:
		return "layer"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// ErrDoesNotFit says that something needs more memory than it may use.
var ErrDoesNotFit = errors.New("does not fit in memory")

// Choose returns the first of the policies whose bytes stay under the limit. need returns the bytes of everything that
// counts under it with a policy. When none fits, least is the smallest need; else it is 0.
func Choose(policies []Policy, limit int64, need func(Policy) (int64, error)) (chosen Policy, least int64, err error) {
	for _, p := range policies {
		n, err := need(p)
		if err != nil {
			return 0, 0, err
		}
		if n <= limit {
			return p, 0, nil
		}
		if least == 0 || n < least {
			least = n
		}
	}
	return 0, least, nil
}

// again returns the forward units whose results are not kept for the backward pass. What passes from layer to layer is
// always kept, so that no recomputation reaches beyond its layer.
func again(policy Policy, units []*unit, keep map[*G.Node]bool) map[*unit]bool {
	out := map[*unit]bool{}
	if policy == None {
		return out
	}
	crosses := map[*G.Node]bool{}
	for _, u := range units {
		if u.backward {
			continue
		}
		for _, n := range u.in {
			if gr, _ := op.GroupOf(n); gr != nil && gr.Layer != u.layer {
				crosses[n] = true
			}
		}
	}
	for _, u := range units {
		if u.backward || u.group == nil || policy == Cheap && !cheap(u.group) || u.group.Name == "attention" || u.layer == op.NoLayer && u.group.Name != "embed" {
			continue
		}
		stays := false
		for _, n := range u.out {
			stays = stays || crosses[n] || keep[n]
		}
		if !stays {
			out[u] = true
		}
	}
	return out
}

func cheap(gr *op.Group) bool {
	switch gr.Name {
	case "embed", "layer_norm", "add_norm", "gather":
		return true
	case "linear":
		return len(gr.Results) > 1 // with an activation: two results, [T, I] each in a layer
	}
	return false
}

// addStep is Gorgonia's Add as a kernel call, for sums of activation gradients and for gradients of parameters whose
// kernel cannot add to its destination.
type addStep struct{ args kernel.AddArgs }

func (s *addStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.args.A, s.args.B, s.args.Out, s.args.N = in[0], in[1], out[0], out[0].Len()
}

func (s *addStep) Run(k kernel.Kernels, st kernel.Stream) { k.Add(st, &s.args) }

func (s *addStep) WorkBytes(kernel.Kernels) int { return 0 }

func (s *addStep) Beta(int) *float32 { return nil }
