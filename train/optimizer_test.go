package train

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/model"
)

// TestOptimizerFollowsTheFormula holds ten updates, clipping and decay groups included, against the formulas of torch's
// AdamW and clip_grad_norm_ in float64.
func TestOptimizerFollowsTheFormula(t *testing.T) {
	_, size := fixture(t)
	cfg, err := model.ReadConfig(size)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := device.Open(device.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	p, err := model.NewParams(cfg, model.Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Init(5)
	if err := p.AllocateGrads(); err != nil {
		t.Fatal(err)
	}
	if err := p.AllocateMoments(); err != nil {
		t.Fatal(err)
	}
	c := &Config{Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-6, WeightDecay: 0.1, Clip: 1}
	o := newOptimizer(dev.Kernels(), p, c)
	if len(o.ranges) < 2 {
		t.Fatalf("ranges %+v: want some with decay and some without", o.ranges)
	}
	if last := o.ranges[len(o.ranges)-1]; o.ranges[0].start != 0 || last.end != p.Elements() {
		t.Fatalf("ranges %+v do not cover %d elements", o.ranges, p.Elements())
	}
	n := p.Elements()
	w, m, v, decay := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	for i, x := range p.Weights() {
		w[i] = float64(x)
	}
	for _, tensor := range p.Tensors() {
		if tensor.Decay {
			for i := range tensor.Size() {
				decay[tensor.Offset+i] = c.WeightDecay
			}
		}
	}
	for step := 1; step <= 10; step++ {
		r := rng.NewStream(1, rng.Synth, 0, uint32(step), 0)
		grads := p.Grads()
		var sum float64
		for i := range grads {
			grads[i] = float32(r.Norm() * 0.001 * float64(step)) // clipped from about step 8 on
			sum += float64(grads[i]) * float64(grads[i])
		}
		norm, err := o.norm()
		if err != nil {
			t.Fatal(err)
		}
		// The kernel may add products of blocks in float32: n·2^-24 bounds any order, and errors of both signs leave far less.
		if want := math.Sqrt(sum); math.Abs(norm-want) > want*0x1p-20 {
			t.Fatalf("step %d: norm %v, want %v", step, norm, want)
		}
		rate := 0.01 * float64(step) / 10
		if err := o.update(step, rate, norm); err != nil {
			t.Fatal(err)
		}
		coefficient := min(1, c.Clip/(math.Sqrt(sum)+1e-6))
		bc1, bc2 := 1-math.Pow(c.Beta1, float64(step)), 1-math.Pow(c.Beta2, float64(step))
		for i := range w {
			g := float64(grads[i]) * coefficient
			w[i] *= 1 - rate*decay[i]
			m[i] += (1 - c.Beta1) * (g - m[i])
			v[i] = v[i]*c.Beta2 + (1-c.Beta2)*g*g
			w[i] -= rate / bc1 * m[i] / (math.Sqrt(v[i])/math.Sqrt(bc2) + c.Epsilon)
		}
	}
	worst := 0.0
	for i, x := range p.Weights() {
		worst = max(worst, math.Abs(float64(x)-w[i]))
	}
	// Each of ten steps rounds a weight below 2 (2^-24 relative) and an update of at most the rate, of a handful of
	// rounded factors: 10 · (2·2^-24 + 8·2^-24·0.01) is below 2^-19.
	if worst > 0x1p-19 {
		t.Errorf("weights differ by up to %v", worst)
	}
	if c.Clip = 0; newOptimizer(dev.Kernels(), p, c).coefficient(1e9) != 1 {
		t.Error("clip 0 clips")
	}
}

// TestIdleTensorsStay holds what torch's AdamW does with a parameter that never gets a gradient: nothing, decay included.
func TestIdleTensorsStay(t *testing.T) {
	_, size := fixture(t)
	cfg, err := model.ReadConfig(size)
	if err != nil {
		t.Fatal(err)
	}
	cfg.PosAttType = nil
	dev, err := device.Open(device.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	p, err := model.NewParams(cfg, model.Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Init(5)
	if err := errors.Join(p.AllocateGrads(), p.AllocateMoments()); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(p.Weights())
	o := newOptimizer(dev.Kernels(), p, &Config{Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-6, WeightDecay: 0.1})
	if err := o.update(1, 0.5, 0); err != nil { // all gradients are zero: nothing but decay
		t.Fatal(err)
	}
	idle := 0
	for _, tensor := range p.Tensors() {
		was := before[tensor.Offset : tensor.Offset+tensor.Size()]
		same := slices.Equal(was, p.Weight(tensor.Name))
		if want := tensor.Idle || !tensor.Decay; same != want {
			t.Errorf("%s: unchanged is %v, want %v", tensor.Name, same, want)
		}
		if tensor.Idle {
			idle++
		}
	}
	if idle != 3 {
		t.Errorf("%d tensors are idle, want the position table and its LayerNorm", idle)
	}
}

func TestConfigFileIsFound(t *testing.T) {
	if _, err := readConfigFile(filepath.Join(t.TempDir(), "absent.yaml")); err == nil {
		t.Error("an absent file is read")
	}
}
