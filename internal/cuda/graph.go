package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// Graph is work that was captured from a stream and is started as a whole, for the price of about one launch.
type Graph struct {
	*handle
	nodes int
	held  *held // what it writes to of the pool's memory
}

// Capture collects what record puts into the stream, instead of running it, and makes a graph of it. record may launch,
// copy (no pageable memory), fill, and fork into other streams by events that it joins again; it must not synchronise or
// take memory from the driver. Memory that the graph uses must stay where it is as long as the graph is used. record
// runs on the goroutine that calls Capture. When it fails, or the capture does, the stream is as it was before.
func (s *Stream) Capture(record func() error) (*Graph, error) {
	runtime.LockOSThread() // a capture ends on the thread on which it began
	defer runtime.UnlockOSThread()
	if err := s.beginCapture(); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	returned := false
	defer func() {
		if !returned { // record panicked, and the panic says more than what comes after it
			_ = s.abandonCapture()
		}
	}()
	err := record()
	returned = true
	if err != nil {
		return nil, Join(fmt.Errorf("capture: %w", err), s.abandonCapture())
	}
	graph, memory, err := s.endCapture()
	if err != nil {
		return nil, Join(fmt.Errorf("capture: %w", err), s.d.dropGraph(graph), s.d.releaseHeld(memory))
	}
	g, err := s.d.instantiate(graph)
	if err != nil {
		return nil, Join(err, s.d.releaseHeld(memory))
	}
	g.held = memory
	return g, nil
}

// abandonCapture ends a capture that failed, so that the stream can be used again, and drops what was captured.
func (s *Stream) abandonCapture() error {
	graph, memory, err := s.endCapture()
	const invalidated = 901
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == invalidated {
		err = nil // that the capture is broken was said by what broke it
	}
	return Join(err, s.d.dropGraph(graph), s.d.releaseHeld(memory))
}

func (s *Stream) beginCapture() error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if !s.capturing.CompareAndSwap(false, true) {
		return errCapturing
	}
	s.d.captures.Add(1)
	if err := s.d.pool.beginCapture(s); err != nil {
		s.captured()
		return err
	}
	const threadLocal = 1 // calls that do not suit a capture are refused to this thread only
	if err := s.d.check(s.d.sym().streamBeginCapture, s.d.sym().streamBeginCapture.call(stream, threadLocal, 0, 0, 0)); err != nil {
		s.d.pool.endCapture(s)
		s.captured()
		return err
	}
	return nil
}

var errCapturing = errors.New("a stream is being captured; end its capture first")

// captured marks the stream as one that is not being captured any more.
func (s *Stream) captured() {
	s.d.captures.Add(-1)
	s.capturing.Store(false)
}

func (s *Stream) endCapture() (graph uintptr, memory *held, err error) {
	defer s.captured()
	stream, leave, err := s.enter()
	if err != nil {
		return 0, s.d.pool.endCapture(s), err
	}
	defer leave()
	p := new(uintptr)
	err = s.d.check(s.d.sym().streamEndCapture, s.d.sym().streamEndCapture.Call(stream, uintptr(unsafe.Pointer(p))))
	return *p, s.d.pool.endCapture(s), err
}

// dropGraph gives the description of a graph back.
func (d *Device) dropGraph(graph uintptr) error {
	if graph == 0 {
		return nil
	}
	leave, err := d.enter()
	if err != nil {
		return err
	}
	defer leave()
	return d.freeBy(d.sym().graphDestroy)(graph)
}

// instantiate makes a description into something that can be started, and gives the description back.
func (d *Device) instantiate(graph uintptr) (*Graph, error) {
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	nodes, exec := new(uintptr), new(uintptr)
	err = d.check(d.sym().graphGetNodes, d.sym().graphGetNodes.Call(graph, 0, uintptr(unsafe.Pointer(nodes))))
	if err == nil {
		err = d.check(d.sym().graphInstantiate, d.sym().graphInstantiate.Call(uintptr(unsafe.Pointer(exec)), graph, 0))
	}
	free := d.freeBy(d.sym().graphExecDestroy)
	if dropped := d.freeBy(d.sym().graphDestroy)(graph); dropped != nil {
		if *exec != 0 {
			dropped = Join(dropped, free(*exec))
		}
		err = Join(err, dropped)
	}
	if err != nil {
		return nil, fmt.Errorf("make a graph of the capture: %w", err)
	}
	return &Graph{handle: d.own(kindGraph, *exec, free), nodes: int(*nodes)}, nil
}

// Launch starts the whole graph behind the stream's earlier work. It allocates nothing.
func (g *Graph) Launch(s *Stream) error {
	exec, leave, err := g.enter()
	if err != nil {
		return err
	}
	defer leave()
	stream, err := s.of(g.d)
	if err != nil {
		return err
	}
	return g.d.check(g.d.sym().graphLaunch, g.d.sym().graphLaunch.call(exec, stream, 0, 0, 0))
}

// Nodes returns the number of captured pieces of work.
func (g *Graph) Nodes() (int, error) {
	if g.value.Load() == 0 {
		return 0, g.errClosed()
	}
	return g.nodes, nil
}

// Close gives the graph back. It waits for the device where the graph has memory of the pool, which may be used again
// then; else the graph must not be running. A second Close does nothing. It waits for calls too, as Close of all that a Device
// has does.
func (g *Graph) Close() error { return Join(g.close(), g.d.releaseHeld(g.held)) }
