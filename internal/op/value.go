package op

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// reference is the table that Do computes with.
var reference = sync.OnceValues(func() (kernel.Kernels, error) {
	d, err := device.Open(device.Options{Threads: 1, Kernels: "ref"})
	if err != nil {
		return nil, err
	}
	return d.Kernels(), nil
})

// ValueBuf describes the memory of a value: a dense tensor of float32, BF16, int32 or int16, or a float32 scalar. It aliases
// the value.
func ValueBuf(v G.Value) (kernel.Buf, error) {
	switch v := v.(type) {
	case *G.F32:
		return kernel.Buf{Ptr: unsafe.Pointer(v), Bytes: 4, DType: kernel.F32}, nil
	case *tensor.Dense:
		switch v.Dtype() {
		case tensor.Float32:
			return kernel.FromF32(v.Float32s()), nil
		case bfloat16:
			return kernel.FromBF16(v.Data().([]bf16.BF16)), nil
		case tensor.Int32:
			return kernel.FromI32(v.Int32s()), nil
		case tensor.Int16:
			return kernel.FromI16(v.Int16s()), nil
		}
	}
	return kernel.Buf{}, fmt.Errorf("no kernel operand in a value of type %T, %v", v, v.Dtype())
}

// Do computes this one result with the reference kernels; siblings are computed and thrown away. It allocates, and
// serves Gorgonia's TapeMachine only.
func (o *Op) Do(values ...G.Value) (G.Value, error) {
	k, err := reference()
	if err != nil {
		return nil, err
	}
	gr := o.group
	in := make([]kernel.Buf, len(values))
	for i, v := range values {
		if in[i], err = ValueBuf(v); err != nil {
			return nil, fmt.Errorf("%v: input %d: %w", o, i, err)
		}
	}
	out := make([]kernel.Buf, len(gr.Results))
	var mine any
	for i := range gr.Results {
		var data any
		switch n := gr.Results[i].Len(); gr.Results[i].DType {
		case kernel.BF16:
			halves := make([]bf16.BF16, n)
			data, out[i] = halves, kernel.FromBF16(halves)
		default:
			floats := make([]float32, n)
			data, out[i] = floats, kernel.FromF32(floats)
		}
		if i == o.result {
			mine = data
		}
	}
	s := gr.step()
	var work kernel.Buf
	if n := s.WorkBytes(k); n > 0 {
		work = kernel.FromF32(make([]float32, (n+3)/4))
	}
	s.Bind(in, out, work)
	s.Run(k, 0)
	if err := k.Sync(0); err != nil {
		return nil, fmt.Errorf("%v: %w", o, err)
	}
	if shape := gr.Results[o.result].Shape; len(shape) > 0 {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(mine)), nil
	}
	return G.NewF32(mine.([]float32)[0]), nil
}
