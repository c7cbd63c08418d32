package build

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"sort"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/split"
)

// chosen says how many records stay in each split. Which they are is in intake.distinct.
type chosen struct {
	kept [data.NumSplits]int64
}

// choose labels every record by its place and decides which of equal records stay.
func (in *intake) choose(ctx context.Context, odts map[string]bool, seed uint64) (*chosen, error) {
	sources := make([]split.Source, len(in.sources))
	place := uint64(0)
	for i := range in.sources {
		s := &in.sources[i]
		s.first = place
		place += uint64(s.Records)
		sources[i] = split.Source{Name: s.Name, ODTS: odts[s.Name], Bytes: s.Bytes}
		for _, f := range in.files[s.firstFile:s.endFile] {
			sources[i].Files = append(sources[i].Files, split.File{Rel: f.Rel, Records: f.records})
		}
	}
	labels := split.Plan(sources, seed)
	for i := range in.sources {
		in.sources[i].ODTS = labels.ODTS(i) && in.sources[i].Records > 0
	}
	if err := in.walk(ctx, labels, func(_ *sourceState, number uint32, s data.Split, place uint64) {
		in.distinct.Choose(number, s, place)
	}); err != nil {
		return nil, err
	}
	c := &chosen{}
	err := in.walk(ctx, labels, func(src *sourceState, number uint32, s data.Split, place uint64) {
		stays, at := in.distinct.Chosen(number)
		if at == place {
			c.kept[stays]++
			return
		}
		src.Duplicates++
		if stays != s {
			src.Moved++
		}
	})
	return c, err
}

// walk calls f with every record in order: the number of its text, the split of its place, and its place.
func (in *intake) walk(ctx context.Context, labels *split.Labels, f func(src *sourceState, number uint32, s data.Split, place uint64)) error {
	if _, err := in.numbers.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(in.numbers, 1<<18)
	var b [4]byte
	place := uint64(0)
	for i := range in.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		file := &in.files[i]
		src := &in.sources[file.source]
		for k := range file.records {
			if _, err := io.ReadFull(r, b[:]); err != nil {
				return err
			}
			f(src, binary.LittleEndian.Uint32(b[:]), labels.Label(file.source, i-src.firstFile, k), place)
			place++
		}
	}
	return nil
}

// origin returns the source of the record at a place, and its number in it.
func (in *intake) origin(place uint64) (source int, record uint32) {
	i := sort.Search(len(in.sources), func(i int) bool { return in.sources[i].first > place }) - 1
	return i, uint32(place - in.sources[i].first)
}
