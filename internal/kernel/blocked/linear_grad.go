package blocked

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// dzRows is the chunk of rows whose column sums are one float32 partial.
const dzRows = 64

// dzCall is the pass that makes dZ = dY∘act'(pre) and the column sums of dZ, row chunk by row chunk.
type dzCall struct {
	act     kernel.Activation
	dy, pre Values
	dz      Values // absent: dY is dZ
	sums    bool
	n, w    int
	db      []float32
	beta    float32
}

// LinearGrad is one pass over dY (dZ and its column sums) and two products: dX = dZ·W + dXAdd, dW = dZᵀ·dropout(x). The sum
// over rows in dW runs in blocks of Depth rows, in order. dZ is of the type that products read.
func (k *Kernels) LinearGrad(_ kernel.Stream, a *kernel.LinearGradArgs) {
	k.begin(a.Header)
	defer k.end()
	n, half := k.h.Count(a.Rows, a.N), a.X.DType == kernel.BF16
	f := k.format(half)
	dz := valuesOf(a.DY)
	c := &k.call.dz
	*c = dzCall{act: a.Act, dy: dz, sums: !a.DB.Absent(), n: n, w: a.Out, db: a.DB.F32(), beta: a.Beta[1]}
	if a.Act != kernel.Linear {
		c.pre, c.dz = valuesOf(a.Pre), workOf(a.Work, half, n*a.Out)
		dz = c.dz
	}
	k.dzPass()
	if a.Drop.On() {
		k.call.drop = k.dropOf(a.Drop, a.Rows, a.In)
	}
	if !a.DX.Absent() {
		k.call.linG = a
		k.g = gemm{
			f: f, m: n, n: a.In, k: a.Out,
			a: matrix{data: dz, ld: a.Out}, b: matrix{data: single(a.W.F32()), ld: a.In}, packed: a.Packed.F32(),
			ldc: a.In, done: (*Kernels).linearDX,
		}
		if a.DX.DType == kernel.F32 && a.DXAdd.Absent() && deep(a.Out) {
			k.g.c = a.DX.F32()
		}
		k.product()
	}
	if !a.DW.Absent() {
		k.g = gemm{
			f: f, m: a.Out, n: a.In, k: n,
			a: matrix{data: dz, ld: a.Out, trans: true}, b: matrix{data: valuesOf(a.X), ld: a.In},
			c: a.DW.F32(), ldc: a.In, beta: a.Beta[0],
		}
		if a.Drop.On() {
			k.g.dropB = &k.call.drop
		}
		k.product()
	}
}

// workOf returns n elements of workspace.
func workOf(b kernel.Buf, half bool, n int) Values {
	work := b.F32()
	if !half {
		return Values{F32: work[:n]}
	}
	return Values{BF16: unsafe.Slice((*bf16.BF16)(unsafe.Pointer(unsafe.SliceData(work))), 2*len(work))[:n]}
}

// linearDX drops a block of dX, adds to it and stores it.
func (k *Kernels) linearDX(worker int, c []float32, ld, i0, i1, j0, j1 int) {
	a, width := k.call.linG, j1-j0
	dx, add := valuesOf(a.DX), valuesOf(a.DXAdd)
	buf := grow(&k.workers[worker].x, width)
	for i := i0; i < i1; i++ {
		row, at := c[(i-i0)*ld:][:width], i*a.In+j0
		if a.Drop.On() {
			k.dropRow(&k.call.drop, row, row, i, j0)
		}
		if !a.DXAdd.Absent() {
			k.p.Add(row, row, k.wide(&add, at, width, buf))
		}
		if k.g.c == nil {
			k.store(&dx, at, row)
		}
	}
}

// dzPass runs the pass of k.call.dz.
func (k *Kernels) dzPass() {
	c := &k.call.dz
	if c.dz.absent() && !c.sums {
		return
	}
	chunks := parts(c.n, dzRows)
	if c.sums {
		grow(&k.s.partial, chunks*c.w)
	}
	k.run(chunks, (*Kernels).dzPart)
	if c.sums {
		k.foldPartials(c.db, k.s.partial, chunks, c.w, c.w, c.beta)
	}
}

// dzWidth is the columns that pass at a time: their rows in float32 stay in the L1 cache.
const dzWidth = 1024

func (k *Kernels) dzPart(part, w int) {
	c := &k.call.dz
	i0, i1 := span(part, dzRows, c.n)
	var sums []float32
	if c.sums {
		sums = k.s.partial[part*c.w:][:c.w]
		clear(sums)
	}
	buf := grow(&k.workers[w].x, 2*dzWidth)
	for i := i0; i < i1; i++ {
		for j0 := 0; j0 < c.w; j0 += dzWidth {
			at, width := i*c.w+j0, min(dzWidth, c.w-j0)
			if c.act == kernel.Gelu && c.dy.BF16 != nil && c.dz.BF16 != nil && c.pre.BF16 != nil && k.p.Rows.GeluGrad != nil && width%16 == 0 {
				to := buf[:width] // sums that nobody wants
				if sums != nil {
					to = sums[j0:][:width]
				}
				k.p.Rows.GeluGrad(c.dz.BF16[at:][:width], c.dy.BF16[at:][:width], c.pre.BF16[at:][:width], to)
				continue
			}
			if c.dz.absent() { // dY is dZ: sums alone
				k.addRow(sums[j0:][:width], &c.dy, at)
				continue
			}
			dz := c.dz.dest(at, width, buf)
			k.p.ActGrad(c.act, dz, k.wide(&c.dy, at, width, buf), k.wide(&c.pre, at, width, buf[dzWidth:]))
			k.stored(&c.dz, at, dz)
			if sums != nil {
				k.p.Add(sums[j0:][:width], sums[j0:][:width], dz)
			}
		}
	}
}
