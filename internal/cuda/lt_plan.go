package cuda

import (
	"unsafe"
)

// ltKey is what decides about the algorithm of a product.
type ltKey struct {
	m, n, k, lda, ldb, ldc            int
	transA, transB                    bool
	in, out                           Type
	epilogue                          Epilogue
	alignA, alignB, alignC, alignBias uint8 // bytes, at most 16; alignBias 0 without a bias
}

// ltPlan holds the descriptors of products of one key and the algorithm that was found for them.
type ltPlan struct {
	desc, a, b, c uintptr // cublasLtMatmulDesc_t, cublasLtMatrixLayout_t
	bias          Ptr     // that desc has now
	workspace     int64
	algorithm     ltAlgorithm
}

// ltAlgorithm is cublasLtMatmulAlgo_t, ltFound cublasLtMatmulHeuristicResult_t.
type (
	ltAlgorithm [8]uint64
	ltFound     struct {
		algorithm ltAlgorithm
		workspace uintptr
		state     int32
		_         float32 // waves: how full the GPU is expected to be
		_         [4]int32
	}
)

// Numbers of cublasLt.h and library_types.h. They are the same in cuBLAS 12 and 13; TestLtLibrary holds the sizes of
// the attributes against every library that it finds.
const (
	cudaR32F         = 0  // CUDA_R_32F
	cudaR16BF        = 14 // CUDA_R_16BF
	compute32F       = 68 // CUBLAS_COMPUTE_32F: float32 arithmetic. TF32 would be CUBLAS_COMPUTE_32F_FAST_TF32, 77
	descTransA       = 3
	descTransB       = 4
	descEpilogue     = 7
	descBiasPointer  = 8
	descBiasType     = 26
	prefWorkspace    = 1
	prefReduction    = 3
	prefAlignment    = 5 // of A; then B, C, D
	opTranspose      = 1
	reductionCompute = 2 // partial sums are added in float32 in a fixed order; not 1, in place, nor 4, in the result's type
)

// ltEpilogues are the numbers of cublasLtEpilogue_t.
var ltEpilogues = [...]uint32{EpilogueNone: 1, EpilogueBias: 4, EpilogueGelu: 32, EpilogueGeluBias: 36}

// mostWorkspace is what an algorithm may ask for: what cuBLAS itself takes on the largest GPUs.
const mostWorkspace = 32 << 20

func cudaType(t Type) uintptr {
	if t == BF16 {
		return cudaR16BF
	}
	return cudaR32F
}

// search makes the plan of a key. lt is the library's handle; the device has been entered.
func (l *ltLibrary) search(lt uintptr, k ltKey) (plan *ltPlan, err error) {
	p := new(ltPlan)
	var preference uintptr
	defer func() {
		if preference != 0 {
			err = Join(err, l.check(l.prefDestroy, l.prefDestroy.Call(preference)))
		}
		if err != nil {
			plan, err = nil, Join(err, p.close(l))
		}
	}()
	out := new(uintptr)
	create := func(to *uintptr, f Symbol, args ...uintptr) {
		if err != nil {
			return
		}
		*out = 0
		all := [4]uintptr{}
		copy(all[:], args)
		if err = l.check(f, f.Call(uintptr(unsafe.Pointer(out)), all[0], all[1], all[2], all[3])); err == nil {
			*to = *out
		}
	}
	value := new(uint64)
	set := func(object uintptr, f Symbol, attribute, bytes uintptr, v uint64) {
		if err != nil {
			return
		}
		*value = v // little-endian, as all systems with CUDA are
		err = l.check(f, f.Call(object, attribute, uintptr(unsafe.Pointer(value)), bytes))
	}
	create(&p.desc, l.descCreate, compute32F, cudaR32F)
	// B stands first, see Lt.
	if k.transB {
		set(p.desc, l.descSet, descTransA, 4, opTranspose)
	}
	if k.transA {
		set(p.desc, l.descSet, descTransB, 4, opTranspose)
	}
	set(p.desc, l.descSet, descEpilogue, 4, uint64(ltEpilogues[k.epilogue]))
	if k.epilogue.bias() {
		set(p.desc, l.descSet, descBiasType, 4, uint64(cudaType(k.out)))
		// The search looks at the alignment of this address, not at what is there.
		p.bias = Ptr(k.alignBias)
		set(p.desc, l.descSet, descBiasPointer, 8, uint64(p.bias))
	}
	layout := func(to *uintptr, t Type, rows, columns, ld int) {
		create(to, l.layoutCreate, cudaType(t), uintptr(columns), uintptr(rows), uintptr(ld))
	}
	layout(&p.a, k.in, pick(k.transA, k.k, k.m), pick(k.transA, k.m, k.k), k.lda)
	layout(&p.b, k.in, pick(k.transB, k.n, k.k), pick(k.transB, k.k, k.n), k.ldb)
	layout(&p.c, k.out, k.m, k.n, k.ldc)
	create(&preference, l.prefCreate)
	set(preference, l.prefSet, prefWorkspace, 8, mostWorkspace)
	set(preference, l.prefSet, prefReduction, 4, reductionCompute)
	for i, a := range [...]uint8{k.alignB, k.alignA, k.alignC, k.alignC} {
		set(preference, l.prefSet, prefAlignment+uintptr(i), 4, uint64(a))
	}
	if err != nil {
		return nil, err
	}
	found, n := new([8]ltFound), new(int32)
	if err := l.check(l.heuristic, l.heuristic.Call(lt, p.desc, p.b, p.a, p.c, p.c, preference, uintptr(len(found)),
		uintptr(unsafe.Pointer(found)), uintptr(unsafe.Pointer(n)))); err != nil {
		return nil, err
	}
	for i := range found[:min(max(0, int(*n)), len(found))] {
		if f := &found[i]; f.state == 0 && f.workspace <= mostWorkspace {
			p.algorithm, p.workspace = f.algorithm, int64(f.workspace)
			return p, nil
		}
	}
	const notSupported = 15
	return nil, l.check(l.heuristic, notSupported)
}

// setBias lets the descriptor have the bias of the next product.
func (p *ltPlan) setBias(l *ltLibrary, bias Ptr) error {
	if p.bias == bias {
		return nil
	}
	value := &p.bias
	old := *value
	*value = bias
	if err := l.check(l.descSet, l.descSet.call(p.desc, descBiasPointer, uintptr(unsafe.Pointer(value)), 8, 0)); err != nil {
		*value = old
		return err
	}
	return nil
}

// close gives the descriptors back.
func (p *ltPlan) close(l *ltLibrary) error {
	var errs []error
	for _, x := range []struct {
		f      Symbol
		object *uintptr
	}{{l.descDestroy, &p.desc}, {l.layoutDestroy, &p.a}, {l.layoutDestroy, &p.b}, {l.layoutDestroy, &p.c}} {
		if *x.object != 0 {
			errs = append(errs, l.check(x.f, x.f.Call(*x.object)))
			*x.object = 0
		}
	}
	return Join(errs...)
}
