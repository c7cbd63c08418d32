package ref

import "github.com/secencoder/secencoder/internal/kernel"

// Linear: y = act(dropout(x)·Wᵀ + b). The pre-activation is rounded to float32 before the activation, which does not read
// what is stored of it in BF16.
func (k *table) Linear(_ kernel.Stream, a *kernel.LinearArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.In)
	half := half(a.X) || half(a.Y)
	x, w, b, y, pre := k.read(a.X), k.factors(a.W, half), a.B.F32(), k.write(a.Y), k.write(a.Pre)
	in := k.floats(0, a.In)
	for r := range h.Count(a.Rows, a.N) {
		drop.row(r)
		for c, v := range row(x, r, a.In) {
			in[c] = float64(factor(drop.apply(v, c), half))
		}
		for o := range a.Out {
			var sum float64
			for c, v := range row(w, o, a.In) {
				sum += in[c] * float64(v)
			}
			if b != nil {
				sum += float64(b[o])
			}
			z := float32(sum)
			if pre != nil {
				pre[r*a.Out+o] = z
			}
			y[r*a.Out+o] = float32(a.Act.Value(float64(z)))
		}
	}
}

// factor returns a factor of a matrix product: rounded to BF16 in a call of BF16.
func factor(x float32, half bool) float32 {
	if half {
		return rounded(x)
	}
	return x
}

// LinearGrad: dZ = dY∘act'(pre), dX = dropout'(dZ·W) + dXAdd, dW = dZᵀ·dropout(x), dB = Σ dZ.
func (k *table) LinearGrad(_ kernel.Stream, a *kernel.LinearGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.In)
	half := half(a.X)
	x, w, pre, dY := k.read(a.X), k.factors(a.W, half), k.read(a.Pre), k.read(a.DY)
	n := h.Count(a.Rows, a.N)
	dZ := k.floats(0, n*a.Out) // [n, Out]
	for i := range dZ {
		dZ[i] = float64(dY[i])
		if a.Act != kernel.Linear {
			dZ[i] *= a.Act.Slope(float64(pre[i]))
		}
	}
	if !a.DX.Absent() {
		addend, dX := k.read(a.DXAdd), k.write(a.DX)
		for r := range n {
			sum := k.floats(1, a.In)
			for o := range a.Out {
				axpy(sum, dZ[r*a.Out+o], row(w, o, a.In))
			}
			drop.row(r)
			for c, v := range sum {
				d := float32(drop.grad(v, c))
				if addend != nil {
					d += addend[r*a.In+c]
				}
				dX[r*a.In+c] = d
			}
		}
	}
	if !a.DW.Absent() {
		dW := k.floats(1, a.Out*a.In) // [Out, In]
		in := k.floats(2, a.In)
		for r := range n {
			drop.row(r)
			for c, v := range row(x, r, a.In) {
				in[c] = float64(factor(drop.apply(v, c), half))
			}
			for o := range a.Out {
				z, d := dZ[r*a.Out+o], dW[o*a.In:(o+1)*a.In]
				for c, v := range in {
					d[c] += z * v
				}
			}
		}
		store(a.DW.F32(), a.Beta[0], dW)
	}
	if !a.DB.Absent() {
		dB := k.floats(1, a.Out)
		for i, z := range dZ {
			dB[i%a.Out] += z
		}
		store(a.DB.F32(), a.Beta[1], dB)
	}
}
