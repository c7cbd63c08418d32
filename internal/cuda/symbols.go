package cuda

import (
	"fmt"
	"sync"
)

// Symbol is a function of a library.
type Symbol struct {
	Name string
	addr uintptr
}

// Call calls the function. A pointer to Go memory is passed as uintptr(unsafe.Pointer(p)) written in the argument list
// itself; it then stays where it is for the duration of the call, and no longer. It allocates the argument list; hot
// calls use call. It takes whole numbers and addresses, no floats.
//
//go:uintptrescapes
func (s Symbol) Call(args ...uintptr) uintptr { return syscallN(s.addr, args) }

// frames lends argument lists to call, so that it allocates none.
var frames = sync.Pool{New: func() any { return new([5]uintptr) }}

// call is Call for at most five arguments, without allocation: what the function does not take is 0.
//
//go:uintptrescapes
func (s Symbol) call(a, b, c, d, e uintptr) uintptr {
	f := frames.Get().(*[5]uintptr)
	*f = [5]uintptr{a, b, c, d, e}
	r := syscallN(s.addr, f[:])
	frames.Put(f)
	return r
}

// symbols are the functions of libcuda that this package calls.
type symbols struct {
	init, driverGetVersion, getErrorName, getErrorString                               Symbol
	deviceGetCount, deviceGet, deviceGetName, deviceTotalMem, deviceGetAttribute       Symbol
	primaryCtxRetain, primaryCtxRelease, ctxSetCurrent, ctxSynchronize                 Symbol
	memGetInfo, memAlloc, memFree, memHostAlloc, memFreeHost                           Symbol
	memcpyHtoD, memcpyDtoH, memcpyDtoD, memsetD8                                       Symbol
	streamCreate, streamDestroy, streamSynchronize, streamWaitEvent                    Symbol
	streamBeginCapture, streamEndCapture                                               Symbol
	eventCreate, eventDestroy, eventRecord, eventQuery, eventSynchronize, eventElapsed Symbol
	moduleLoadDataEx, moduleUnload, moduleGetFunction                                  Symbol
	funcGetAttribute, funcSetAttribute, launchKernel                                   Symbol
	graphGetNodes, graphInstantiate, graphLaunch, graphExecDestroy, graphDestroy       Symbol
}

// resolve looks up every function once. Version suffixes are written out: the header renames cuMemAlloc to
// cuMemAlloc_v2, the library keeps both, and the bare name is the interface of 2008.
func resolve(l *Library) (*symbols, error) {
	s := new(symbols)
	for _, e := range []struct {
		to    *Symbol
		name  string
		since int // first driver version that has it, as cuDriverGetVersion counts
	}{
		{&s.init, "cuInit", 2000},
		{&s.driverGetVersion, "cuDriverGetVersion", 2020},
		{&s.getErrorName, "cuGetErrorName", 6000},
		{&s.getErrorString, "cuGetErrorString", 6000},
		{&s.deviceGetCount, "cuDeviceGetCount", 2000},
		{&s.deviceGet, "cuDeviceGet", 2000},
		{&s.deviceGetName, "cuDeviceGetName", 2000},
		{&s.deviceTotalMem, "cuDeviceTotalMem_v2", 3020},
		{&s.deviceGetAttribute, "cuDeviceGetAttribute", 2000},
		{&s.primaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000},
		{&s.primaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", 11000},
		{&s.ctxSetCurrent, "cuCtxSetCurrent", 4000},
		{&s.ctxSynchronize, "cuCtxSynchronize", 2000},
		{&s.memGetInfo, "cuMemGetInfo_v2", 3020},
		{&s.memAlloc, "cuMemAlloc_v2", 3020},
		{&s.memFree, "cuMemFree_v2", 3020},
		{&s.memHostAlloc, "cuMemHostAlloc", 2020},
		{&s.memFreeHost, "cuMemFreeHost", 2000},
		{&s.memcpyHtoD, "cuMemcpyHtoDAsync_v2", 3020},
		{&s.memcpyDtoH, "cuMemcpyDtoHAsync_v2", 3020},
		{&s.memcpyDtoD, "cuMemcpyDtoDAsync_v2", 3020},
		{&s.memsetD8, "cuMemsetD8Async", 3020},
		{&s.streamCreate, "cuStreamCreate", 2000},
		{&s.streamDestroy, "cuStreamDestroy_v2", 4000},
		{&s.streamSynchronize, "cuStreamSynchronize", 2000},
		{&s.streamWaitEvent, "cuStreamWaitEvent", 3020},
		{&s.streamBeginCapture, "cuStreamBeginCapture_v2", 10010},
		{&s.streamEndCapture, "cuStreamEndCapture", 10000},
		{&s.eventCreate, "cuEventCreate", 2000},
		{&s.eventDestroy, "cuEventDestroy_v2", 4000},
		{&s.eventRecord, "cuEventRecord", 2000},
		{&s.eventQuery, "cuEventQuery", 2000},
		{&s.eventSynchronize, "cuEventSynchronize", 2000},
		{&s.eventElapsed, "cuEventElapsedTime", 2000},
		{&s.moduleLoadDataEx, "cuModuleLoadDataEx", 2010},
		{&s.moduleUnload, "cuModuleUnload", 2000},
		{&s.moduleGetFunction, "cuModuleGetFunction", 2000},
		{&s.funcGetAttribute, "cuFuncGetAttribute", 2020},
		{&s.funcSetAttribute, "cuFuncSetAttribute", 9000},
		{&s.launchKernel, "cuLaunchKernel", 4000},
		{&s.graphGetNodes, "cuGraphGetNodes", 10000},
		{&s.graphInstantiate, "cuGraphInstantiateWithFlags", 11040},
		{&s.graphLaunch, "cuGraphLaunch", 10000},
		{&s.graphExecDestroy, "cuGraphExecDestroy", 10000},
		{&s.graphDestroy, "cuGraphDestroy", 10000},
	} {
		f, err := l.Symbol(e.name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w; drivers for CUDA %s and later have it, so install a newer driver", ErrDriverTooOld, err, versionName(e.since))
		}
		*e.to = f
	}
	return s, nil
}
