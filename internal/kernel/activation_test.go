package kernel

import (
	"math"
	"testing"
)

// The formulas as HF's classes write them, in float64.
func TestActivationsAgainstHF(t *testing.T) {
	forms := map[string]func(x float64) float64{
		"linear": func(x float64) float64 { return x },
		"gelu":   func(x float64) float64 { return x * 0.5 * (1 + math.Erf(x/math.Sqrt2)) },
		"gelu_new": func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*math.Pow(x, 3))))
		},
		"gelu_pytorch_tanh": func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*math.Pow(x, 3))))
		},
		"gelu_fast":  func(x float64) float64 { return 0.5 * x * (1 + math.Tanh(x*0.7978845608*(1+0.044715*x*x))) },
		"quick_gelu": func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) },
		"relu":       func(x float64) float64 { return math.Max(0, x) },
		"silu":       func(x float64) float64 { return x / (1 + math.Exp(-x)) },
		"swish":      func(x float64) float64 { return x / (1 + math.Exp(-x)) },
		"tanh":       math.Tanh,
		"mish":       func(x float64) float64 { return x * math.Tanh(math.Log(1+math.Exp(x))) },
		"sigmoid":    func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	}
	for name, f := range forms {
		a, err := ParseActivation(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		bound := 1e-14 // float64 roundings of two ways to write one formula, at |x| ≤ 12
		if name == "gelu_fast" {
			bound = 4e-10 // 0.7978845608 against sqrt(2/π), times x·φ-sized slopes
		}
		for x := -12.0; x <= 12; x += 0.0625 {
			if got, want := a.Value(x), f(x); math.Abs(got-want) > bound {
				t.Errorf("%s(%v) = %v, want %v", name, x, got, want)
			}
			if a == Relu && x == 0 {
				continue
			}
			// Central difference with one Richardson step: error h⁴·f⁽⁵⁾/120·4 + u/h ≤ 2e-9 at h = 2^-9 (f⁽⁵⁾ ≤ 60).
			const h = 0x1p-9
			d := func(h float64) float64 { return (a.Value(x+h) - a.Value(x-h)) / (2 * h) }
			if got, want := a.Slope(x), (4*d(h/2)-d(h))/3; math.Abs(got-want) > 2e-9 {
				t.Errorf("%s'(%v) = %v, want %v", name, x, got, want)
			}
		}
	}
	if _, err := ParseActivation("elu"); err == nil {
		t.Error("elu was accepted")
	}
}

func TestActivationEdges(t *testing.T) {
	for a := Linear; a <= Sigmoid; a++ {
		if b, err := ParseActivation(a.String()); err != nil || a != b {
			t.Errorf("%d: %q parses as %d, %v", a, a, b, err)
		}
		if !math.IsNaN(a.Value(math.NaN())) || a != Linear && !math.IsNaN(a.Slope(math.NaN())) {
			t.Errorf("%s: NaN is lost", a)
		}
		for _, x := range []float64{-1e30, -1e4, 1e4, 1e30} {
			if v, s := a.Value(x), a.Slope(x); math.IsNaN(v) || math.IsNaN(s) || x < 0 && a != Linear && math.Abs(v) > 1 || math.Abs(s) > 1.2 {
				t.Errorf("%s(%v) = %v, slope %v", a, x, v, s)
			}
		}
	}
	if Relu.Slope(0) != 0 {
		t.Error("the slope of relu at 0 is not 0")
	}
}
