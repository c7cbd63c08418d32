package model

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"

	"github.com/secencoder/secencoder/internal/bf16"
)

// Bounds of a safetensors header. The library itself allows 100 MB; the largest preset needs 60 kB.
const (
	maxHeaderBytes = 16 << 20
	maxFileTensors = 1 << 17
	maxRank        = 16
)

// fileTensor is one entry of a safetensors header.
type fileTensor struct {
	name  string
	dtype string
	shape []int
	begin int64 // from the start of the file
	end   int64
}

func (t fileTensor) elements() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// safetensors is an open file. Reads may run concurrently.
type safetensors struct {
	path    string
	file    *os.File
	tensors []fileTensor // by offset
	byName  map[string]int
	meta    map[string]string
}

// openSafetensors opens a file and reads its header. Every size is checked against the file's before anything is
// allocated by it. Errors name the file, and the tensor where there is one.
func openSafetensors(path string) (*safetensors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := readHeader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.path, s.file = path, f
	return s, nil
}

func (s *safetensors) Close() error { return s.file.Close() }

func readHeader(f *os.File) (*safetensors, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	var size [8]byte
	if _, err := io.ReadFull(f, size[:]); err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n > maxHeaderBytes || int64(n) > info.Size()-8 {
		return nil, fmt.Errorf("safetensors header: %d bytes, want at most %d (the file has %d bytes)", n, min(maxHeaderBytes, max(0, info.Size()-8)), info.Size())
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(f, header); err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	s, err := parseHeader(header, info.Size()-8-int64(n))
	if err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	for i := range s.tensors {
		s.tensors[i].begin += 8 + int64(n)
		s.tensors[i].end += 8 + int64(n)
	}
	return s, nil
}

// parseHeader reads the JSON of a header whose data part has dataBytes bytes. It demands what the format demands: no
// name twice, sizes that fit shape and dtype, tensors that cover the data part without gap or overlap.
//
// Source: safetensors 0.8.0, format description and SafeTensors::deserialize.
func parseHeader(header []byte, dataBytes int64) (*safetensors, error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("want a JSON object, got %v (%w)", t, errOr(err))
	}
	s := &safetensors{byName: map[string]int{}}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("want a name, got %v", t)
		}
		if name == "__metadata__" {
			if s.meta != nil {
				return nil, errors.New("__metadata__ stands twice")
			}
			if err := dec.Decode(&s.meta); err != nil {
				return nil, fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		var e struct {
			DType   string  `json:"dtype"`
			Shape   []int   `json:"shape"`
			Offsets []int64 `json:"data_offsets"`
		}
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if _, twice := s.byName[name]; twice {
			return nil, fmt.Errorf("tensor %q stands twice", name)
		}
		if len(s.tensors) == maxFileTensors {
			return nil, fmt.Errorf("more than %d tensors", maxFileTensors)
		}
		ft := fileTensor{name: name, dtype: e.DType, shape: e.Shape}
		want, err := tensorBytes(e.DType, e.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > dataBytes {
			return nil, fmt.Errorf("tensor %q: data_offsets are %v in %d bytes of data", name, e.Offsets, dataBytes)
		}
		ft.begin, ft.end = e.Offsets[0], e.Offsets[1]
		if ft.end-ft.begin != want {
			return nil, fmt.Errorf("tensor %q: %s %v needs %d bytes, the file gives %d", name, e.DType, e.Shape, want, ft.end-ft.begin)
		}
		s.byName[name] = len(s.tensors)
		s.tensors = append(s.tensors, ft)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if rest := header[dec.InputOffset():]; len(bytes.Trim(rest, " \t\r\n")) > 0 {
		return nil, fmt.Errorf("%d bytes behind the JSON object", len(rest))
	}
	slices.SortStableFunc(s.tensors, func(a, b fileTensor) int {
		if a.begin != b.begin {
			return compare(a.begin, b.begin)
		}
		return compare(a.end, b.end)
	})
	var at int64
	for i, t := range s.tensors {
		if t.begin != at {
			return nil, fmt.Errorf("tensor %q begins at %d, want %d: a gap or an overlap", t.name, t.begin, at)
		}
		at = t.end
		s.byName[t.name] = i
	}
	if at != dataBytes {
		return nil, fmt.Errorf("the tensors have %d bytes, the file holds %d", at, dataBytes)
	}
	return s, nil
}

func compare(a, b int64) int {
	if a < b {
		return -1
	}
	return 1
}

// errOr gives %w something to wrap.
func errOr(err error) error {
	if err == nil {
		return errors.New("not an object")
	}
	return err
}

var dtypeBytes = map[string]uint64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}

func tensorBytes(dtype string, shape []int) (int64, error) {
	n, ok := dtypeBytes[dtype]
	if !ok {
		return 0, fmt.Errorf("dtype %q is not known", dtype)
	}
	if shape == nil {
		return 0, errors.New("no shape")
	}
	if len(shape) > maxRank {
		return 0, fmt.Errorf("rank %d, want at most %d", len(shape), maxRank)
	}
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative size", shape)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		n = lo
	}
	return int64(n), nil
}

// floats reads a tensor as float32 into dst, whose length is the number of elements; F32, F16 and BF16 are read, each
// exactly. Other dtypes are an error.
func (s *safetensors) floats(t fileTensor, dst []float32) error {
	if len(dst) != t.elements() {
		panic("internal error: destination of " + t.name + " has a wrong length")
	}
	var convert func(dst []float32, src []byte)
	switch t.dtype {
	case "F32":
		convert = func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
			}
		}
	case "BF16":
		convert = func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = bf16.BF16(binary.LittleEndian.Uint16(src[2*i:])).Float32()
			}
		}
	case "F16":
		convert = func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
			}
		}
	default:
		return fmt.Errorf("%s: tensor %q: dtype is %s, want F32, F16 or BF16", s.path, t.name, t.dtype)
	}
	width := int(dtypeBytes[t.dtype])
	r := io.NewSectionReader(s.file, t.begin, t.end-t.begin)
	chunk := make([]byte, min(1<<20, width*max(1, len(dst))))
	for len(dst) > 0 {
		n := min(len(dst), len(chunk)/width)
		if _, err := io.ReadFull(r, chunk[:n*width]); err != nil {
			return fmt.Errorf("%s: tensor %q: %w", s.path, t.name, err)
		}
		convert(dst[:n], chunk)
		dst = dst[n:]
	}
	return nil
}

// halfToFloat widens an IEEE binary16, exactly; NaN stays NaN.
func halfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch {
	case exp == 0x1f: // infinity, NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0: // zero, subnormal: frac · 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// NamedTensor is a float32 tensor to be written; Data is row-major and is not kept.
type NamedTensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// WriteSafetensors writes tensors as float32 in the order given, without gaps, with the metadata {"format":"pt"} and
// nothing else: equal tensors give equal bytes. The header is padded with spaces to a multiple of 64 bytes, so that a
// mapped file is aligned. A name that stands twice, or data that does not fit its shape, is an error.
func WriteSafetensors(w io.Writer, tensors []NamedTensor) error {
	var h bytes.Buffer
	h.WriteString(`{"__metadata__":{"format":"pt"}`)
	seen := map[string]bool{"__metadata__": true}
	at := 0
	for _, t := range tensors {
		want, err := tensorBytes("F32", append([]int{}, t.Shape...))
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if int64(4*len(t.Data)) != want || seen[t.Name] {
			return fmt.Errorf("tensor %q: %d values for shape %v, or a name that stands twice", t.Name, len(t.Data), t.Shape)
		}
		seen[t.Name] = true
		name, err := json.Marshal(t.Name)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		shape, err := json.Marshal(append([]int{}, t.Shape...))
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		fmt.Fprintf(&h, `,%s:{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, name, shape, at, at+4*len(t.Data))
		at += 4 * len(t.Data)
	}
	h.WriteByte('}')
	for (8+h.Len())%64 != 0 {
		h.WriteByte(' ')
	}
	if h.Len() > maxHeaderBytes {
		return fmt.Errorf("safetensors header: %d bytes, want at most %d", h.Len(), maxHeaderBytes)
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(h.Len()))); err != nil {
		return err
	}
	if _, err := w.Write(h.Bytes()); err != nil {
		return err
	}
	chunk := make([]byte, 0, 1<<18)
	for _, t := range tensors {
		for data := t.Data; len(data) > 0; {
			n := min(len(data), cap(chunk)/4)
			chunk = chunk[:4*n]
			for i, x := range data[:n] {
				binary.LittleEndian.PutUint32(chunk[4*i:], math.Float32bits(x))
			}
			if _, err := w.Write(chunk); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}
