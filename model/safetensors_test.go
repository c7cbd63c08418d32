package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSafetensorsRoundTrip(t *testing.T) {
	tensors := []NamedTensor{
		{"a", []int{2, 3}, []float32{1, float32(math.Inf(1)), 0, 1e-45, 3, float32(math.Copysign(0, -1))}},
		{`odd "name"`, []int{0, 4}, nil},
		{"scalar", []int{}, []float32{42}},
		{"big", []int{300000}, make([]float32, 300000)}, // longer than one chunk
	}
	for i := range tensors[3].Data {
		tensors[3].Data[i] = float32(i)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := saveTensors(path, tensors); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(data); (8+n)%64 != 0 {
		t.Errorf("data begins at %d, want a multiple of 64", 8+n)
	}
	s, err := openSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.meta) != 1 || s.meta["format"] != "pt" {
		t.Errorf("metadata %v, want format pt alone", s.meta)
	}
	for _, want := range tensors {
		ft := s.tensors[s.byName[want.Name]]
		got := make([]float32, ft.elements())
		if err := s.floats(ft, got); err != nil {
			t.Fatal(err)
		}
		for i := range want.Data {
			if math.Float32bits(got[i]) != math.Float32bits(want.Data[i]) {
				t.Fatalf("%s[%d] = %v, want %v", want.Name, i, got[i], want.Data[i])
			}
		}
	}
	if err := WriteSafetensors(new(bytes.Buffer), []NamedTensor{{"a", []int{2}, []float32{1}}}); err == nil {
		t.Error("data that does not fit its shape was written")
	}
	if err := WriteSafetensors(new(bytes.Buffer), []NamedTensor{{"a", []int{1}, []float32{1}}, {"a", []int{1}, []float32{1}}}); err == nil {
		t.Error("a name was written twice")
	}
}

func TestHalfToFloat(t *testing.T) {
	for _, tc := range []struct {
		half uint16
		want float32
	}{{0x3c00, 1}, {0xc000, -2}, {0x7bff, 65504}, {0x0001, 0x1p-24}, {0x03ff, 1023 * 0x1p-24}, {0x0400, 0x1p-14}, {0x3555, 0.333251953125}} {
		if got := halfToFloat(tc.half); got != tc.want {
			t.Errorf("%#04x = %v, want %v", tc.half, got, tc.want)
		}
	}
	if got := halfToFloat(0xfc00); !math.IsInf(float64(got), -1) {
		t.Errorf("0xfc00 = %v, want -Inf", got)
	}
	if got := halfToFloat(0x7e00); got == got {
		t.Errorf("0x7e00 = %v, want NaN", got)
	}
	if got := halfToFloat(0x8000); got != 0 || !math.Signbit(float64(got)) {
		t.Errorf("0x8000 = %v, want -0", got)
	}
}

// brokenHeaders are headers over 16 bytes of data that must be refused, with a word of the reason.
var brokenHeaders = []struct{ header, why string }{
	{``, "object"},
	{`[]`, "object"},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}`, ""},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}} x`, "behind"},
	{`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}`, "needs 12"},
	{`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}`, "holds 16"},
	{`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}`, "gap"},
	{`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, "overlap"},
	{`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, "twice"},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,20]}}`, "data_offsets"},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[-4,12]}}`, "data_offsets"},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}`, "data_offsets"},
	{`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}}`, "data_offsets"},
	{`{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}`, "negative"},
	{`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}`, "overflows"},
	{`{"a":{"dtype":"F33","shape":[4],"data_offsets":[0,16]}}`, "dtype"},
	{`{"a":{"dtype":"F32","data_offsets":[0,16]}}`, "shape"},
	{`{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]}}`, "rank"},
	{`{"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, "metadata"},
	{`{"a":7}`, `"a"`},
}

func TestSafetensorsBrokenHeaders(t *testing.T) {
	for _, tc := range brokenHeaders {
		_, err := parseHeader([]byte(tc.header), 16)
		if err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want an error with %q", tc.header, err, tc.why)
		}
	}
	if _, err := parseHeader([]byte(`{"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]},"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}  `), 16); err != nil {
		t.Errorf("a sound header: %v", err)
	}
}

// A file that claims more than it has is refused before anything of the claimed size is allocated.
func TestSafetensorsHostileSizes(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string][]byte{
		"empty":  {},
		"short":  {1, 2, 3},
		"huge":   binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"signed": binary.LittleEndian.AppendUint64(nil, 1<<63),
		"bound":  append(binary.LittleEndian.AppendUint64(nil, 3), "{"...),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := openSafetensors(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, tc := range brokenHeaders {
		f.Add([]byte(tc.header), int64(16))
	}
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,4],"data_offsets":[0,16]}}`), int64(16))
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"I8","shape":[0],"data_offsets":[4,4]}}`), int64(4))
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		s, err := parseHeader(header, size)
		if err != nil {
			return
		}
		var at int64
		for i, x := range s.tensors {
			if x.begin != at || x.end < x.begin || s.byName[x.name] != i {
				t.Fatalf("accepted %q: tensor %d is %+v", header, i, x)
			}
			at = x.end
		}
		if at != size {
			t.Fatalf("accepted %q: %d of %d bytes", header, at, size)
		}
	})
}

// Parameters of many layouts keep q, k, v adjacent, leave no gap, and put odd sizes last.
func TestLayoutInvariants(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		c := DefaultConfig()
		c.NumAttentionHeads = 1 + r.IntN(4)
		c.HiddenSize = c.NumAttentionHeads * (1 + r.IntN(20))
		c.VocabSize, c.IntermediateSize, c.NumHiddenLayers = 5+r.IntN(40), 1+r.IntN(40), 1+r.IntN(3)
		c.EmbeddingSize = r.IntN(2) * (1 + r.IntN(30))
		c.TypeVocabSize, c.PositionBiasedInput = r.IntN(3), r.IntN(2) == 0
		c.RelativeAttention, c.ShareAttKey = r.IntN(4) > 0, r.IntN(2) == 0
		c.PosAttType = [][]string{nil, {"c2p"}, {"p2c"}, {"p2c", "c2p"}}[r.IntN(4)]
		c.NormRelEbd = []string{"none", "layer_norm"}[r.IntN(2)]
		c.ConvKernelSize = []int{0, 1, 3}[r.IntN(3)]
		p, err := NewParams(c, Heads{MLM: r.IntN(2) == 0, Sequence: r.IntN(4)})
		if err != nil {
			t.Fatal(err)
		}
		at, odd := 0, false
		for _, x := range p.Tensors() {
			if x.Offset != at {
				t.Fatalf("%s begins at %d, want %d", x.Name, x.Offset, at)
			}
			at += x.Size()
			if x.Size()%arenaAlign != 0 {
				odd = true
			} else if odd {
				t.Fatalf("%s stands behind an odd-sized tensor", x.Name)
			}
			if norm := strings.Contains(x.Name, "LayerNorm") || strings.HasSuffix(x.Name, ".bias"); x.Decay == norm {
				t.Fatalf("%s: decay %v", x.Name, x.Decay)
			}
		}
		for n := range c.NumHiddenLayers { // fuse panics when parts are not adjacent
			if q := p.FusedQKV(n); q.W.Len() != 3*c.HiddenSize*c.HiddenSize || q.B.Len() != 3*c.HiddenSize {
				t.Fatalf("qkv of %d: %d, %d", c.HiddenSize, q.W.Len(), q.B.Len())
			}
			if f := p.FusedPos(n); f.W.Len() != f.Rows*c.HiddenSize {
				t.Fatalf("position projection: %d values for %d rows", f.W.Len(), f.Rows)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
