package ref

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

func TestEmbed(t *testing.T) {
	const v, e = 6, 3
	p, s := newPack(5), newSource(20)
	n := p.tokens()
	ids, positionIDs, typeIDs := make([]int32, n), make([]int32, n), make([]int32, n)
	for i := range ids {
		ids[i], positionIDs[i], typeIDs[i] = int32(s.Intn(v)), int32(s.Intn(9)), int32(s.Intn(2))
	}
	word, position, types := s.normal(v*e, 1), s.normal(9*e, 1), s.normal(2*e, 1)
	k, out := New(), f32(n*e)
	for mode := range 4 {
		a := &kernel.EmbedArgs{Header: p.header(), IDs: kernel.FromI32(ids), Word: buf(word), Out: buf(out), E: e}
		if mode > 0 {
			a.Position = buf(position)
		}
		if mode > 1 {
			a.Type = buf(types)
		}
		if mode > 2 {
			a.PositionIDs, a.TypeIDs = kernel.FromI32(positionIDs), kernel.FromI32(typeIDs)
		}
		k.Embed(0, a)
		for tok := range n {
			_, place := p.piece(tok)
			kind := 0
			if mode > 2 {
				place, kind = int(positionIDs[tok]), int(typeIDs[tok])
			}
			for c := range e {
				want := word[int(ids[tok])*e+c]
				if mode > 0 {
					want += position[place*e+c]
				}
				if mode > 1 {
					want += types[kind*e+c]
				}
				if got := out[tok*e+c]; got != want {
					t.Fatalf("mode %d, token %d: got %v, want %v", mode, tok, got, want)
				}
			}
		}
	}
}

func TestEmbedGrad(t *testing.T) {
	const v, e, pad = 6, 3, 2
	p, s := newPack(5), newSource(21)
	n := p.tokens()
	ids, typeIDs := make([]int32, n), make([]int32, n)
	for i := range ids {
		ids[i], typeIDs[i] = int32(i%v), int32(i%2)
	}
	dOut := s.normal(n*e, 1)
	dWord, dPosition, dType := s.normal(v*e, 1), s.normal(9*e, 1), s.normal(2*e, 1)
	before := slices.Clone(dPosition)
	for i := range dWord {
		dWord[i] = float32(math.NaN()) // overwritten with beta 0
	}
	New().EmbedGrad(0, &kernel.EmbedGradArgs{
		Header: p.header(), IDs: kernel.FromI32(ids), TypeIDs: kernel.FromI32(typeIDs), DOut: buf(dOut),
		DWord: buf(dWord), DPosition: buf(dPosition), DType: buf(dType), Beta: [3]float32{0, 1, 0}, E: e, PadID: pad,
	})
	word, position, types := make([]float64, v*e), lift(before), make([]float64, 2*e)
	for tok := range n {
		_, place := p.piece(tok)
		for c := range e {
			d := float64(dOut[tok*e+c])
			if ids[tok] != pad {
				word[int(ids[tok])*e+c] += d
			}
			position[place*e+c] += d
			types[int(typeIDs[tok])*e+c] += d
		}
	}
	checkValues(t, "dWord", dWord, word)
	checkValues(t, "dPosition", dPosition, position)
	checkValues(t, "dType", dType, types)
	if !slices.Contains(ids, pad) || dWord[pad*e] != 0 {
		t.Errorf("the row of the pad token got %v", dWord[pad*e:(pad+1)*e])
	}
}

// Beta adds to what is there; 0 does not read it.
func TestBeta(t *testing.T) {
	p, s := newPack(5), newSource(22)
	n := p.tokens()
	x, w, dY := s.normal(n*4, 1), s.normal(12, 1), s.normal(n*3, 1)
	grad := func(beta float32, d float32) []float32 {
		dW := slices.Repeat([]float32{d}, 12)
		New().LinearGrad(0, &kernel.LinearGradArgs{
			Header: p.header(), X: buf(x), W: buf(w), DY: buf(dY), DW: buf(dW), Beta: [2]float32{beta, 0}, Rows: kernel.RowsTokens, N: n, In: 4, Out: 3,
		})
		return dW
	}
	fresh := grad(0, float32(math.NaN()))
	if slices.ContainsFunc(fresh, func(d float32) bool { return d != d }) {
		t.Error("with beta 0 what was there is read")
	}
	for i, d := range grad(1, 8) {
		if math.Abs(float64(d)-8-float64(fresh[i])) > 0x1p-19 {
			t.Errorf("with beta 1: %v, want %v + 8", d, fresh[i])
		}
	}
	for i, d := range grad(0.5, 8) {
		if math.Abs(float64(d)-4-float64(fresh[i])) > 0x1p-20 {
			t.Errorf("with beta 1/2: %v, want %v + 4", d, fresh[i])
		}
	}
}

func TestGather(t *testing.T) {
	p, s := newPack(5), newSource(23)
	const w = 2
	x, out, dX := s.normal(p.T*w, 1), f32(p.T*w), s.normal(p.T*w, 1)
	tail := slices.Clone(dX[p.tokens()*w:])
	k := New()
	k.Gather(0, &kernel.GatherArgs{Header: p.header(), X: buf(x), Out: buf(out), T: p.T, W: w})
	k.GatherGrad(0, &kernel.GatherGradArgs{Header: p.header(), DOut: buf(out), DX: buf(dX), T: p.T, W: w})
	for tok := range p.tokens() {
		want := x[tok*w : tok*w+w]
		if m := slices.Index(p.Masked, int32(tok)); m < 0 {
			want = []float32{0, 0}
		} else if !slices.Equal(out[m*w:m*w+w], want) {
			t.Errorf("masked row %d is %v, want %v", m, out[m*w:m*w+w], want)
		}
		if !slices.Equal(dX[tok*w:tok*w+w], want) {
			t.Errorf("gradient of token %d is %v, want %v", tok, dX[tok*w:tok*w+w], want)
		}
	}
	if !slices.Equal(dX[p.tokens()*w:], tail) {
		t.Error("rows beyond those in use were written")
	}
}

// What a piece gives does not depend on the pieces beside it: the same tokens alone, with their ordinal, give the same
// bits, dropout included.
func TestPackingDoesNotMatter(t *testing.T) {
	const heads, d, reach = 2, 4, 7
	p, s := newPack(5), newSource(24)
	h := heads * d
	qkv, pos := s.normal(p.tokens()*3*h, 1), s.normal(4*4*h, 1)
	run := func(p *pack, qkv []float32) (out, normed []float32) {
		out, normed = f32(p.tokens()*h), f32(p.tokens()*h)
		k := New()
		k.Attention(0, &kernel.AttentionArgs{
			Header: p.header(), QKV: buf(qkv), Pos: buf(pos), Slots: kernel.FromI16(kernel.Slots(4, 6, reach)), Out: buf(out), LSE: buf(f32(p.tokens() * heads)),
			Reach: reach, A: heads, D: d, K: 4, C2P: true, P2C: true, Sigma: 3, Drop: kernel.Dropout{P: 0.3, Site: 1}, T: p.T,
		})
		k.LayerNorm(0, &kernel.LayerNormArgs{
			Header: p.header(), X: buf(out), Gamma: buf(pos[:h]), Beta: buf(pos[h : 2*h]), Out: buf(normed), Rows: kernel.RowsTokens, N: p.T, W: h, Eps: 1e-7,
			Drop: kernel.Dropout{P: 0.5, Site: 2},
		})
		return out, normed
	}
	whole, wholeNormed := run(p, qkv)
	for piece := range len(p.Offsets) - 1 {
		start, end := int(p.Offsets[piece]), int(p.Offsets[piece+1])
		one := &pack{T: 8, Pack: kernel.Pack{Offsets: []int32{0, int32(end - start)}, Step: p.Step, Seed: p.Seed, Ordinal: p.Ordinal + uint32(piece)}}
		one.words = make([]int32, kernel.HeaderWords(one.T))
		one.Fill(one.words, one.T)
		alone, aloneNormed := run(one, qkv[start*3*h:end*3*h])
		if !slices.Equal(alone, whole[start*h:end*h]) || !slices.Equal(aloneNormed, wholeNormed[start*h:end*h]) {
			t.Errorf("piece %d gives another result alone", piece)
		}
	}
}

// The share of kept elements is that of a fair draw, within five standard errors.
func TestDropoutStatistics(t *testing.T) {
	p := newPack(5)
	const n, w = 12, 5000
	x := slices.Repeat([]float32{1}, n*w)
	for _, rate := range []float32{0.1, 0.5, 0.9} {
		d := newDropout(view(p.header()), kernel.Dropout{P: rate, Site: 3}, kernel.RowsTokens, w)
		var kept int
		for r := range n {
			d.row(r)
			for c := range w {
				switch y := d.apply(x[r*w+c], c); y {
				case 0:
				case float32(1 / (1 - float64(rate))):
					kept++
				default:
					t.Fatalf("a 1 became %v", y)
				}
			}
		}
		share, want := float64(kept)/(n*w), 1-float64(rate)
		if math.Abs(share-want) > 5*math.Sqrt(want*(1-want)/(n*w)) {
			t.Errorf("P %v keeps %v", rate, share)
		}
	}
}

// AdamW against the formula of torch.optim.AdamW in float64, over ten steps: each step has some ten roundings, and m and
// v carry theirs on.
func TestAdamW(t *testing.T) {
	const n = 50
	s := newSource(25)
	w, m, v := s.normal(n, 1), f32(n), f32(n)
	w64, m64, v64 := lift(w), make([]float64, n), make([]float64, n)
	a := kernel.AdamWArgs{W: buf(w), M: buf(m), V: buf(v), N: n, LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 0.8}
	k := New()
	for step := 1; step <= 10; step++ {
		g := s.normal(n, 1)
		a.G, a.Step = buf(g), step
		k.AdamW(0, &a)
		for i := range n {
			grad := float64(g[i]) * 0.8
			w64[i] *= 1 - 1e-3*0.01
			m64[i] = 0.9*m64[i] + 0.1*grad
			v64[i] = 0.98*v64[i] + 0.02*grad*grad
			w64[i] -= 1e-3 / (1 - math.Pow(0.9, float64(step))) * m64[i] / (math.Sqrt(v64[i])/math.Sqrt(1-math.Pow(0.98, float64(step))) + 1e-6)
		}
		checkValues(t, "w", w, w64)
		checkValues(t, "m", m, m64)
		checkValues(t, "v", v, v64)
	}
}

// One step by hand: g = 2 clipped to 1, m = 0.1, v = 0.02, bias corrections 0.1 and 0.02: the step is lr·1/(1 + eps).
func TestAdamWFirstStep(t *testing.T) {
	w, g, m, v := []float32{3}, []float32{2}, f32(1), f32(1)
	New().AdamW(0, &kernel.AdamWArgs{
		W: buf(w), G: buf(g), M: buf(m), V: buf(v), N: 1, LR: 0.5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.1, Clip: 0.5, Step: 1,
	})
	if want := 3*0.95 - 0.5; math.Abs(float64(w[0])-want) > 2e-6 || math.Abs(float64(m[0])-0.1) > 1e-8 || math.Abs(float64(v[0])-0.02) > 1e-8 {
		t.Errorf("w %v, m %v, v %v, want %v, 0.1, 0.02", w[0], m[0], v[0], want)
	}
}

func TestSumSquaresTree(t *testing.T) {
	s := newSource(26)
	g := s.normal(3*sumBlock+5, 1)
	var blocks []float64
	for at := 0; at < len(g); at += sumBlock {
		var sum float64
		for _, v := range g[at:min(at+sumBlock, len(g))] {
			sum += float64(v) * float64(v)
		}
		blocks = append(blocks, sum)
	}
	want := (blocks[0] + blocks[1]) + (blocks[2] + blocks[3])
	if got := New().SumSquares(0, &kernel.SumSquaresArgs{G: buf(g), N: len(g)}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := New().SumSquares(0, &kernel.SumSquaresArgs{N: 0}); got != 0 {
		t.Errorf("Σ of nothing is %v", got)
	}
}

func TestTable(t *testing.T) {
	k := New()
	if k.Name() != "ref" || k.WorkBytes(&kernel.LinearGradArgs{}) != 0 || k.Sync(0) != nil {
		t.Error("name, workspace or Sync")
	}
	defer func() {
		if recover() == nil {
			t.Error("a piece beyond the slot table was accepted")
		}
	}()
	p := newPack(5)
	k.Attention(0, &kernel.AttentionArgs{
		Header: p.header(), QKV: buf(f32(p.T * 3)), Pos: buf(f32(8)), Slots: kernel.FromI16(kernel.Slots(4, 8, 4)), Out: buf(f32(p.T)), LSE: buf(f32(p.T)),
		Reach: 4, A: 1, D: 1, K: 4, C2P: true, Sigma: 1, T: p.T,
	})
}
