package cuda

import (
	"errors"
	"fmt"
)

// Type is the element type of a product.
type Type int

const (
	F32 Type = iota
	BF16
)

// Epilogue is what happens to a product before it is stored.
type Epilogue int

const (
	EpilogueNone Epilogue = iota
	EpilogueBias
	EpilogueGelu
	EpilogueGeluBias
)

// Product is C[M,N] = Alpha·op(A)[M,K]·op(B)[K,N] + Beta·C, row-major.
type Product struct {
	M, N, K        int
	TransA, TransB bool
	A, B, C        Ptr
	LDA, LDB, LDC  int
	In, Out        Type
	Alpha, Beta    float32
	Epilogue       Epilogue
	Bias           Ptr
}

// Lt is the opened libcublasLt on a device.
type Lt struct {
	library *Library
	version int
}

// OpenLt opens libcublasLt.
func (d *Device) OpenLt(library string) (*Lt, error) {
	l, err := OpenLibrary(LibCublasLt, library)
	if err != nil {
		return nil, err
	}
	f, err := l.Symbol("cublasLtGetVersion")
	if err != nil {
		return nil, err
	}
	return &Lt{library: l, version: int(f.Call())}, nil
}

// Path returns the library's file.
func (l *Lt) Path() string { return l.library.path }

// Version returns the library's version.
func (l *Lt) Version() int { return l.version }

// Close gives the handle back.
func (l *Lt) Close() error { return nil }

// Multiply computes a product.
func (l *Lt) Multiply(s *Stream, p *Product) error {
	return fmt.Errorf("product of %d×%d×%d: %w", p.M, p.N, p.K, errors.ErrUnsupported)
}
