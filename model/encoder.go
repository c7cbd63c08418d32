package model

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/tokenizer"
)

// Encoder turns text into vectors with a trained model. Its methods may be called from any number of goroutines; calls
// run one after the other, each on all threads of the device.
type Encoder struct {
	folder *Folder
	dev    *device.Device
	pos    *Positions  // projected once; nil without position terms
	packs  *exec.Packs // weights packed once
	dtype  kernel.DType
	opt    options

	available func() (int64, error) // memory that a plan may take; tests have little of it

	mu      sync.Mutex // guards what follows
	tok     *tokenizer.Encoder
	plans   []*cachedPlan // most recently used first
	batch   Batch
	scratch []uint32
	closed  bool
}

type options struct {
	device device.Options
	pool   Pool
	window int
	tokens int
	dtype  string
}

// Option changes how Load opens an Encoder.
type Option func(*options)

// WithThreads sets the number of threads; 0, the default, is all that the process may use.
func WithThreads(n int) Option { return func(o *options) { o.device.Threads = n } }

// WithKernels names the kernel family; "", the default, is the best that is available (SECENCODER_KERNELS heeded).
func WithKernels(name string) Option { return func(o *options) { o.device.Kernels = name } }

// WithDevice names the device: "cpu", the default.
func WithDevice(name string) Option { return func(o *options) { o.device.Device = name } }

// WithPool says how a line's vector is made of its tokens' vectors: PoolMean, the default, PoolContent or PoolFirst.
func WithPool(p Pool) Option { return func(o *options) { o.pool = p } }

// WithWindow cuts a line of more than n tokens ([CLS] and [SEP] included) into pieces of at most n, each framed on its
// own, and averages their vectors, weighted by the tokens that each vector is the mean of. 0, the default, takes every
// line whole.
func WithWindow(n int) Option { return func(o *options) { o.window = n } }

// WithDType names the type of activations: "f32", the default, or "bf16", which is faster where the processor multiplies
// BF16 and takes half the memory; vectors differ from those of f32 by about one part in 2^7 of their size (docs/numerics.md).
func WithDType(name string) Option { return func(o *options) { o.dtype = name } }

// WithBatchTokens sets how many tokens are packed into one pass, 4,096 by default. A longer line has a pass of its own.
func WithBatchTokens(n int) Option { return func(o *options) { o.tokens = n } }

// Bounds of one piece.
const (
	maxPieceTokens      = 65536 // dropout counters hold 16 bits of place; the bound is the same for all uses
	defaultBatchTokens  = 4096
	smallestWindowBatch = 4
)

// Load opens a model for inference: a folder that this tool or HF wrote, a checkpoint, or a run folder (its best
// checkpoint). Every hash of a folder with a manifest is checked. The caller closes the Encoder.
func Load(path string, opts ...Option) (_ *Encoder, err error) {
	o := options{tokens: defaultBatchTokens, dtype: "f32"}
	for _, set := range opts {
		set(&o)
	}
	if o.window != 0 && (o.window < smallestWindowBatch || o.window > maxPieceTokens) {
		return nil, fmt.Errorf("window of %d tokens, want %d to %d", o.window, smallestWindowBatch, maxPieceTokens)
	}
	if o.tokens < smallestWindowBatch {
		return nil, fmt.Errorf("batches of %d tokens, want at least %d", o.tokens, smallestWindowBatch)
	}
	dtype, err := ParseDType(o.dtype)
	if err != nil {
		return nil, err
	}
	f, err := ReadFolder(path, ReadOptions{})
	if err != nil {
		return nil, err
	}
	dev, err := device.Open(o.device)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	pos, err := ProjectPositions(dev, f.Config, f.Params, dtype)
	if err != nil {
		return nil, errors.Join(err, dev.Close(), f.Close())
	}
	return &Encoder{
		folder: f, dev: dev, pos: pos, packs: exec.NewPacks(dev), dtype: dtype, opt: o,
		available: device.AvailableMemory, tok: f.Tokenizer.NewEncoder(),
	}, nil
}

// Close frees the model. No method may be called after it, nor while one is running.
func (e *Encoder) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	var errs []error
	for _, c := range e.plans {
		errs = append(errs, c.plan.Close())
	}
	e.plans = nil
	errs = append(errs, e.packs.Close())
	if e.pos != nil {
		errs = append(errs, e.pos.Close())
	}
	return errors.Join(append(errs, e.dev.Close(), e.folder.Close())...)
}

// Tokenizer returns the model's tokenizer.
func (e *Encoder) Tokenizer() *tokenizer.Tokenizer { return e.folder.Tokenizer }

// Config returns the model's configuration; it must not be changed.
func (e *Encoder) Config() *Config { return e.folder.Config }

// Folder returns what was loaded; it must not be changed or closed.
func (e *Encoder) Folder() *Folder { return e.folder }

// Device returns the device that the Encoder runs on, for reports.
func (e *Encoder) Device() *device.Device { return e.dev }

// Embed returns one vector of hidden_size values a line, in the order of the lines, for empty lines too: by default the
// mean of the last hidden states over all tokens of the line, [CLS] and [SEP] included, which is what the exported
// folder's 1_Pooling says. The text is taken as bytes, special strings in it are plain text. Each line is one piece,
// however long; a line over 65,536 tokens, over the memory, or over max_position_embeddings of a model with absolute
// positions is an error that names its index (see WithWindow). The context is looked at between passes.
func (e *Encoder) Embed(ctx context.Context, lines []string) ([][]float32, error) {
	bytes := make([][]byte, len(lines))
	for i, l := range lines {
		bytes[i] = []byte(l)
	}
	return e.EmbedBytes(ctx, bytes)
}

// LineError says which line cannot be embedded, and why.
type LineError struct {
	Line int // index in the lines of the call
	Err  error
}

// Error returns the sentence; it counts lines from 1.
func (e *LineError) Error() string { return fmt.Sprintf("line %d of the batch: %v", e.Line+1, e.Err) }

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// EmbedBytes is Embed for lines that need not be valid UTF-8. It keeps none of them.
func (e *Encoder) EmbedBytes(ctx context.Context, lines [][]byte) ([][]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.New("the encoder is closed")
	}
	e.batch.IDs, e.batch.Offsets = e.batch.IDs[:0], e.batch.Offsets[:0] // an error may have left a pass half filled
	h := e.folder.Config.HiddenSize
	flat := make([]float32, len(lines)*h)
	out := make([][]float32, len(lines))
	for i := range out {
		out[i] = flat[i*h : (i+1)*h : (i+1)*h]
	}
	p := packer{e: e, ctx: ctx, out: out, weights: make([]float64, len(lines))}
	for i, line := range lines {
		if err := p.add(i, line); err != nil {
			return nil, err
		}
	}
	if err := p.flush(); err != nil {
		return nil, err
	}
	return out, nil
}
