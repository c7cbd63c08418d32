package ref

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// attention is one head of one piece: where its rows lie, and what its scores are.
type attention struct {
	h          kernel.Header
	qkv, pos   []float32
	slots      []int16
	reach      int
	heads, d   int
	k          int
	c2p, p2c   bool
	sigma      float64
	drop       kernel.Dropout
	piece      int
	head       int
	start, n   int // first token of the piece, tokens in it
	half       uint32
	scale      float64
	call       uint64 // of the words below; its query is row
	words      [4]uint32
	wordsValid bool
}

// begin sets the piece and the head.
func (t *attention) begin(piece, head int) {
	t.piece, t.head = piece, head
	t.start = int(t.h.Offsets[piece])
	t.n = int(t.h.Offsets[piece+1]) - t.start
	t.half, t.scale = t.drop.HalfThreshold(), float64(t.drop.Scale())
	t.wordsValid = false
	if (t.c2p || t.p2c) && t.n > t.reach+1 {
		panic("internal error: a piece is longer than the slot table")
	}
}

// part returns the query (0), key (1) or value (2) of token i of the piece in the head. // [D]
func (t *attention) part(which, i int) []float32 {
	width := t.heads * t.d
	at := (t.start+i)*3*width + which*width + t.head*t.d
	return t.qkv[at : at+t.d]
}

// positionKey returns the head's part of the position key of a slot. // [D]
func (t *attention) positionKey(slot int) []float32 { return t.position(slot) }

// positionQuery returns the head's part of the position query of a slot: those rows come after the key rows. // [D]
func (t *attention) positionQuery(slot int) []float32 { return t.position(t.queryRow(slot)) }

func (t *attention) queryRow(slot int) int {
	if t.c2p {
		slot += 2 * t.k
	}
	return slot
}

func (t *attention) position(r int) []float32 {
	at := r*t.heads*t.d + t.head*t.d
	return t.pos[at : at+t.d]
}

// slot returns the slot of query i and key j.
func (t *attention) slot(i, j int) int { return int(t.slots[i-j+t.reach]) }

// scores writes S_ij for all keys j of query i.
func (t *attention) scores(s []float64, i int) {
	q := t.part(0, i)
	for j := range s {
		key := t.part(1, j)
		s[j] = dot(q, key)
		if t.c2p {
			s[j] += dot(q, t.positionKey(t.slot(i, j)))
		}
		if t.p2c {
			s[j] += dot(key, t.positionQuery(t.slot(i, j)))
		}
		s[j] /= t.sigma
	}
}

// factor returns what dropout multiplies P_ij with: 0 or 1/(1−P). Keys of one query are asked in ascending order.
func (t *attention) factor(i, j int) float64 {
	if !t.drop.On() {
		return 1
	}
	call := t.h.AttentionCall(t.piece, t.heads, t.head, i) + uint64(j/8)
	if !t.wordsValid || call != t.call {
		t.words = rng.Block(t.h.Seed(), rng.Dropout, t.drop.Site, t.h.Step(), call)
		t.call, t.wordsValid = call, true
	}
	if kernel.AttentionHalf(t.words, j) < t.half {
		return 0
	}
	return t.scale
}

// Attention: S_ij = (Q_i·K_j + Q_i·Pk_s + K_j·Pq_s)/σ with s = slot(i − j), out = dropout(softmax(S))·V, per piece and
// head. With BF16 operands nothing but the results is rounded, here and in the gradient.
func (k *table) Attention(_ kernel.Stream, a *kernel.AttentionArgs) {
	k.lock()
	defer k.unlock()
	t := attention{
		h: view(a.Header), qkv: k.read(a.QKV), pos: k.read(a.Pos), slots: a.Slots.I16(), reach: a.Reach,
		heads: a.A, d: a.D, k: a.K, c2p: a.C2P, p2c: a.P2C, sigma: float64(a.Sigma), drop: a.Drop,
	}
	out, lse := k.write(a.Out), a.LSE.F32()
	for piece := range t.h.Pieces() {
		for head := range a.A {
			t.begin(piece, head)
			s := k.floats(0, t.n)
			for i := range t.n {
				t.scores(s, i)
				l := logSumExp(s)
				sum := k.floats(1, a.D)
				for j := range s {
					axpy(sum, math.Exp(s[j]-l)*t.factor(i, j), t.part(2, j))
				}
				at := (t.start+i)*a.A + head
				store(out[at*a.D:(at+1)*a.D], 0, sum)
				lse[at] = float32(l)
			}
		}
	}
}

// AttentionGrad: with P = exp(S − LSE), dP_ij = (dO_i·V_j)·factor, Δ_i = dO_i·O_i and dS = P∘(dP − Δ)/σ:
// dV_j = Σ_i P_ij·factor·dO_i; dQ_i = Σ_j dS_ij·(K_j + Pk_s); dK_j = Σ_i dS_ij·(Q_i + Pq_s); dPk_s = Σ dS_ij·Q_i;
// dPq_s = Σ dS_ij·K_j (research: HF's DisentangledSelfAttention differentiated by hand).
func (k *table) AttentionGrad(_ kernel.Stream, a *kernel.AttentionGradArgs) {
	k.lock()
	defer k.unlock()
	t := attention{
		h: view(a.Header), qkv: k.read(a.QKV), pos: k.read(a.Pos), slots: a.Slots.I16(), reach: a.Reach,
		heads: a.A, d: a.D, k: a.K, c2p: a.C2P, p2c: a.P2C, sigma: float64(a.Sigma), drop: a.Drop,
	}
	out, lse, dOut, dQKV := k.read(a.Out), a.LSE.F32(), k.read(a.DOut), k.write(a.DQKV)
	width := a.A * a.D
	rows := 0
	if a.C2P {
		rows += 2 * a.K
	}
	if a.P2C {
		rows += 2 * a.K
	}
	dPos := k.floats(0, rows*width) // [R, H]
	dPosition := func(r, head int) []float64 {
		at := r*width + head*a.D
		return dPos[at : at+a.D]
	}
	for piece := range t.h.Pieces() {
		for head := range a.A {
			t.begin(piece, head)
			s := k.floats(1, t.n)
			dK, dV := k.floats(2, t.n*a.D), k.floats(3, t.n*a.D) // [n, D]
			for i := range t.n {
				t.scores(s, i)
				q := t.part(0, i)
				at := (t.start+i)*a.A + head
				dO, l := dOut[at*a.D:(at+1)*a.D], float64(lse[at])
				delta := dot(dO, out[at*a.D:])
				dQ := k.floats(4, a.D)
				for j := range s {
					p, factor := math.Exp(s[j]-l), t.factor(i, j)
					axpy(dV[j*a.D:(j+1)*a.D], p*factor, dO)
					dS := p * (dot(dO, t.part(2, j))*factor - delta) / t.sigma
					key := t.part(1, j)
					axpy(dQ, dS, key)
					axpy(dK[j*a.D:(j+1)*a.D], dS, q)
					if a.C2P {
						slot := t.slot(i, j)
						axpy(dQ, dS, t.positionKey(slot))
						axpy(dPosition(slot, head), dS, q)
					}
					if a.P2C {
						slot := t.slot(i, j)
						axpy(dK[j*a.D:(j+1)*a.D], dS, t.positionQuery(slot))
						axpy(dPosition(t.queryRow(slot), head), dS, key)
					}
				}
				store(dQKV[(t.start+i)*3*width+head*a.D:], 0, dQ)
			}
			for j := range t.n {
				at := (t.start+j)*3*width + head*a.D
				store(dQKV[at+width:], 0, dK[j*a.D:(j+1)*a.D])
				store(dQKV[at+2*width:], 0, dV[j*a.D:(j+1)*a.D])
			}
		}
	}
	storeIf(a.DPos, 0, dPos)
}
