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
	failed := errors.New("capture: record did not return")
	ended := false
	defer func() {
		if !ended { // record panicked; give the stream back, let the panic pass
			if graph, err := s.endCapture(); err == nil {
				s.d.dropGraph(graph)
			}
		}
	}()
	failed = record()
	ended = true
	graph, err := s.endCapture()
	if failed != nil {
		if err == nil {
			err = s.d.dropGraph(graph)
		} else {
			err = nil // the end of a capture that was broken says only that it was broken
		}
		return nil, errors.Join(fmt.Errorf("capture: %w", failed), err)
	}
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return s.d.instantiate(graph)
}

func (s *Stream) beginCapture() error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if !s.capturing.CompareAndSwap(false, true) {
		return errors.New("the stream is being captured already")
	}
	const threadLocal = 1 // calls that do not suit a capture are refused to this thread only
	if err := s.d.check(s.d.sym().streamBeginCapture, s.d.sym().streamBeginCapture.call(stream, threadLocal, 0, 0, 0)); err != nil {
		s.capturing.Store(false)
		return err
	}
	return nil
}

func (s *Stream) endCapture() (graph uintptr, err error) {
	defer s.capturing.Store(false)
	stream, leave, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	p := new(uintptr)
	err = s.d.check(s.d.sym().streamEndCapture, s.d.sym().streamEndCapture.Call(stream, uintptr(unsafe.Pointer(p))))
	return *p, err
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
	dropped := d.freeBy(d.sym().graphDestroy)(graph)
	if err != nil {
		return nil, fmt.Errorf("make a graph of the capture: %w", errors.Join(err, dropped))
	}
	g := &Graph{handle: d.own(kindGraph, *exec, d.freeBy(d.sym().graphExecDestroy)), nodes: int(*nodes)}
	if dropped != nil {
		return nil, errors.Join(dropped, d.freeBy(d.sym().graphExecDestroy)(g.value.Swap(0)))
	}
	return g, nil
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

// Close gives the graph back; it must not be running. A second Close does nothing.
func (g *Graph) Close() error { return g.close() }
