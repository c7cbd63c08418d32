package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// events writes a TensorBoard event file: TFRecords of tensorflow.Event messages.
//
// Record: length u64 little-endian, masked CRC-32C of those 8 bytes, the message, masked CRC-32C of the message
// (tensorflow/core/lib/io/record_writer.cc). Message fields used (tensorflow/core/util/event.proto, summary.proto):
// Event.wall_time = 1 double, step = 2 varint, file_version = 3, summary = 5, session_log = 7; Summary.value = 1 with
// tag = 1, simple_value = 2 float; SessionLog.status = 1, START = 1. A START makes the reader drop what earlier files
// hold from that step on.
type events struct {
	f       *os.File
	now     func() time.Time
	message []byte
	record  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's: rotated and offset, so that a checksum of data with checksums in it stays strong.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// createEvents makes a new event file in dir. Its first event is the file version, the second a START at step purge:
// points of older files from there on are dropped.
func createEvents(dir string, purge int, now func() time.Time) (*events, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	host = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < ' ' {
			return '_'
		}
		return r
	}, host)
	// TensorBoard reads the files of a folder in the order of their names, which begin with the time: a later file must
	// get a later time, even when a run is resumed within the second or the clock was set back.
	seconds := now().Unix()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		var at int64
		if _, err := fmt.Sscanf(entry.Name(), "events.out.tfevents.%d.", &at); err == nil {
			seconds = max(seconds, at+1)
		}
	}
	for ; ; seconds++ {
		name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.0", seconds, host, os.Getpid())
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e := &events{f: f, now: now}
		if err := errors.Join(e.version(), e.start(purge)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return e, nil
	}
}

func (e *events) begin() {
	e.message = protowire.AppendTag(e.message[:0], 1, protowire.Fixed64Type)
	e.message = protowire.AppendFixed64(e.message, math.Float64bits(float64(e.now().UnixNano())/1e9))
}

func (e *events) step(step int) {
	e.message = protowire.AppendTag(e.message, 2, protowire.VarintType)
	e.message = protowire.AppendVarint(e.message, uint64(step))
}

func (e *events) version() error {
	e.begin()
	e.message = protowire.AppendTag(e.message, 3, protowire.BytesType)
	e.message = protowire.AppendString(e.message, "brain.Event:2")
	return e.write()
}

func (e *events) start(step int) error {
	e.begin()
	e.step(step)
	e.message = protowire.AppendTag(e.message, 7, protowire.BytesType)
	e.message = protowire.AppendBytes(e.message, []byte{1<<3 | byte(protowire.VarintType), 1})
	return e.write()
}

// scalar is one point of one curve.
type scalar struct {
	tag   string
	value float64
}

// add writes the points of a step as one event. Points that are NaN are left out: TensorBoard draws them as breaks
// anyway, and an empty event is not written.
func (e *events) add(step int, points ...scalar) error {
	var summary, value []byte
	for _, p := range points {
		if math.IsNaN(p.value) {
			continue
		}
		value = protowire.AppendTag(value[:0], 1, protowire.BytesType)
		value = protowire.AppendString(value, p.tag)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(p.value)))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	if len(summary) == 0 {
		return nil
	}
	e.begin()
	e.step(step)
	e.message = protowire.AppendTag(e.message, 5, protowire.BytesType)
	e.message = protowire.AppendBytes(e.message, summary)
	return e.write()
}

// write frames the message and writes the record at once.
func (e *events) write() error {
	b := binary.LittleEndian.AppendUint64(e.record[:0], uint64(len(e.message)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, e.message...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(e.message))
	e.record = b
	_, err := e.f.Write(b)
	return err
}

func (e *events) sync() error { return e.f.Sync() }

func (e *events) close() error { return errors.Join(e.f.Sync(), e.f.Close()) }
