package ref

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// layerNorm64 is torch's LayerNorm over rows of w, every row of s.
func layerNorm64(s, gamma, beta []float64, w int, eps float64) []float64 {
	out := make([]float64, len(s))
	for r := 0; r < len(s); r += w {
		var m1, m2 float64
		for _, v := range s[r : r+w] {
			m1 += v / float64(w)
			m2 += v * v / float64(w)
		}
		for c, v := range s[r : r+w] {
			out[r+c] = (v-m1)/math.Sqrt(m2-m1*m1+eps)*gamma[c] + beta[c]
		}
	}
	return out
}

// drop64 applies dropout to the rows in use.
func drop64(p *pack, d kernel.Dropout, kind kernel.RowKind, x []float64, w int) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v * p.factor(d, kind, i/w, i%w, w)
	}
	return out
}

func add64(x, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] + y[i]
	}
	return out
}

// linear64 is x·Wᵀ + b.
func linear64(x, w, b []float64, in, out int) []float64 {
	y := make([]float64, len(x)/in*out)
	for i := range y {
		y[i] = b[i%out]
		for c := range in {
			y[i] += x[i/out*in+c] * w[i%out*in+c]
		}
	}
	return y
}

// act64 is HF's ACT2FN, written from its classes.
func act64(act kernel.Activation, x []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		switch act {
		case kernel.Linear:
			out[i] = v
		case kernel.Gelu:
			out[i] = v * 0.5 * (1 + math.Erf(v/math.Sqrt(2)))
		case kernel.GeluNew:
			out[i] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		case kernel.QuickGelu:
			out[i] = v / (1 + math.Exp(-1.702*v))
		case kernel.Relu:
			out[i] = math.Max(v, 0)
		case kernel.Silu:
			out[i] = v / (1 + math.Exp(-v))
		case kernel.Tanh:
			out[i] = math.Tanh(v)
		case kernel.Mish:
			out[i] = v * math.Tanh(math.Log1p(math.Exp(v)))
		case kernel.Sigmoid:
			out[i] = 1 / (1 + math.Exp(-v))
		}
	}
	return out
}

// attention64 is HF's disentangled attention as DisentangledSelfAttention composes it: three matrices of scores over each
// piece, the two relative ones gathered from products with the whole position tables, the second transposed at the end.
type attention64 struct {
	*pack
	heads, d, span       int
	buckets, maxRelative int
	c2p, p2c             bool
	drop                 kernel.Dropout
	qkv, pos             []float64
}

// bucket is make_log_bucket_position in float64, or the identity.
func (a *attention64) bucket(r int) int {
	mid := a.buckets / 2
	if a.buckets <= 0 || r <= mid && -r <= mid {
		return r
	}
	size := math.Ceil(math.Log(math.Abs(float64(r))/float64(mid))/math.Log(float64(a.maxRelative-1)/float64(mid))*float64(mid-1)) + float64(mid)
	return int(math.Copysign(size, float64(r)))
}

func (a *attention64) clamp(index int) int { return min(max(index, 0), 2*a.span-1) }

// column returns the head's part of row r of a matrix with the given row width and first column.
func (a *attention64) column(m []float64, r, width, first, head int) []float64 {
	at := r*width + first + head*a.d
	return m[at : at+a.d]
}

// times returns x·yᵀ of two lists of rows.
func times(x, y [][]float64) [][]float64 {
	m := make([][]float64, len(x))
	for i := range x {
		m[i] = make([]float64, len(y))
		for j := range y {
			for c, v := range x[i] {
				m[i][j] += v * y[j][c]
			}
		}
	}
	return m
}

func (a *attention64) out() []float64 {
	h := a.heads * a.d
	out := make([]float64, a.tokens()*h)
	for piece := range len(a.Offsets) - 1 {
		start, n := int(a.Offsets[piece]), int(a.Offsets[piece+1]-a.Offsets[piece])
		for head := range a.heads {
			var q, k, v, pk, pq [][]float64
			for i := range n {
				q = append(q, a.column(a.qkv, start+i, 3*h, 0, head))
				k = append(k, a.column(a.qkv, start+i, 3*h, h, head))
				v = append(v, a.column(a.qkv, start+i, 3*h, 2*h, head))
			}
			for r := range 2 * a.span {
				if a.c2p {
					pk = append(pk, a.column(a.pos, r, h, 0, head))
				}
				if a.p2c {
					first := 0
					if a.c2p {
						first = 2 * a.span
					}
					pq = append(pq, a.column(a.pos, first+r, h, 0, head))
				}
			}
			scale := 1.0
			if a.c2p {
				scale++
			}
			if a.p2c {
				scale++
			}
			scale = math.Sqrt(scale * float64(a.d))
			scores := times(q, k)
			c2p, p2c := times(q, pk), times(k, pq)
			for i := range n {
				for j := range n {
					if a.c2p {
						scores[i][j] += c2p[i][a.clamp(a.bucket(i-j)+a.span)]
					}
					if a.p2c { // HF gathers row j at clamp(−bucket(j − i) + span) and transposes
						scores[i][j] += p2c[j][a.clamp(-a.bucket(j-i)+a.span)]
					}
				}
			}
			for i := range n {
				var total float64
				for j := range n {
					scores[i][j] = math.Exp(scores[i][j] / scale)
					total += scores[i][j]
				}
				for j := range n {
					p := scores[i][j] / total * a.attentionFactor(a.drop, piece, a.heads, head, i, j)
					for c, value := range v[j] {
						out[(start+i)*h+head*a.d+c] += p * value
					}
				}
			}
		}
	}
	return out
}

// conv64 is torch's Conv1d with padding over each piece.
func conv64(p *pack, e, w, b []float64, h, groups, ks int) []float64 {
	per := h / groups
	out := make([]float64, p.tokens()*h)
	for piece := range len(p.Offsets) - 1 {
		start, n := int(p.Offsets[piece]), int(p.Offsets[piece+1]-p.Offsets[piece])
		padded := make([]float64, (n+ks-1)*h)
		copy(padded[ks/2*h:], e[start*h:(start+n)*h])
		for i := range n {
			for o := range h {
				sum := b[o]
				for t := range ks {
					for c := range per {
						sum += w[o*per*ks+c*ks+t] * padded[(i+t)*h+o/per*per+c]
					}
				}
				out[(start+i)*h+o] = sum
			}
		}
	}
	return out
}

// nll64 returns −log softmax(z·wordᵀ + bias)[label] of each masked row.
func nll64(p *pack, z, word, bias []float64, e, v int) []float64 {
	out := make([]float64, len(p.Masked))
	for m := range out {
		var total, label float64
		for id := range v {
			logit := bias[id]
			for c := range e {
				logit += z[m*e+c] * word[id*e+c]
			}
			total += math.Exp(logit)
			if id == int(p.Labels[m]) {
				label = logit
			}
		}
		out[m] = math.Log(total) - label
	}
	return out
}
