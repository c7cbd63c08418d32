package build

import (
	"context"
	"errors"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/tokenizer"
)

// document is a record of a chunk after encoding.
type document struct {
	split data.Split
	meta  shard.Meta
	end   int // of its tokens in the chunk's
	kept  data.Kept
}

type encoded struct {
	tokens    []uint32
	documents []document
}

// keptBy counts what stays, per source and split.
type keptBy map[int]*[data.NumSplits]data.Kept

// encode writes the shards of every split that has records, in the order of the spool.
func (b *build) encode(ctx context.Context, in *intake, c *chosen) (kept keptBy, err error) {
	names := make([]string, len(in.sources))
	for i := range in.sources {
		names[i] = in.sources[i].Name
	}
	var writers [data.NumSplits]*shard.Writer
	defer func() {
		if err == nil {
			return
		}
		for _, w := range writers {
			if w != nil {
				err = errors.Join(err, w.Abort())
			}
		}
	}()
	var total int64
	for _, s := range data.Splits() {
		if c.kept[s] == 0 {
			continue
		}
		total += c.kept[s]
		writers[s], err = shard.Create(b.dir.Path(s.String()), shard.Options{
			VocabSize: b.tokenizer.VocabSize(), Tokenizer: b.tokenizer.Fingerprint(), Sources: names,
		})
		if err != nil {
			return nil, err
		}
	}
	workers := b.newWorkers(in)
	kept = keptBy{}
	var done int64
	p := newOrdered(ctx, b.o.Threads, func(worker int, c chunk) (*encoded, error) {
		return workers[worker].encode(c)
	}, func(e *encoded) error {
		from := 0
		for _, d := range e.documents {
			if err := writers[d.split].Append(e.tokens[from:d.end], d.meta); err != nil {
				return err
			}
			from = d.end
			k := kept[d.meta.Source]
			if k == nil {
				k = &[data.NumSplits]data.Kept{}
				kept[d.meta.Source] = k
			}
			k[d.split].Add(d.kept)
		}
		done += int64(len(e.documents))
		b.o.Progress("encode", done, total)
		return nil
	})
	for _, c := range in.spool.chunks {
		if err = p.Submit(c); err != nil {
			break
		}
	}
	if waitErr := p.Wait(); err == nil {
		err = waitErr
	}
	for _, w := range writers {
		if w != nil && err == nil {
			err = w.Close()
		}
	}
	return kept, err
}

// worker is what one encoding goroutine holds.
type worker struct {
	in      *intake
	encoder *tokenizer.Encoder
	classes []tokenizer.Class
	buf     []byte
}

func (b *build) newWorkers(in *intake) []*worker {
	classes := b.tokenizer.Classes(tokenizer.DefaultDelimiters())
	workers := make([]*worker, b.o.Threads)
	for i := range workers {
		workers[i] = &worker{in: in, encoder: b.tokenizer.NewEncoder(), classes: classes}
	}
	return workers
}

// encode encodes the records of one chunk of the spool.
func (w *worker) encode(c chunk) (*encoded, error) {
	e := &encoded{tokens: make([]uint32, 0, c.raw/2), documents: make([]document, 0, c.count)}
	var err error
	w.buf, err = w.in.spool.load(c, w.buf, func(number uint32, text []byte) bool {
		var d document
		var place uint64
		d.split, place = w.in.distinct.Chosen(number)
		d.meta.Source, d.meta.Record = w.in.origin(place)
		from := len(e.tokens)
		e.tokens = w.encoder.Append(e.tokens, text)
		d.end = len(e.tokens)
		d.kept = data.Kept{Records: 1, Bytes: int64(len(text)), Tokens: int64(d.end - from)}
		for _, id := range e.tokens[from:] {
			if w.classes[id] == tokenizer.ClassDelimiter {
				d.kept.Delimiters++
			}
		}
		e.documents = append(e.documents, d)
		return true
	})
	return e, err
}
