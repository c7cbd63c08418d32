package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/secencoder/secencoder/data/batch"
)

// system numbers what is measured side by side.
type system int

const (
	ofModel system = iota
	ofUnigram
	ofLeft
	systems
)

// tally is what one document contributed: sums over its masked tokens.
type tally struct {
	source int
	masked int64
	bytes  int64 // of the masked tokens
	nats   [systems]float64
	hits   [systems]int64
}

// measurement is one set under one mask set, by document in the order read. Sums over it are float64.
type measurement struct {
	documents []tally
	baselines bool
}

// measure walks e to its end. tokenBytes holds the number of bytes of each id; base may be nil. progress, when not nil, is
// called after each micro-batch.
func measure(ctx context.Context, s Scorer, e *batch.Evaluation, tokenBytes []int32, base *baseline, progress func()) (*measurement, error) {
	e.Reset()
	r := &measurement{baselines: base != nil}
	last := -1 // document of the last tally
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := e.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		nll, hit, err := s.Score(ctx, m)
		if err != nil {
			return nil, err
		}
		if len(nll) != len(m.Labels) || len(hit) != len(m.Labels) {
			return nil, fmt.Errorf("the model scored %d and %d masked tokens, want %d", len(nll), len(hit), len(m.Labels))
		}
		for p, piece := range m.Pieces {
			if piece.Document != last {
				last = piece.Document
				r.documents = append(r.documents, tally{source: piece.Source})
			}
			t := &r.documents[len(r.documents)-1]
			for i := m.MaskedOffsets[p]; i < m.MaskedOffsets[p+1]; i++ {
				label := m.Labels[i]
				t.masked++
				t.bytes += int64(tokenBytes[label])
				t.nats[ofModel] += float64(nll[i])
				t.hits[ofModel] += int64(hit[i])
				if base == nil {
					continue
				}
				nats, first := base.unigram(label)
				t.nats[ofUnigram] += nats
				t.hits[ofUnigram] += one(first)
				nats, first = base.left(leftOf(m, int(i)), label)
				t.nats[ofLeft] += nats
				t.hits[ofLeft] += one(first)
			}
		}
		if progress != nil {
			progress()
		}
	}
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// leftOf returns the id of the nearest token to the left of masked position i that is not masked itself. There always is
// one: pieces begin with [CLS], which never is masked.
func leftOf(m *batch.Micro, i int) int32 {
	at := m.MaskedPositions[i] - 1
	for i--; i >= 0 && m.MaskedPositions[i] == at; i-- {
		at--
	}
	return m.IDs[at]
}

// ofSource returns the documents of one source.
func (r *measurement) ofSource(source int) *measurement {
	part := &measurement{baselines: r.baselines}
	for _, d := range r.documents {
		if d.source == source {
			part.documents = append(part.documents, d)
		}
	}
	return part
}

// sources returns the sources that occur, each once, in order of appearance.
func (r *measurement) sources() []int {
	var list []int
	seen := map[int]bool{}
	for _, d := range r.documents {
		if !seen[d.source] {
			seen[d.source] = true
			list = append(list, d.source)
		}
	}
	return list
}

// sums are totals over documents.
type sums struct {
	masked, bytes int64
	nats          [systems]float64
	hits          [systems]int64
}

func (s *sums) add(d *tally) {
	s.masked += d.masked
	s.bytes += d.bytes
	for k := range s.nats {
		s.nats[k] += d.nats[k]
		s.hits[k] += d.hits[k]
	}
}

// figures are the four numbers of one system, in the order of figureNames.
type figures [4]float64

const (
	figPerplexity = iota
	figAccuracy
	figBitsPerByte
	figCrossEntropy
)

// of returns the figures of a system; NaN without masked tokens, and bits per byte NaN when they have no bytes.
func (s *sums) of(k system) figures {
	n := float64(s.masked)
	if s.masked == 0 {
		nan := math.NaN()
		return figures{nan, nan, nan, nan}
	}
	ce := s.nats[k] / n
	bits := math.NaN()
	if s.bytes > 0 {
		bits = s.nats[k] / math.Ln2 / float64(s.bytes)
	}
	return figures{math.Exp(ce), float64(s.hits[k]) / n, bits, ce}
}

// report turns sums and intervals into Measured.
func (r *measurement) report(draws int, seed uint64, site uint32, threads int) Measured {
	var total sums
	documents := 0
	for i := range r.documents {
		total.add(&r.documents[i])
		if r.documents[i].masked > 0 {
			documents++
		}
	}
	spread := bootstrap(r.documents, draws, seed, site, threads)
	metrics := func(k system) Metrics {
		f := total.of(k)
		return Metrics{
			Perplexity: Figure(f[figPerplexity]), PerplexityInterval: spread[k][figPerplexity],
			Accuracy: Figure(f[figAccuracy]), AccuracyInterval: spread[k][figAccuracy],
			BitsPerByte: Figure(f[figBitsPerByte]), BitsPerByteInterval: spread[k][figBitsPerByte],
			CrossEntropy: Figure(f[figCrossEntropy]), CrossEntropyInterval: spread[k][figCrossEntropy],
			Tokens: total.masked, Bytes: total.bytes, Documents: documents,
		}
	}
	m := Measured{Metrics: metrics(ofModel)}
	if r.baselines {
		m.Baselines = &Baselines{Unigram: metrics(ofUnigram), LeftNeighbour: metrics(ofLeft)}
	}
	return m
}
