package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// Portable returns the inner loops in plain Go: the family of processors without assembly, and the fallback of every
// primitive that a family leaves out.
func Portable() Prims {
	return Prims{
		Name:   "portable",
		Single: Format{MR: 4, NR: 16, KR: 1, Depth: 256, PackRows: packRows, PackCols: packCols, Tile: tile},
		Half:   Format{MR: 4, NR: 16, KR: 1, Depth: 256, PackRows: packRowsRounded, PackCols: packColsRounded, Tile: tile},
		Widen:  widen, Narrow: narrow, Rows: portableRows(),
		Add: add, Scale: scale, Dot: dot, Sum: sum, Shift: shift, Max: maxOf,
		ExpSum: expSum, SoftmaxGrad: softmaxGrad, Act: act, ActGrad: actGrad,
		NormRow: normRow, NormGradRow: normGradRow,
		Dropout: dropout, DropoutHalf: dropoutHalf,
		AddTransposed: addTransposed, AdamW: adamW, SumSquares: sumSquares,
	}
}

func tile(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	var acc [4][16]float32
	if bias != nil {
		for i := range acc {
			copy(acc[i][:], bias[:n])
		}
	}
	for p := range k {
		bp := (*[16]float32)(b[p*16:])
		for i := range m {
			x, row := a[p*4+i], &acc[i]
			for j := range row {
				row[j] += x * bp[j]
			}
		}
	}
	for i := range m {
		row := c[i*ldc : i*ldc+n]
		for j := range row {
			if add {
				row[j] += acc[i][j]
			} else {
				row[j] = acc[i][j]
			}
		}
	}
}

func packRows(dst []float32, width int, src Values, at, ld, rows, k int) {
	for i := range width {
		switch {
		case i >= rows:
			for p := range k {
				dst[p*width+i] = 0
			}
		case src.BF16 != nil:
			for p, x := range src.BF16[at+i*ld:][:k] {
				dst[p*width+i] = x.Float32()
			}
		default:
			for p, x := range src.F32[at+i*ld:][:k] {
				dst[p*width+i] = x
			}
		}
	}
}

func packCols(dst []float32, width int, src Values, at, ld, cols, k int) {
	for p := range k {
		row := dst[p*width : (p+1)*width]
		if src.BF16 != nil {
			for i, x := range src.BF16[at+p*ld:][:cols] {
				row[i] = x.Float32()
			}
		} else {
			copy(row, src.F32[at+p*ld:][:cols])
		}
		clear(row[cols:])
	}
}

func packRowsRounded(dst []float32, width int, src Values, at, ld, rows, k int) {
	packRows(dst, width, src, at, ld, rows, k)
	if src.BF16 == nil {
		roundAll(dst[:k*width])
	}
}

func packColsRounded(dst []float32, width int, src Values, at, ld, cols, k int) {
	packCols(dst, width, src, at, ld, cols, k)
	if src.BF16 == nil {
		roundAll(dst[:k*width])
	}
}

// roundAll rounds x to BF16.
func roundAll(x []float32) {
	for i, v := range x {
		x[i] = bf16.FromFloat32(v).Float32()
	}
}

func add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func shift(dst, x []float32, a float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i] + a
	}
}

func scale(dst, x []float32, a float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = a * x[i]
	}
}

func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s [8]float32
	i := 0
	for ; i+8 <= len(a); i += 8 {
		for j := range s {
			s[j] += a[i+j] * b[i+j]
		}
	}
	for ; i < len(a); i++ {
		s[i&7] += a[i] * b[i]
	}
	return fold(s)
}

func sum(x []float32) float32 {
	var s [8]float32
	for i, v := range x {
		s[i&7] += v
	}
	return fold(s)
}

func fold(s [8]float32) float32 {
	return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))
}

func maxOf(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func expSum(dst, x []float32, a, b float32) float32 {
	x = x[:len(dst)]
	var s [8]float32
	for i := range dst {
		e := float32(math.Exp(float64(a * (x[i] - b))))
		dst[i] = e
		s[i&7] += e
	}
	return fold(s)
}

func softmaxGrad(ds, p, dp []float32, a, delta float32) {
	p, dp = p[:len(ds)], dp[:len(ds)]
	for i := range ds {
		ds[i] = a * p[i] * (dp[i] - delta)
	}
}

func act(f kernel.Activation, dst, x []float32) {
	x = x[:len(dst)]
	switch f {
	case kernel.Linear:
		copy(dst, x)
		return
	case kernel.Relu:
		for i, v := range x {
			dst[i] = max(v, 0)
		}
		return
	}
	for i := range dst {
		dst[i] = float32(f.Value(float64(x[i])))
	}
}

func actGrad(f kernel.Activation, dst, dy, x []float32) {
	dy, x = dy[:len(dst)], x[:len(dst)]
	if f == kernel.Linear {
		copy(dst, dy)
		return
	}
	for i := range dst {
		dst[i] = dy[i] * float32(f.Slope(float64(x[i])))
	}
}

func normRow(out, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	x, gamma, beta = x[:len(out)], gamma[:len(out)], beta[:len(out)]
	n := float32(len(x))
	mean = sum(x) / n
	var s [8]float32
	for i, v := range x {
		d := v - mean
		s[i&7] += d * d
	}
	rstd = 1 / float32(math.Sqrt(float64(fold(s)/n+eps)))
	for i := range out {
		out[i] = (x[i]-mean)*rstd*gamma[i] + beta[i]
	}
	return mean, rstd
}

func normGradRow(dx, x, gamma, dy []float32, mean, rstd float32, dgamma, dbeta []float32) {
	n := len(x)
	gamma, dy, dgamma, dbeta = gamma[:n], dy[:n], dgamma[:n], dbeta[:n]
	var s, t [8]float32
	for i := range n {
		h := (x[i] - mean) * rstd
		g := dy[i] * gamma[i]
		s[i&7] += g
		t[i&7] += g * h
		dgamma[i] += dy[i] * h
		dbeta[i] += dy[i]
	}
	if dx == nil {
		return
	}
	dx = dx[:n]
	mg, mgh := fold(s)/float32(n), fold(t)/float32(n)
	for i := range n {
		h := (x[i] - mean) * rstd
		dx[i] = rstd * (dy[i]*gamma[i] - mg - h*mgh)
	}
}

func dropout(dst, src []float32, element uint64, c Counter, threshold uint32, scale float32) {
	src = src[:len(dst)]
	words := rng.Philox([4]uint32{uint32(element / 4), uint32(element / 4 >> 32), c.Step, c.Site}, c.Key)
	for i := range dst {
		at := element + uint64(i)
		if at%4 == 0 {
			words = rng.Philox([4]uint32{uint32(at / 4), uint32(at / 4 >> 32), c.Step, c.Site}, c.Key)
		}
		if words[at%4] >= threshold {
			dst[i] = src[i] * scale
		} else {
			dst[i] = 0
		}
	}
}

func dropoutHalf(dst, src []float32, call uint64, c Counter, threshold uint32, scale float32) {
	src = src[:len(dst)]
	var words [4]uint32
	for i := range dst {
		if i%8 == 0 {
			at := call + uint64(i/8)
			words = rng.Philox([4]uint32{uint32(at), uint32(at >> 32), c.Step, c.Site}, c.Key)
		}
		if kernel.AttentionHalf(words, i) >= threshold {
			dst[i] = src[i] * scale
		} else {
			dst[i] = 0
		}
	}
}

func addTransposed(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for i := range rows {
		row := dst[i*ldd : i*ldd+cols]
		for j := range row {
			row[j] += src[j*lds+i]
		}
	}
}

func adamW(w, g, m, v []float32, c *AdamWScalars) {
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	for i := range w {
		x := g[i] * c.Clip
		mi := m[i] + c.OneB1*(x-m[i])
		vi := c.Beta2*v[i] + c.OneB2*x*x
		m[i], v[i] = mi, vi
		w[i] = w[i]*c.Keep - c.Rate*mi/(float32(math.Sqrt(float64(vi)))/c.Root+c.Eps)
	}
}

func sumSquares(x []float32) float64 {
	var s [4]float64
	for i, v := range x {
		s[i&3] += float64(v) * float64(v)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
