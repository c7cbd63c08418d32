package batch

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/rng"
)

// Options says how a loader cuts, packs and masks.
type Options struct {
	Context    int    // most tokens of a framed piece, 3 … MaxContext
	T          int    // tokens of a micro-batch, at least Context
	Accumulate int    // micro-batches of a step; 0 means 1
	Seed       uint64 // of order and masks
	Mask       MaskOptions
}

// State is where a loader stands: the next piece that it will hand out. Equal states, documents and options give equal
// batches from there on, bit for bit.
type State struct {
	Epoch    uint32 `json:"epoch"`    // passes over the set that are complete
	Position uint64 `json:"position"` // in the epoch's order of documents
	Piece    uint32 `json:"piece"`    // in the document at that position
}

// Loader draws training steps without end, epoch after epoch. It is used by one goroutine at a time.
type Loader struct {
	c      *cutter
	o      Options
	order  permutation
	micros []*Micro // what NextStep returns

	state    State
	document int // document at state.Position, −1 before it is looked up
	length   int // tokens of document

	counts Counts
}

// NewLoader returns a loader at the start of epoch 0. Errors name the option or the set that does not fit.
func NewLoader(docs Documents, v *Vocabulary, o Options) (*Loader, error) {
	c, err := newCutter(docs, v, o.Seed, o.Context, o.Mask)
	if err != nil {
		return nil, err
	}
	if o.Accumulate == 0 {
		o.Accumulate = 1
	}
	if o.Accumulate < 0 {
		return nil, fmt.Errorf("%d micro-batches a step: want at least 1", o.Accumulate)
	}
	if err := checkT(o.T, o.Context); err != nil {
		return nil, err
	}
	l := &Loader{c: c, o: o, order: newPermutation(o.Seed, rng.Order, docs.Documents()), document: -1}
	l.micros = l.newStep()
	return l, nil
}

func checkT(t, context int) error {
	if t < context || t > 1<<30 {
		return fmt.Errorf("micro-batch of %d tokens: want at least the context of %d and at most %d", t, context, 1<<30)
	}
	return nil
}

// newStep returns the empty micro-batches of one step.
func (l *Loader) newStep() []*Micro {
	step := make([]*Micro, l.o.Accumulate)
	for i := range step {
		step[i] = newMicro(l.o.T)
	}
	return step
}

// NextStep draws all micro-batches of the next step. They belong to the loader and hold until the next call. After an
// error the state is what it was before the call. No memory is taken once the longest document has been seen.
func (l *Loader) NextStep() ([]*Micro, error) {
	if err := l.fill(l.micros); err != nil {
		return nil, err
	}
	return l.micros, nil
}

// fill draws a step into step. Next-fit: pieces in order fill a micro-batch, one that does not fit opens the next.
func (l *Loader) fill(step []*Micro) error {
	before, counts := l.state, l.counts
	pieces := 0
	for _, m := range step {
		m.reset(pieces)
		if err := l.fillMicro(m); err != nil {
			l.state, l.counts, l.document = before, counts, -1
			return err
		}
		pieces += len(m.Pieces)
		l.counts.add(m)
	}
	return nil
}

func (l *Loader) fillMicro(m *Micro) error {
	for {
		if err := l.seek(); err != nil {
			return err
		}
		piece := int(l.state.Piece)
		if m.Tokens()+l.c.framed(l.length, piece) > m.T {
			l.c.close(m)
			return nil
		}
		if err := l.c.put(m, Place{Epoch: l.state.Epoch, Document: l.document, Piece: piece}); err != nil {
			return err
		}
		l.state.Piece++
		if piece+1 == PieceCount(l.length, l.o.Context) {
			l.advance()
		}
	}
}

// seek looks up the document at the state's position, passing over documents without tokens.
func (l *Loader) seek() error {
	for passed := uint64(0); l.document < 0; passed++ {
		if passed > l.order.n {
			return fmt.Errorf("none of the %d documents has a token", l.order.n)
		}
		d := l.order.at(l.state.Epoch, l.state.Position)
		n := l.c.docs.Length(d)
		if n == 0 {
			l.counts.EmptyDocuments++
			l.advance()
			continue
		}
		if PieceCount(n, l.o.Context) > maxPieces {
			return fmt.Errorf("document %d: %d tokens make more than %d pieces of %d", d, n, maxPieces, l.o.Context)
		}
		l.document, l.length = d, n
	}
	return nil
}

// advance moves the state to the next document.
func (l *Loader) advance() {
	l.document = -1
	l.state.Piece = 0
	if l.state.Position++; l.state.Position == l.order.n {
		l.state.Position = 0
		l.state.Epoch++
	}
}

// State returns the place of the next piece: what the next NextStep begins with.
func (l *Loader) State() State { return l.state }

// Restore makes s the place of the next piece. It fails, changing nothing, when s is no place in these documents cut at
// this context: the state then belongs to other data or options.
func (l *Loader) Restore(s State) error {
	if s.Position >= l.order.n {
		return fmt.Errorf("loader state: position %d is outside the %d documents", s.Position, l.order.n)
	}
	d := l.order.at(s.Epoch, s.Position)
	n := PieceCount(l.c.docs.Length(d), l.o.Context)
	if s.Piece != 0 && int64(s.Piece) >= int64(n) {
		return fmt.Errorf("loader state: piece %d is outside the %d pieces of document %d", s.Piece, n, d)
	}
	l.state, l.document = s, -1
	return nil
}

// Counts returns what was handed out since the loader was made.
func (l *Loader) Counts() Counts { return l.counts }
