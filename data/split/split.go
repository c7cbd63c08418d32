// Package split decides which records are for training and which are kept for tests, as a function of their place in the
// raw input and of a seed, before equal records are removed.
//
// Carve marks the sources that are out of distribution because somebody named them; Plan chooses one where nobody did,
// and divides the other sources into blocks of consecutive records of which some are for validation and for the
// in-distribution test. Blocks, not records, because neighbours in a log share sessions, hosts and times: a random record
// for the test would stand between its neighbours in training.
//
// Removing equal records afterwards (package dedup) makes the splits disjoint as sets of texts.
package split

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/secencoder/secencoder/data"
)

const (
	// blockRecords is the size of a block in sources of wholeBlocks records or more; smaller ones have smallBlocks.
	blockRecords = 256
	smallBlocks  = 40
	wholeBlocks  = blockRecords * smallBlocks

	// Shares of a source in thousandths: the in-distribution test set and, next to it, the validation set.
	idtsShare  = 20
	validShare = 5

	// Each of the two has at least this many records, or leastShare thousandths of all that are not held out.
	leastRecords = 2000
	leastShare   = 50

	// A source is held out automatically where there are fewSources of them: one of at most oddShare thousandths of the
	// bytes, then each with which all together stay under oddMore.
	fewSources = 4
	oddShare   = 200
	oddMore    = 50
)

// Source is what Plan has to know about a source.
type Source struct {
	Name  string
	ODTS  bool  // named by the user as out of distribution
	Bytes int64 // of its records' text
	Files []File
}

// File is one file of a source.
type File struct {
	Rel     string // path below its --in, with slashes
	Records int64
}

func (s *Source) records() int64 {
	var n int64
	for _, f := range s.Files {
		n += f.Records
	}
	return n
}

// Carve names the sources that are out of distribution. A name is a source, or a path below an --in or a glob over such
// paths (data.CompileGlob, from the top), which then is a source of its own, with the name as it was given. files are
// changed and sorted anew; the returned set holds the sources' names. A name that fits nothing is an error that lists
// the sources that there are.
func Carve(files []data.File, names []string) (map[string]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	sources := map[string]bool{}
	for _, f := range files {
		sources[f.Source] = true
	}
	odts := map[string]bool{}
	for _, name := range names {
		if sources[strings.TrimSuffix(name, "/")] {
			odts[strings.TrimSuffix(name, "/")] = true
			continue
		}
		g, err := data.CompileGlob(name, true)
		if err != nil {
			return nil, err
		}
		found := false
		for i := range files {
			if g.Match(files[i].Rel) {
				files[i].Source = strings.Trim(name, "/")
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("no source and no path %q in the input; the sources are %s", name, listSources(sources))
		}
		odts[strings.Trim(name, "/")] = true
	}
	data.SortFiles(files)
	return odts, nil
}

// listSources writes some names of sources.
func listSources(sources map[string]bool) string {
	var names []string
	for s := range sources {
		names = append(names, s)
	}
	slices.Sort(names)
	const shown = 20
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

// Labels holds the split of every record. It may be read concurrently.
type Labels struct {
	sources []labelled
}

type labelled struct {
	odts  bool
	block int64          // records of a block
	files [][]data.Split // per block; nil where all is ODTS
}

// block is one block of consecutive records in one file.
type block struct {
	hash                uint64
	source, file, index int
	records             int64
}

func (b block) compare(o block) int {
	return cmp.Or(cmp.Compare(b.hash, o.hash), cmp.Compare(b.source, o.source), cmp.Compare(b.file, o.file), cmp.Compare(b.index, o.index))
}

// Plan labels all records of sources. The result depends on the seed, the names of sources and files, the numbers of
// records and, where a source is held out automatically, the bytes; not on the order of sources, but for sources of one
// name.
//
// Blocks are ordered by a hash of (seed, source, file, block). Of each source that is not held out, the lowest 2 % of the
// records are IDTS and the next 0.5 % valid; a block belongs where its middle record falls. While either set holds fewer
// than 2,000 records, or than 5 % of all records that are not held out, rounded down, it gets the lowest remaining block
// of all; IDTS first where both lack and hold the same.
func Plan(sources []Source, seed uint64) *Labels {
	held := hold(sources, seed)
	l := &Labels{sources: make([]labelled, len(sources))}
	var rest []block
	var all int64
	have := map[data.Split]int64{}
	for i := range sources {
		s := &sources[i]
		if held[i] {
			l.sources[i].odts = true
			continue
		}
		total := s.records()
		all += total
		size := int64(blockRecords)
		if total < wholeBlocks {
			size = max(1, total/smallBlocks)
		}
		l.sources[i].block = size
		l.sources[i].files = make([][]data.Split, len(s.Files))
		blocks := cut(s, i, size, seed)
		for k := range s.Files {
			l.sources[i].files[k] = slices.Repeat([]data.Split{data.Train}, int((s.Files[k].Records+size-1)/size))
		}
		var before int64
		for _, b := range blocks {
			// The middle of the block against the share, all times 2,000.
			middle := (2*before + b.records) * 1000
			before += b.records
			switch {
			case middle < 2*total*idtsShare:
				l.set(b, data.IDTS, have)
			case middle < 2*total*(idtsShare+validShare):
				l.set(b, data.Valid, have)
			default:
				rest = append(rest, b)
			}
		}
	}
	least := min(leastRecords, all*leastShare/1000)
	slices.SortFunc(rest, block.compare)
	for _, b := range rest {
		idts, valid := have[data.IDTS], have[data.Valid]
		switch {
		case idts < least && idts <= valid, idts < least && valid >= least:
			l.set(b, data.IDTS, have)
		case valid < least:
			l.set(b, data.Valid, have)
		default:
			return l
		}
	}
	return l
}

func (l *Labels) set(b block, s data.Split, have map[data.Split]int64) {
	l.sources[b.source].files[b.file][b.index] = s
	have[s] += b.records
}

// cut divides a source into blocks, in the order of their hashes.
func cut(s *Source, index int, size int64, seed uint64) []block {
	var blocks []block
	for k, f := range s.Files {
		for b := int64(0); b*size < f.Records; b++ {
			blocks = append(blocks, block{
				hash: hash(seed, s.Name, f.Rel, uint64(b)), source: index, file: k, index: int(b),
				records: min(size, f.Records-b*size),
			})
		}
	}
	slices.SortFunc(blocks, block.compare)
	return blocks
}

// hold says which sources are ODTS: those that were named or, if none was, those that are chosen.
func hold(sources []Source, seed uint64) []bool {
	held := make([]bool, len(sources))
	var order []int
	var all int64
	for i, s := range sources {
		if s.ODTS {
			for k := range sources {
				held[k] = sources[k].ODTS
			}
			return held
		}
		if s.records() > 0 {
			order = append(order, i)
			all += s.Bytes
		}
	}
	if len(order) < fewSources {
		return held
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(hash(seed, sources[a].Name, "", 0), hash(seed, sources[b].Name, "", 0)), strings.Compare(sources[a].Name, sources[b].Name))
	})
	var sum int64
	for n, i := range order {
		if 1000*sources[i].Bytes > oddShare*all {
			continue
		}
		held[i] = true
		sum = sources[i].Bytes
		for _, k := range order[n+1:] {
			if 1000*(sum+sources[k].Bytes) < oddMore*all {
				held[k] = true
				sum += sources[k].Bytes
			}
		}
		break
	}
	return held
}

// hash mixes a place. No path is empty, so a source's own hash, with "", is none of its blocks'.
func hash(seed uint64, source, file string, block uint64) uint64 {
	b := make([]byte, 0, 128)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(source)))
	b = append(b, source...)
	b = append(b, file...)
	b = binary.LittleEndian.AppendUint64(b, block)
	return xxh3.HashSeed(b, seed)
}

// ODTS tells whether a source, by its index in what Plan was given, is held out whole.
func (l *Labels) ODTS(source int) bool { return l.sources[source].odts }

// Label returns the split of the record'th record, from 0, of a file, both by their indices in what Plan was given.
func (l *Labels) Label(source, file int, record int64) data.Split {
	s := &l.sources[source]
	if s.odts {
		return data.ODTS
	}
	return s.files[file][record/s.block]
}
