package cuda

import (
	"errors"
	"unsafe"
)

// Ptr is an address in device memory. 0 is none.
type Ptr uintptr

// CopyToDevice copies src into device memory behind the stream's earlier work. With memory of a Host it returns at once,
// and src must stay as it is until the stream is synchronised. Any other memory (a Go slice) is pageable: the driver
// copies it through memory of its own, and CopyToDevice returns when the stream has done it, so the slice is free again.
// Pageable memory cannot be captured into a graph.
func (s *Stream) CopyToDevice(dst Ptr, src []byte) error {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(src)))
	return s.copyHost(s.d.sym().memcpyHtoD, at, uintptr(dst), uintptr(unsafe.Pointer(unsafe.SliceData(src))), len(src))
}

// CopyToHost copies device memory into dst behind the stream's earlier work. With memory of a Host it returns at once,
// and dst is filled when the stream is synchronised; with any other memory it returns when dst is filled. Pageable
// memory cannot be captured into a graph.
func (s *Stream) CopyToHost(dst []byte, src Ptr) error {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(dst)))
	return s.copyHost(s.d.sym().memcpyDtoH, at, uintptr(unsafe.Pointer(unsafe.SliceData(dst))), uintptr(src), len(dst))
}

// copyHost copies between host and device; host is the address on the host's side. Whether the driver is done with
// pageable memory when its call returns depends on the system (one on which the GPU reads pageable memory itself does
// not wait), so we wait.
//
//go:uintptrescapes
func (s *Stream) copyHost(f Symbol, host, dst, src uintptr, bytes int) error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if bytes == 0 {
		return nil
	}
	if dst == 0 || src == 0 {
		return errNilPtr
	}
	pinned := s.d.pinned(host, bytes)
	if !pinned && s.capturing.Load() {
		return errPageable
	}
	if err := s.d.check(f, f.call(dst, src, uintptr(bytes), stream, 0)); err != nil {
		return err
	}
	if pinned {
		return nil
	}
	return s.d.check(s.d.sym().streamSynchronize, s.d.sym().streamSynchronize.call(stream, 0, 0, 0, 0))
}

var (
	errNilPtr   = errors.New("device address 0 was used for a copy or fill: the memory was not taken, or was given back")
	errPageable = errors.New("a copy of pageable host memory cannot be captured into a graph; use memory of NewHost")
)

// Copy copies within device memory behind the stream's earlier work. The ranges must not overlap.
func (s *Stream) Copy(dst, src Ptr, bytes int) error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if bytes == 0 {
		return nil
	}
	if dst == 0 || src == 0 {
		return errNilPtr
	}
	f := s.d.sym().memcpyDtoD
	return s.d.check(f, f.call(uintptr(dst), uintptr(src), uintptr(bytes), stream, 0))
}

// Fill sets bytes of device memory behind the stream's earlier work.
func (s *Stream) Fill(dst Ptr, value byte, bytes int) error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if bytes == 0 {
		return nil
	}
	if dst == 0 {
		return errNilPtr
	}
	f := s.d.sym().memsetD8
	return s.d.check(f, f.call(uintptr(dst), uintptr(value), uintptr(bytes), stream, 0))
}
