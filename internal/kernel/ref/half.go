package ref

import (
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// The kernels are written over float32. Operands that hold BF16 are widened before and rounded after, so that each result
// is rounded to BF16 once; the factors of matrix products are rounded where half says that the call is one of BF16. A
// destination may be float32 all the same: it then holds the result before that rounding, which is how the conformance
// suite sees whether a family rounds rightly.

// lock begins a call that uses scratch memory.
func (k *table) lock() { k.mu.Lock() }

// unlock rounds the BF16 destinations of the call and ends it.
func (k *table) unlock() {
	for _, n := range k.narrow {
		d := n.to.BF16()
		for i, v := range n.from {
			d[i] = bf16.FromFloat32(v)
		}
	}
	k.narrow, k.copies = k.narrow[:0], 0
	k.mu.Unlock()
}

// narrowing is a destination of BF16 and the float32 that are written in its stead.
type narrowing struct {
	to   kernel.Buf
	from []float32
}

// half reports whether the call that has this operand is one of BF16.
func half(b kernel.Buf) bool { return b.DType == kernel.BF16 }

// read returns an operand as float32, nil when it is absent: its own memory, or a widened copy that lasts until unlock.
func (k *table) read(b kernel.Buf) []float32 {
	if b.Absent() || !half(b) {
		return b.F32()
	}
	c := k.copied(b.Len())
	for i, v := range b.BF16() {
		c[i] = v.Float32()
	}
	return c
}

// write is read for a destination: unlock rounds the copy back, also where nothing was written.
func (k *table) write(b kernel.Buf) []float32 {
	c := k.read(b)
	if !b.Absent() && half(b) {
		k.narrow = append(k.narrow, narrowing{b, c})
	}
	return c
}

// factors returns an operand as the matrix products of a call read it: rounded when the call is one of BF16.
func (k *table) factors(b kernel.Buf, half bool) []float32 {
	if b.Absent() || !half || b.DType != kernel.F32 {
		return k.read(b)
	}
	c := k.copied(b.Len())
	for i, v := range b.F32() {
		c[i] = rounded(v)
	}
	return c
}

// rounded returns the BF16 nearest to x.
func rounded(x float32) float32 { return bf16.FromFloat32(x).Float32() }

// copied returns the next scratch slice of float32 of this call.
func (k *table) copied(n int) []float32 {
	if k.copies == len(k.f32) {
		k.f32 = append(k.f32, nil)
	}
	s := &k.f32[k.copies]
	k.copies++
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}
