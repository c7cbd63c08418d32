package ref

import "github.com/secencoder/secencoder/internal/kernel"

// Linear: y = act(dropout(x)·Wᵀ + b). The pre-activation is rounded to float32 before the activation.
func (k *table) Linear(_ kernel.Stream, a *kernel.LinearArgs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.In)
	x, w, b, y, pre := a.X.F32(), a.W.F32(), a.B.F32(), a.Y.F32(), a.Pre.F32()
	in := k.floats(0, a.In)
	for r := range h.Count(a.Rows, a.N) {
		drop.row(r)
		for c, v := range row(x, r, a.In) {
			in[c] = float64(drop.apply(v, c))
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

// LinearGrad: dZ = dY∘act'(pre), dX = dropout'(dZ·W), dW = dZᵀ·dropout(x), dB = Σ dZ.
func (k *table) LinearGrad(_ kernel.Stream, a *kernel.LinearGradArgs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.In)
	x, w, pre, dY := a.X.F32(), a.W.F32(), a.Pre.F32(), a.DY.F32()
	n := h.Count(a.Rows, a.N)
	dZ := k.floats(0, n*a.Out) // [n, Out]
	for i := range dZ {
		dZ[i] = float64(dY[i])
		if a.Act != kernel.Linear {
			dZ[i] *= a.Act.Slope(float64(pre[i]))
		}
	}
	if !a.DX.Absent() {
		dX := a.DX.F32()
		for r := range n {
			sum := k.floats(1, a.In)
			for o := range a.Out {
				axpy(sum, dZ[r*a.Out+o], row(w, o, a.In))
			}
			drop.row(r)
			for c, v := range sum {
				dX[r*a.In+c] = float32(drop.grad(v, c))
			}
		}
	}
	if !a.DW.Absent() {
		dW := k.floats(1, a.Out*a.In) // [Out, In]
		in := k.floats(2, a.In)
		for r := range n {
			drop.row(r)
			for c, v := range row(x, r, a.In) {
				in[c] = float64(drop.apply(v, c))
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
