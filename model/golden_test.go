package model

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden is one file of scripts/parity/make_goldens.py.
type golden struct {
	file *safetensors
	data []byte
	cfg  *Config
	meta map[string]any
}

func openGolden(t testing.TB, name string) *golden {
	t.Helper()
	path := filepath.Join("testdata", "parity", name+".safetensors")
	s, err := openSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g := &golden{file: s}
	if g.data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(s.meta["golden"]), &g.meta); err != nil {
		t.Fatal(err)
	}
	if c, ok := g.meta["config"]; ok {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if g.cfg, err = ParseConfig(text); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *golden) has(name string) bool { _, ok := g.file.byName[name]; return ok }

func (g *golden) bytes(t testing.TB, name, dtype string) []byte {
	t.Helper()
	i, ok := g.file.byName[name]
	if !ok {
		t.Fatalf("%s has no %s", g.file.path, name)
	}
	x := g.file.tensors[i]
	if x.dtype != dtype {
		t.Fatalf("%s: %s is %s, want %s", g.file.path, name, x.dtype, dtype)
	}
	return g.data[x.begin:x.end]
}

func (g *golden) f32(t testing.TB, name string) []float32 {
	t.Helper()
	b := g.bytes(t, name, "F32")
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func (g *golden) f64(t testing.TB, name string) []float64 {
	t.Helper()
	b := g.bytes(t, name, "F64")
	out := make([]float64, len(b)/8)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return out
}

func (g *golden) i32(t testing.TB, name string) []int32 {
	t.Helper()
	if !g.has(name) {
		return nil
	}
	b := g.bytes(t, name, "I32")
	out := make([]int32, len(b)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func (g *golden) i16(t testing.TB, name string) []int16 {
	t.Helper()
	b := g.bytes(t, name, "I16")
	out := make([]int16, len(b)/2)
	for i := range out {
		out[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return out
}

// names lists what begins with prefix, without it and without the suffixes @s and @n, each once.
func (g *golden) names(prefix string) []string {
	var out []string
	for _, x := range g.file.tensors {
		if rest, ok := strings.CutPrefix(x.name, prefix); ok && !strings.HasSuffix(rest, "@n") {
			out = append(out, strings.TrimSuffix(rest, "@s"))
		}
	}
	return out
}

// compare holds got against the golden called key: element by element when it is there whole, else at the sampled
// entries (of the tensor called name) and in its 2-norm. It returns the largest absolute difference and the largest
// magnitude of the golden.
func (g *golden) compare(t testing.TB, key, name string, got []float32) (worst, top float64) {
	t.Helper()
	if g.has(key) {
		want := g.f32(t, key)
		if len(want) != len(got) {
			t.Fatalf("%s: %d values, want %d", key, len(got), len(want))
		}
		return distance(got, want)
	}
	want := g.f32(t, key+"@s")
	picked := make([]float32, len(want))
	for i, at := range sampleIndices(name, len(got)) {
		picked[i] = got[at]
	}
	worst, top = distance(picked, want)
	var squares float64
	for _, x := range got {
		squares += float64(x) * float64(x)
	}
	// The norm moves by at most the norm of the difference, which is at most its largest element times sqrt(n); elements
	// that were not sampled count so through it.
	norm := g.f64(t, key+"@n")[0]
	return max(worst, math.Abs(math.Sqrt(squares)-norm)/math.Sqrt(float64(len(got)))), top
}

func distance(got, want []float32) (worst, top float64) {
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if !(d <= worst) { // NaN too
			worst = d
		}
		top = max(top, math.Abs(float64(want[i])))
	}
	return worst, top
}
