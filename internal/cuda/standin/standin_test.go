package standin

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// raw calls the stand-in as a C program would, with every mistake that one can make: the checks must find them, or the
// tests of the driver layer prove nothing.
type raw struct {
	*Library
	t   testing.TB
	out *[16]uint64 // where calls put what they give
}

// newRaw loads a stand-in and makes the context of device 0 current on this thread.
func newRaw(t testing.TB) *raw {
	t.Helper()
	r := &raw{Library: Build(t), t: t, out: new([16]uint64)}
	r.Set(Hide, 0) // host looks into it
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r.good("cuInit", 0)
	r.good("cuDeviceGet", r.to(0), 0)
	r.good("cuDevicePrimaryCtxRetain", r.to(1), r.device())
	r.good("cuCtxSetCurrent", r.at(1))
	return r
}

func (r *raw) to(i int) uintptr { return uintptr(unsafe.Pointer(&r.out[i])) }
func (r *raw) at(i int) uintptr { return uintptr(r.out[i]) }
func (r *raw) device() uintptr  { return uintptr(int32(r.out[0])) }

func (r *raw) good(name string, args ...uintptr) {
	r.t.Helper()
	if code := int32(r.call(name, args...)); code != 0 {
		r.t.Fatalf("%s returned %d; %q", name, code, r.Violations())
	}
}

// bad expects the code and one violation that holds the words; no words: no violation.
func (r *raw) bad(want int32, words, name string, args ...uintptr) {
	r.t.Helper()
	if code := int32(r.call(name, args...)); code != want {
		r.t.Errorf("%s returned %d, want %d", name, code, want)
	}
	r.noted(words)
}

func (r *raw) noted(words string) {
	r.t.Helper()
	v := r.Violations()
	if words == "" && len(v) > 0 || words != "" && (len(v) != 1 || !strings.Contains(v[0], words)) {
		r.t.Errorf("noted %q, want %q", v, words)
	}
}

func (r *raw) leaked(want ...string) {
	r.t.Helper()
	leaks := r.Leaks()
	if len(leaks) != len(want) {
		r.t.Errorf("%d leaks, want %d: %q", len(leaks), len(want), leaks)
	}
	for _, w := range want {
		if !slices.ContainsFunc(leaks, func(l string) bool { return strings.Contains(l, w) }) {
			r.t.Errorf("no leak %q in %q", w, leaks)
		}
	}
}

func (r *raw) release() {
	r.t.Helper()
	r.good("cuDevicePrimaryCtxRelease_v2", r.device())
}

func (r *raw) memory(i, bytes int) uintptr {
	r.t.Helper()
	r.good("cuMemAlloc_v2", r.to(i), uintptr(bytes))
	return r.at(i)
}

func (r *raw) stream(i int) uintptr {
	r.t.Helper()
	r.good("cuStreamCreate", r.to(i), 1)
	return r.at(i)
}

func (r *raw) event(i int) uintptr {
	r.t.Helper()
	r.good("cuEventCreate", r.to(i), 0)
	return r.at(i)
}

func (r *raw) function(i int, name string) uintptr {
	r.t.Helper()
	image, text := text(PTX), text(name)
	r.good("cuModuleLoadDataEx", r.to(i), address(image), 0, 0, 0)
	r.good("cuModuleGetFunction", r.to(i+1), r.at(i), address(text))
	runtime.KeepAlive(image)
	runtime.KeepAlive(text)
	return r.at(i + 1)
}

// host is memory of the device seen from here: the stand-in's is host memory.
func host(p uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}

func TestOrderOfCalls(t *testing.T) {
	r := &raw{Library: Build(t), t: t, out: new([16]uint64)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.bad(3, "before cuInit", "cuDeviceGetCount", r.to(0))
	r.bad(3, "before cuInit", "cuMemAlloc_v2", r.to(0), 1)
	r.bad(1, "", "cuInit", 5)
	r.good("cuInit", 0)
	r.bad(201, "no current context", "cuMemAlloc_v2", r.to(0), 1)
	r.bad(201, "no current context", "cuStreamSynchronize", 0)
	r.bad(101, "", "cuDeviceGet", r.to(0), 1)
	r.bad(101, "0 is no device", "cuDevicePrimaryCtxRetain", r.to(1), 0) // the ordinal, not the device
	r.good("cuDeviceGet", r.to(0), 0)
	r.bad(201, "not retained", "cuDevicePrimaryCtxRelease_v2", r.device())
	r.good("cuDevicePrimaryCtxRetain", r.to(1), r.device())
	r.bad(201, "0x1234 is no context", "cuCtxSetCurrent", 0x1234)
	r.good("cuCtxSetCurrent", r.at(1))
	r.memory(2, 64)
	r.good("cuMemFree_v2", r.at(2))
	r.release()
	r.bad(709, "was released", "cuMemAlloc_v2", r.to(2), 64)
	r.bad(201, "was destroyed before", "cuCtxSetCurrent", r.at(1))
	r.good("cuCtxSetCurrent", 0)
	r.bad(201, "no current context", "cuCtxSynchronize")
	r.leaked()
}

func TestContextsAreOfThreads(t *testing.T) {
	r := newRaw(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		r.bad(201, "this thread has no current context", "cuStreamCreate", r.to(5), 0)
	}()
	<-done
	r.Set(Devices, 2)
	s := r.stream(2)
	p := r.memory(3, 64)
	r.good("cuDeviceGet", r.to(4), 1)
	r.good("cuDevicePrimaryCtxRetain", r.to(5), uintptr(int32(r.out[4])))
	r.good("cuCtxSetCurrent", r.at(5))
	r.bad(400, "belongs to the context of device 0, the thread's context is that of device 1", "cuStreamSynchronize", s)
	r.bad(0, "the memory belongs to device 0, the context to device 1", "cuMemsetD8Async", p, 0, 64, 0)
	r.good("cuCtxSetCurrent", r.at(1))
	r.good("cuStreamDestroy_v2", s)
	r.good("cuMemFree_v2", p)
	r.good("cuDevicePrimaryCtxRelease_v2", uintptr(int32(r.out[4])))
	r.release()
}

func TestMemoryRules(t *testing.T) {
	r := newRaw(t)
	p := r.memory(2, 1000)
	for i, b := range host(p, 1000) {
		if b != 0xff {
			t.Fatalf("fresh memory holds %#x at %d", b, i)
		}
	}
	if p%256 != 0 {
		t.Errorf("address %#x", p)
	}
	r.bad(1, "asks for 0 bytes", "cuMemAlloc_v2", r.to(3), 0)
	r.bad(2, "", "cuMemAlloc_v2", r.to(3), 5<<30)
	r.bad(1, "200 bytes inside device memory #1 of 1,000 bytes", "cuMemFree_v2", p+200)
	r.bad(1, "is no device memory", "cuMemFree_v2", 0xabcdef00)
	r.bad(1, "1,001 bytes at offset 0 reach past the end of device memory #1", "cuMemsetD8Async", p, 0, 1001, 0)
	r.bad(1, "at offset 999 reach past the end", "cuMemsetD8Async", p+999, 0, 2, 0)
	r.bad(1, "destination: 0x1000 is no device memory", "cuMemcpyDtoDAsync_v2", 0x1000, p, 8, 0)
	r.bad(0, "overlap", "cuMemcpyDtoDAsync_v2", p, p+8, 16, 0)
	r.bad(1, "is device memory, not the host's", "cuMemcpyHtoDAsync_v2", p, p+8, 8, 0)
	r.bad(1, "the host address is NULL", "cuMemcpyHtoDAsync_v2", p, 0, 8, 0)
	r.bad(400, "is no stream", "cuMemsetD8Async", p, 0, 8, 77)
	host(p, 1003)[1002] = 1
	r.noted("1 bytes past the end of device memory #1 of 1,000 bytes")
	host(p-8, 8)[3] = 1
	r.noted("1 bytes before the start of device memory #1")
	host(p, 1001)[1000] = 1
	r.bad(0, "1 bytes past the end", "cuMemFree_v2", p)
	r.bad(1, "was freed before", "cuMemFree_v2", p)
	r.bad(1, "is used after it was freed", "cuMemsetD8Async", p, 0, 8, 0)
	r.good("cuMemFree_v2", 0)
	r.good("cuMemHostAlloc", r.to(4), 100, 1)
	r.bad(1, "reach past the end of pinned host memory", "cuMemcpyDtoHAsync_v2", r.at(4)+90, r.memory(5, 64), 11, 0)
	r.bad(1, "is no pinned host memory", "cuMemFreeHost", r.at(5))
	r.good("cuMemFreeHost", r.at(4))
	r.bad(1, "was freed before", "cuMemFreeHost", r.at(4))
	r.bad(1, "is used after it was freed", "cuMemcpyDtoHAsync_v2", r.at(4), r.at(5), 8, 0)
	r.release()
	r.leaked("device memory #2 of 64 bytes was not freed")
}

// The program cannot touch the device's memory between calls.
func TestMemoryIsHidden(t *testing.T) {
	r := newRaw(t)
	p := r.memory(2, 4096)
	touched := func() (crashed bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { crashed = recover() != nil }()
		host(p, 1)[0]++
		return false
	}
	if touched() {
		t.Error("not hidden, and yet it cannot be touched")
	}
	r.Set(Hide, 1)
	r.good("cuMemsetD8Async", p, 5, 4096, 0)
	if !touched() {
		t.Error("hidden memory can be touched")
	}
	q := r.memory(3, 64)
	r.good("cuMemcpyDtoDAsync_v2", q, p, 64, 0)
	if !touched() {
		t.Error("hidden memory can be touched after a copy")
	}
	r.Set(Hide, 0)
	if got := host(q, 64)[63]; touched() || got != 5 {
		t.Errorf("a copy of hidden memory holds %d", got)
	}
	r.good("cuMemFree_v2", p)
	r.good("cuMemFree_v2", q)
	r.release()
}

// Addresses are not given out again soon, also when the whole range is used up.
func TestAddressesAreNotReused(t *testing.T) {
	r := newRaw(t)
	seen := map[uintptr]bool{}
	keep := r.memory(3, 100)
	for range 2000 {
		p := r.memory(2, 5000)
		if seen[p] {
			t.Fatalf("address %#x again", p)
		}
		seen[p] = true
		r.good("cuMemFree_v2", p)
	}
	r.Set(Memory, 100<<30)
	for range 64 { // 64 GB in all: around the range and past what is still there
		p := r.memory(2, 3<<30)
		if p <= keep && keep < p+3<<30 {
			t.Fatalf("%#x lies in what was given at %#x", keep, p)
		}
		r.good("cuMemFree_v2", p)
	}
	r.good("cuMemFree_v2", keep)
	r.release()
}

func TestHandlesAreChecked(t *testing.T) {
	r := newRaw(t)
	s, e := r.stream(2), r.event(3)
	f := r.function(4, "standin_nothing")
	r.bad(400, "of the kind event, not stream", "cuStreamSynchronize", e)
	r.bad(400, "of the kind stream, not event", "cuEventQuery", s)
	r.bad(400, "the event is NULL", "cuEventQuery", 0)
	r.bad(400, "is no module", "cuModuleUnload", 0x7fff00001234)
	r.good("cuEventRecord", e, s)
	r.good("cuEventDestroy_v2", e)
	r.bad(400, "was destroyed before", "cuEventDestroy_v2", e)
	r.bad(400, "was destroyed before", "cuStreamWaitEvent", s, e, 0)
	r.good("cuStreamDestroy_v2", s)
	r.bad(400, "was destroyed before", "cuStreamSynchronize", s)
	r.bad(400, "the stream is NULL", "cuStreamDestroy_v2", 0)
	for range 300 { // the place is used again, the handle is not
		r.good("cuStreamDestroy_v2", r.stream(6))
		if r.at(6) == s {
			t.Fatal("a handle came twice")
		}
	}
	r.good("cuModuleUnload", r.at(4))
	r.bad(400, "function 0x", "cuLaunchKernel", f, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
	r.event(7)
	r.stream(8)
	r.release()
	r.leaked("event #2 of cuEventCreate was not given back", "stream #302 of cuStreamCreate was not given back")
}

func TestEventRules(t *testing.T) {
	r := newRaw(t)
	s := r.stream(2)
	a, b := r.event(3), r.event(4)
	r.bad(0, "was never recorded", "cuStreamWaitEvent", s, a, 0)
	r.bad(0, "was never recorded", "cuEventSynchronize", a)
	r.good("cuEventRecord", a, s)
	r.bad(400, "was never recorded", "cuEventElapsedTime", r.to(6), a, b)
	r.Set(Strict, 0)
	r.bad(0, "", "cuStreamWaitEvent", s, b, 0)
	r.Set(Strict, 1)
	r.Set(Delay, Late)
	r.good("cuEventRecord", a, s)
	r.good("cuEventRecord", b, s)
	r.bad(600, "", "cuEventElapsedTime", r.to(6), a, b)
	for r.call("cuEventQuery", b) == 600 {
	}
	r.good("cuEventElapsedTime", r.to(6), a, b)
	r.good("cuEventDestroy_v2", a)
	r.good("cuEventDestroy_v2", b)
	r.good("cuStreamDestroy_v2", s)
	r.release()
}

func (r *raw) launch(f, s uintptr, grid, block, shared uintptr, args ...any) int32 {
	var blob [64]uint64
	var table [65]uintptr
	for i, a := range args {
		switch v := a.(type) {
		case uintptr:
			blob[i] = uint64(v)
		case uint32:
			blob[i] = uint64(v)
		}
		table[i] = uintptr(unsafe.Pointer(&blob[i]))
	}
	pin := new(runtime.Pinner)
	defer pin.Unpin()
	pin.Pin(&blob)
	pin.Pin(&table)
	return int32(r.call("cuLaunchKernel", f, grid, 1, 1, block, 1, 1, shared, s, uintptr(unsafe.Pointer(&table)), 0))
}

func (r *raw) badLaunch(want int32, words string, f, s uintptr, grid, block, shared uintptr, args ...any) {
	r.t.Helper()
	if code := r.launch(f, s, grid, block, shared, args...); code != want {
		r.t.Errorf("the launch returned %d, want %d", code, want)
	}
	r.noted(words)
}

func TestLaunchRules(t *testing.T) {
	r := newRaw(t)
	s, p := r.stream(2), r.memory(3, 4096)
	f := r.function(4, "standin_fill")
	r.badLaunch(0, "", f, s, 4, 256, 0, p, uint32(7), uint32(1024))
	r.good("cuStreamSynchronize", s)
	if got := binary.LittleEndian.Uint32(host(p, 4096)[4092:]); got != 7 {
		t.Errorf("the kernel wrote %d", got)
	}
	r.badLaunch(1, "is empty", f, s, 0, 1, 0, p, uint32(7), uint32(1))
	r.badLaunch(1, "no device takes", f, s, 1, 2000, 0, p, uint32(7), uint32(1))
	r.badLaunch(1, "49153 bytes of dynamic shared memory, at most 49152", f, s, 1, 1, 49153, p, uint32(7), uint32(1))
	r.badLaunch(1, "takes 3 arguments, argument 2 is not there", f, s, 1, 1, 0, p, uint32(7))
	r.bad(1, "there are no arguments", "cuLaunchKernel", f, 1, 1, 1, 1, 1, 1, 0, s, 0, 0)
	r.bad(1, "", "cuFuncSetAttribute", f, 8, 163<<10+1)
	r.good("cuFuncSetAttribute", f, 8, 163<<10)
	r.badLaunch(0, "", f, s, 1, 1, 163<<10, p, uint32(7), uint32(1))
	name := text("standin_shared")
	r.good("cuModuleGetFunction", r.to(6), r.at(4), address(name))
	r.badLaunch(701, "at most 256 threads", r.at(6), s, 1, 257, 0, uint32(7))
	r.badLaunch(1, "at most 48128 are allowed", r.at(6), s, 1, 256, 48129, uint32(7))
	missing := text("nothing")
	r.bad(500, "", "cuModuleGetFunction", r.to(7), r.at(4), address(missing))
	r.good("cuMemFree_v2", p)
	r.badLaunch(700, "kernel standin_fill, argument 0: device memory #1 of 4,096 bytes is used after it was freed", f, s, 1, 1, 0, p, uint32(7), uint32(1))
	r.bad(700, "", "cuStreamSynchronize", s) // the context is dead now
	r.bad(700, "", "cuMemAlloc_v2", r.to(8), 64)
	r.release()
	r.leaked()
}

// Memory that a queued kernel needs is freed only behind it; a graph that is launched after its memory was freed is seen.
func TestGraphRules(t *testing.T) {
	r := newRaw(t)
	s, other, p := r.stream(2), r.stream(3), r.memory(4, 64)
	r.bad(401, "is not being captured", "cuStreamEndCapture", s, r.to(9))
	r.bad(900, "", "cuStreamBeginCapture_v2", 0, 0)
	r.good("cuStreamBeginCapture_v2", s, 1)
	r.bad(401, "captured already", "cuStreamBeginCapture_v2", s, 1)
	r.good("cuMemsetD8Async", p, 5, 64, s)
	buffer := make([]byte, 64)
	r.bad(0, "pageable memory of the host at each replay", "cuMemcpyHtoDAsync_v2", p, address(buffer), 64, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		r.good("cuCtxSetCurrent", r.at(1))
		r.bad(908, "begun by another thread", "cuStreamEndCapture", s, r.to(9))
		r.memory(10, 64) // a capture of one thread does not concern another
		r.good("cuMemFree_v2", r.at(10))
	}()
	<-done
	r.good("cuStreamEndCapture", s, r.to(9))
	r.good("cuGraphInstantiateWithFlags", r.to(10), r.at(9), 0)
	r.good("cuGraphDestroy", r.at(9))
	r.bad(400, "was destroyed before", "cuGraphDestroy", r.at(9))
	r.good("cuGraphLaunch", r.at(10), other)
	// What ends a capture.
	for _, c := range []struct {
		what string
		call func() int32
	}{
		{"memory", func() int32 { return int32(r.call("cuMemAlloc_v2", r.to(11), 64)) }},
		{"synchronize", func() int32 { return int32(r.call("cuStreamSynchronize", s)) }},
		{"context", func() int32 { return int32(r.call("cuCtxSynchronize")) }},
		{"free", func() int32 { return int32(r.call("cuMemFree_v2", p)) }},
		{"query", func() int32 { return int32(r.call("cuStreamQuery", s)) }},
	} {
		r.good("cuStreamBeginCapture_v2", s, 1)
		if code := c.call(); code != 900 {
			t.Errorf("%s in a capture returned %d", c.what, code)
		}
		r.bad(901, "", "cuMemsetD8Async", p, 5, 64, s)
		r.bad(901, "", "cuStreamEndCapture", s, r.to(9))
	}
	// In the global mode other threads are concerned too.
	r.good("cuStreamBeginCapture_v2", s, 0)
	done = make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		r.good("cuCtxSetCurrent", r.at(1))
		r.bad(900, "", "cuMemAlloc_v2", r.to(11), 64)
	}()
	<-done
	r.bad(901, "", "cuStreamEndCapture", s, r.to(9))
	// An event of the capture is not the host's, and a fork must be joined.
	e := r.event(12)
	r.good("cuStreamBeginCapture_v2", s, 1)
	r.good("cuMemsetD8Async", p, 5, 64, s)
	r.good("cuEventRecord", e, s)
	r.good("cuStreamWaitEvent", other, e, 0)
	r.good("cuMemsetD8Async", p, 5, 64, other)
	r.bad(904, "", "cuStreamEndCapture", s, r.to(9))
	r.good("cuStreamBeginCapture_v2", s, 2)
	r.good("cuEventRecord", e, s)
	r.bad(907, "", "cuEventSynchronize", e)
	r.good("cuStreamWaitEvent", other, e, 0)
	r.bad(903, "begun on another stream", "cuStreamEndCapture", other, r.to(9))
	r.bad(901, "", "cuStreamEndCapture", s, r.to(9))
	r.good("cuStreamSynchronize", other)
	// The graph's memory goes away before the graph does.
	r.good("cuMemFree_v2", p)
	r.bad(700, "used after it was freed", "cuGraphLaunch", r.at(10), other)
	r.release()
	r.leaked()
}

// In the late mode nothing runs before it is waited for, and no more than that; freeing memory waits for all of it.
func TestLateWork(t *testing.T) {
	r := newRaw(t)
	r.Set(Delay, Late)
	one, two, p := r.stream(2), r.stream(3), r.memory(4, 64)
	e := r.event(5)
	first := func() byte { return host(p, 64)[0] }
	r.good("cuMemsetD8Async", p, 1, 64, one)
	r.good("cuEventRecord", e, one)
	r.good("cuMemsetD8Async", p, 2, 64, one)
	r.good("cuStreamWaitEvent", two, e, 0)
	r.good("cuMemsetD8Async", p+8, 3, 8, two)
	if first() != 0xff {
		t.Error("work ran before somebody waited")
	}
	r.bad(600, "", "cuEventQuery", e)
	r.good("cuStreamSynchronize", two)
	if first() != 1 || host(p, 64)[8] != 3 {
		t.Errorf("after the second stream: %v", host(p, 16))
	}
	r.good("cuMemFree_v2", r.memory(6, 64))
	if first() != 2 {
		t.Error("freeing memory did not wait")
	}
	r.good("cuMemsetD8Async", p, 4, 64, one)
	r.good("cuMemsetD8Async", p, 5, 64, 0) // the legacy stream does not wait for a non-blocking one
	if first() == 4 {
		t.Error("the legacy stream waited for a non-blocking stream")
	}
	r.good("cuStreamDestroy_v2", one)
	r.good("cuStreamDestroy_v2", two)
	r.good("cuEventDestroy_v2", e)
	r.good("cuMemFree_v2", p)
	r.release()
}

func TestModules(t *testing.T) {
	r := newRaw(t)
	load := func(image string) (code int32, log string) {
		t.Helper()
		buffer, bytes := make([]byte, 300), text(image)
		options := []int32{5, 6}
		values := []uintptr{address(buffer), uintptr(len(buffer))}
		code = int32(r.call("cuModuleLoadDataEx", r.to(2), address(bytes), 2, uintptr(unsafe.Pointer(&options[0])), uintptr(unsafe.Pointer(&values[0]))))
		runtime.KeepAlive(bytes)
		if code == 0 {
			r.good("cuModuleUnload", r.at(2))
		} else if n := int(values[1]); n > 0 {
			log = string(buffer[:n-1])
		}
		return code, log
	}
	for _, c := range []struct {
		image string
		code  int32
		log   string
	}{
		{PTX, 0, ""},
		{strings.Replace(PTX, ".version 7.0", ".version 8.4", 1), 0, ""},
		{strings.Replace(PTX, ".version 7.0", ".version 8.5", 1), 222, "Unsupported .version 8.5; current version is '8.4'"},
		{strings.Replace(PTX, "sm_80", "sm_75", 1), 0, ""},
		{strings.Replace(PTX, "sm_80", "sm_86", 1), 218, "higher than default"},
		{strings.Replace(PTX, "sm_80", "sm_90a", 1), 218, "higher than default"},
		{strings.Replace(PTX, "}", "", 1), 218, ""},
		{strings.TrimSuffix(PTX, "}\n"), 218, "ends inside a function"},
		{strings.Replace(PTX, ".address_size 64", "", 1), 218, ".address_size is missing"},
		{strings.Replace(PTX, "setp.ge.u32", "sett.ge.u32", 1), 218, "Not a name of any known instruction"},
		{strings.Replace(PTX, ".param .u32 standin_fill_n", ".param .u33 standin_fill_n", 1), 218, ""},
		{strings.Replace(PTX, ".param .u64 standin_fill_dst,", ".param .u64 standin_fill_dst", 1), 218, ""},
		{"", 200, ""},
		{"\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 60), 200, ""},
	} {
		code, log := load(c.image)
		if code != c.code || !strings.Contains(log, c.log) {
			t.Errorf("%.60q…: code %d, want %d; log %q, want %q", c.image, code, c.code, log, c.log)
		}
	}
	r.noted("")
	r.release()
}

// A shared variable of the module counts for the kernels that name it, one inside of a kernel for that kernel.
func TestSharedMemoryOfKernels(t *testing.T) {
	r := newRaw(t)
	image := text(`
// comment
.version 7.5
.target sm_80, texmode_independent
.address_size 64
.global .align 4 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
.extern .func (.param .b32 r) outside ( .param .b64 a );
.shared .align 16 .b8 tile[2048];
.extern .shared .align 16 .b8 dynamic[];
.visible .entry uses(.param .align 8 .b8 uses_0[24], .param .f32 uses_1) .maxntid 128, 2, 1
.minnctapersm 2
{
	.reg .b32 	%r<3>;
	// demoted variable
	.shared .align 4 .f32 own[33];
	.loc 1 2 3
	{ // scope
	mov.u32 %r1, tile;
	}
$L_1: @!%p1 bra.uni $L_1;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2}, {%r1, %r2}, {%r1}, {%f1, %f2};
	ret;
}
.entry plain() { ret; }
`)
	r.good("cuModuleLoadDataEx", r.to(2), address(image), 0, 0, 0)
	for _, c := range []struct {
		name            string
		shared, threads int
	}{{"uses", 2048 + 132, 256}, {"plain", 0, 1024}} {
		name := text(c.name)
		r.good("cuModuleGetFunction", r.to(3), r.at(2), address(name))
		r.out[4], r.out[5] = 0, 0
		r.good("cuFuncGetAttribute", r.to(4), 1, r.at(3))
		r.good("cuFuncGetAttribute", r.to(5), 0, r.at(3))
		if r.out[4] != uint64(c.shared) || r.out[5] != uint64(c.threads) {
			t.Errorf("%s: %d bytes shared, %d threads", c.name, r.out[4], r.out[5])
		}
	}
	r.good("cuModuleUnload", r.at(2))
	r.release()
}

func TestFaults(t *testing.T) {
	r := newRaw(t)
	r.Fail("cuMemAlloc_v2", 2, 2)
	p := r.memory(2, 64)
	r.bad(2, "", "cuMemAlloc_v2", r.to(3), 64)
	r.memory(3, 64)
	r.Fail("cuMemFree_v2", 1, 1) // frees all the same
	r.bad(1, "", "cuMemFree_v2", p)
	r.bad(1, "was freed before", "cuMemFree_v2", p)
	r.Fail("cuStreamCreate", 0, 999)
	r.bad(999, "", "cuStreamCreate", r.to(4), 0)
	r.bad(999, "", "cuMemAlloc_v2", r.to(4), 64) // 999 is an error of the device
	if got := r.Calls()["cuMemAlloc_v2"]; got != 4 {
		t.Errorf("%d calls of cuMemAlloc_v2", got)
	}
	r.Reset()
	if len(r.Calls()) != 0 {
		t.Errorf("after Reset: %v", r.Calls())
	}
	r.bad(709, "was released", "cuMemAlloc_v2", r.to(4), 64)
	r.leaked()
}

// Equal sentences are noted once, and a loop of mistakes does not fill the memory.
func TestReportsAreBounded(t *testing.T) {
	r := newRaw(t)
	for i := range 5000 {
		r.call("cuMemFree_v2", 0x1000)
		r.call("cuMemFree_v2", uintptr(0x1000+16*i))
	}
	if v := r.Violations(); len(v) != 1000 {
		t.Errorf("%d sentences", len(v))
	}
	r.release()
}

// A child process configured by its environment writes what it notes to a file.
func TestReportFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	t.Setenv("STANDIN_REPORT", file)
	r := newRaw(t)
	r.memory(2, 64)
	r.bad(1, "is no device memory", "cuMemFree_v2", 0x1000)
	r.release()
	r.leaked("device memory #1")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "violation: cuMemFree_v2: 0x1000 is no device memory\nleak: device memory #1 of 64 bytes was not freed\n"
	if string(content) != want {
		t.Errorf("the report is %q, want %q", content, want)
	}
}

// The cleanup of Build finds what nobody read.
func TestBuildFailsTheTest(t *testing.T) {
	probe := &recorder{TB: t}
	l := Build(probe)
	r := &raw{Library: l, t: t, out: new([16]uint64)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.good("cuInit", 0)
	r.good("cuDeviceGet", r.to(0), 0)
	r.good("cuDevicePrimaryCtxRetain", r.to(1), r.device())
	r.good("cuCtxSetCurrent", r.at(1))
	r.memory(2, 64)
	r.call("cuMemFree_v2", 0x1000)
	for _, f := range slices.Backward(probe.cleanups) {
		f()
	}
	said := strings.Join(probe.errors, "\n")
	for _, want := range []string{"cuMemFree_v2: 0x1000 is no device memory", "leak: device memory #1", "still retained"} {
		if !strings.Contains(said, want) {
			t.Errorf("the test's end does not say %q: %s", want, said)
		}
	}
}

// recorder keeps what a test would be failed for.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
