// Package standin builds a stand-in for NVIDIA's libraries, so that internal/cuda and what stands on it run on a machine
// without a GPU. It is for tests only.
//
// The stand-in is a shared library of C (the .c files here, compiled by Build where a C compiler is): the functions of
// libcuda that internal/cuda calls, with the real ones' arguments and codes. Device memory is host memory in an address
// range of its own. Every call is checked: its arguments, that the thread has the right context, that handles and memory
// are living ones, that no copy or kernel leaves its allocation, that captures are well formed. A broken rule is noted
// as a sentence (Violations) and answered with the code of the real driver; what a released context still held is a
// leak (Leaks). Build's cleanup fails the test for both.
//
// Kernels run on the CPU: those of this project through libshim.so where it lies beside the library (package
// internal/cuda/kernels/shim), a few toys (PTX) by themselves, others are checked and counted only.
//
// Begin with Build. Fail makes a call fail, Lose kills the device in mid-run, Set chooses memory size, driver version,
// when queued work runs, and more. In C begin with standin.h.
//
// What it does not do: tell how fast anything is, run PTX, or know rules that the documentation of the real driver does
// not state.
package standin

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// Library is one stand-in: a folder with the libraries and the state of the copy that this process has loaded.
type Library struct {
	folder string
	handle uintptr
	keep   bool
	t      testing.TB
}

// Build compiles the stand-in (once per content of its sources; later calls take the file from the user's cache) and
// loads a copy of its own for this test: state, faults and counts are not shared with other tests. It skips the test,
// saying why, where there is no C compiler or no way to open libraries. At the end of the test violations and leaks that
// nobody has read fail it.
func Build(t testing.TB) *Library {
	t.Helper()
	if unavailable != "" {
		t.Skip("no stand-in for libcuda: " + unavailable)
	}
	built := Compile(t, sources(t))
	folder := t.TempDir()
	copyFile(t, built, filepath.Join(folder, "libcuda.so.1"))
	return open(t, folder)
}

// open loads the copy in the folder for a test.
func open(t testing.TB, folder string) *Library {
	t.Helper()
	lt := filepath.Join(folder, "libcublasLt.so.12")
	if err := os.Symlink("libcuda.so.1", lt); err != nil { // one file holds both
		t.Fatal(err)
	}
	l, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	l.t = t
	t.Cleanup(l.check)
	return l
}

// Open loads the stand-in that lies in the folder: for a second process on the stand-in of a first. Memory in use is
// shared between the processes, everything else is each one's own.
func Open(folder string) (*Library, error) {
	handle, err := dlopen(filepath.Join(folder, "libcuda.so.1"))
	if err != nil {
		return nil, err
	}
	return &Library{folder: folder, handle: handle}, nil
}

func (l *Library) check() {
	if l.keep {
		return
	}
	for _, v := range l.Violations() {
		l.t.Errorf("stand-in: %s", v)
	}
	for _, v := range l.Leaks() {
		l.t.Errorf("stand-in: leak: %s", v)
	}
	l.call("standin_forget")
}

// KeepOpen leaves out the check at the end of the test: for a library that several tests share.
func (l *Library) KeepOpen() { l.keep = true }

// Path returns the folder that holds libcuda.so.1 and libcublasLt.so.12.
func (l *Library) Path() string { return l.folder }

// call calls a function of the control surface.
func (l *Library) call(name string, args ...uintptr) uintptr {
	address, err := dlsym(l.handle, name)
	if err != nil {
		panic("internal error: the stand-in has no " + name + ": " + err.Error())
	}
	return syscallN(address, args...)
}

// text is a string for C, alive as long as the slice.
func text(s string) []byte { return append([]byte(s), 0) }

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// ask calls a function that writes text and returns how long it is.
func (l *Library) ask(name string, more ...uintptr) string {
	for room := 1 << 16; ; {
		out := make([]byte, room)
		n := int(l.call(name, append([]uintptr{address(out), uintptr(room)}, more...)...))
		runtime.KeepAlive(out)
		if n <= room {
			return string(out[:n])
		}
		room = n
	}
}

func lines(s string) []string {
	if s = strings.TrimSuffix(s, "\n"); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// Fail makes the nth call of the function from now on return the code (1 is the next one, 0 all of them). A call that
// gives something back (free, destroy, unload, release) does so all the same, as the real driver does when it hands over
// the error of an earlier launch. After a code that is an error of the device (700, 719, …) the context is dead: all its
// calls return that code.
func (l *Library) Fail(call string, nth, code int) {
	name := text(call)
	l.call("standin_fail", address(name), uintptr(nth), uintptr(code))
	runtime.KeepAlive(name)
}

// Lose kills the contexts that live now: all their calls return the code from here on.
func (l *Library) Lose(code int) { l.call("standin_lose", uintptr(code)) }

// Settings of a stand-in, for Set.
const (
	Devices         = "devices"         // number of devices, up to 8
	Driver          = "driver"          // version of the driver, 12040 for 12.4
	Memory          = "memory"          // bytes of each device; all processes on it share them
	Major           = "major"           // compute capability
	Minor           = "minor"           //
	Multiprocessors = "multiprocessors" //
	L2              = "l2"              // bytes
	Shared          = "shared"          // bytes of shared memory of a block
	OptIn           = "optin"           // and how many a function may ask for
	Delay           = "delay"           // when queued work runs: Immediately, Late, AtRandom
	Seed            = "seed"            // of AtRandom
	Null            = "null"            // 1: launches are counted and nothing else
	Exclusive       = "exclusive"       // 1: a second process gets no context
	ATS             = "ats"             // 1: copies of pageable memory wait for their stream, as where the GPU reads it itself
	Hide            = "hide"            // 0: the program too can touch device memory; else it dies there, as with a GPU
	Strict          = "strict"          // 0: what is allowed but suspicious is no violation
	CublasLt        = "cublaslt"        // version of cublasLt, 120405 for 12.4.5
	Workspace       = "workspace"       // bytes that the first algorithm found for a product wants at least
	AnyBias         = "anybias"         // 0: no algorithm with a bias for one row or column, nor for a bias off a boundary of 16 bytes
)

// When queued work runs. The real driver may do any of these.
const (
	Immediately = 0 // with the call that queues it
	Late        = 1 // when somebody waits for it, and no more of it than he waits for
	AtRandom    = 2 // in between
)

// Set changes a setting. It panics when there is none of that name.
func (l *Library) Set(key string, value int) {
	name := text(key)
	if l.call("standin_set", address(name), uintptr(value)) != 0 {
		panic("the stand-in has no setting " + key)
	}
	runtime.KeepAlive(name)
}

// Violations returns and forgets the rules that were broken since the last call, one sentence each. It also looks for
// writes around living memory.
func (l *Library) Violations() []string { return lines(l.ask("standin_violations", 1)) }

// Leaks returns what contexts still held when they were released (and forgets that), and what is living now.
func (l *Library) Leaks() []string { return lines(l.ask("standin_leaks", 1)) }

// Calls returns how often each function was called since the last Reset.
func (l *Library) Calls() map[string]int {
	counts := map[string]int{}
	for _, line := range lines(l.ask("standin_calls")) {
		name, count, _ := strings.Cut(line, " ")
		counts[name], _ = strconv.Atoi(count)
	}
	return counts
}

// Reset brings everything back to the beginning, but for cuInit: contexts and what they hold are gone, faults, settings,
// counts and reports forgotten.
func (l *Library) Reset() { l.call("standin_reset") }

// Launches returns how many kernels were launched since the library was loaded.
func (l *Library) Launches() int { return int(l.call("standin_launches")) }

// Launch is what the driver got with a launch.
type Launch struct {
	Name        string
	Grid, Block [3]int
	Shared      int
	Table       uintptr  // address of the list of arguments
	Args        [][]byte // bytes of each argument
}

// LastLaunch returns the last launch.
func (l *Library) LastLaunch() (Launch, error) {
	words := strings.Fields(l.ask("standin_last"))
	if len(words) < 9 {
		return Launch{}, fmt.Errorf("the stand-in saw no launch")
	}
	launch := Launch{Name: words[0]}
	var number [8]int
	for i := range number {
		n, err := strconv.ParseUint(words[1+i], 10, 64)
		if err != nil {
			return Launch{}, err
		}
		number[i] = int(n)
	}
	copy(launch.Grid[:], number[0:3])
	copy(launch.Block[:], number[3:6])
	launch.Shared, launch.Table = number[6], uintptr(number[7])
	for _, word := range words[9:] {
		arg, err := hex.DecodeString(word)
		if err != nil {
			return Launch{}, err
		}
		launch.Args = append(launch.Args, arg)
	}
	return launch, nil
}

// Symbols returns the names of the driver's functions that the stand-in has, sorted.
func (l *Library) Symbols() ([]string, error) {
	names, err := dynamicSymbols(filepath.Join(l.folder, "libcuda.so.1"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Without returns another stand-in that lacks one function, as an older driver does.
func (l *Library) Without(symbol string) (*Library, error) {
	folder := l.t.TempDir()
	image, err := os.ReadFile(filepath.Join(l.folder, "libcuda.so.1"))
	if err != nil {
		return nil, err
	}
	if err := hideSymbol(image, symbol); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "libcuda.so.1"), image, 0o755); err != nil {
		return nil, err
	}
	return open(l.t, folder), nil
}
