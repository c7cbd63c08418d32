package kernel

import (
	"fmt"
	"math"
)

// hfNames gives HF's names of each activation (ACT2FN of transformers 5.23.0), its own first.
var hfNames = [...][]string{
	Linear:    {"linear"},
	Gelu:      {"gelu"},
	GeluNew:   {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"},
	QuickGelu: {"quick_gelu"},
	Relu:      {"relu"},
	Silu:      {"silu", "swish"},
	Tanh:      {"tanh"},
	Mish:      {"mish"},
	Sigmoid:   {"sigmoid"},
}

// ParseActivation returns the activation that HF calls name.
func ParseActivation(name string) (Activation, error) {
	for a, names := range hfNames {
		for _, n := range names {
			if n == name {
				return Activation(a), nil
			}
		}
	}
	return 0, fmt.Errorf("unknown activation %q", name)
}

// String returns HF's name.
func (a Activation) String() string {
	if int(a) < len(hfNames) {
		return hfNames[a][0]
	}
	return "?"
}

const (
	tanhScale = 0.79788456080286535587989211986876 // sqrt(2/π); HF's gelu_fast writes 0.7978845608
	tanhCubic = 0.044715
	quickRate = 1.702
)

// Value returns the activation of x in float64. The gated forms (x times a factor) give NaN for −Inf, as torch does.
func (a Activation) Value(x float64) float64 {
	switch a {
	case Linear:
		return x
	case Gelu:
		return x * normal(x)
	case GeluNew:
		return x * (0.5 + 0.5*math.Tanh(tanhScale*(x+tanhCubic*x*x*x)))
	case QuickGelu:
		return x * sigmoid(quickRate*x)
	case Relu:
		return max(x, 0)
	case Silu:
		return x * sigmoid(x)
	case Tanh:
		return math.Tanh(x)
	case Mish:
		return x * math.Tanh(softplus(x))
	case Sigmoid:
		return sigmoid(x)
	}
	panic("internal error: unknown activation")
}

// Slope returns the derivative at x in float64; that of Relu at 0 is 0, as torch has it.
func (a Activation) Slope(x float64) float64 {
	switch a {
	case Linear:
		return 1
	case Gelu:
		return normal(x) + x*math.Exp(-0.5*x*x)/math.Sqrt(2*math.Pi)
	case GeluNew:
		t := math.Tanh(tanhScale * (x + tanhCubic*x*x*x))
		return 0.5 + 0.5*t + 0.5*x*(1-t*t)*tanhScale*(1+3*tanhCubic*x*x)
	case QuickGelu:
		s := sigmoid(quickRate * x)
		return s + quickRate*x*s*(1-s)
	case Relu:
		if x > 0 {
			return 1
		}
		return max(x, 0) // 0, or NaN for NaN
	case Silu:
		s := sigmoid(x)
		return s + x*s*(1-s)
	case Tanh:
		t := math.Tanh(x)
		return 1 - t*t
	case Mish:
		t := math.Tanh(softplus(x))
		return t + x*(1-t*t)*sigmoid(x)
	case Sigmoid:
		s := sigmoid(x)
		return s * (1 - s)
	}
	panic("internal error: unknown activation")
}

func normal(x float64) float64   { return 0.5 * math.Erfc(-x/math.Sqrt2) }
func sigmoid(x float64) float64  { return 1 / (1 + math.Exp(-x)) }
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
