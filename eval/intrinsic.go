package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

// ErrUsage marks errors that come from how Intrinsic was asked: an unknown set, a context out of range. errors.Is finds it.
var ErrUsage = errors.New("wrong use")

// usageError is an error that errors.Is finds as ErrUsage.
type usageError struct{ err error }

func (e usageError) Error() string        { return e.err.Error() }
func (e usageError) Unwrap() error        { return e.err }
func (e usageError) Is(target error) bool { return target == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Options say what Intrinsic measures. The zero value of a field is its default.
type Options struct {
	Models []string // model folders, checkpoints or run folders
	Data   string   // data folder
	Sets   []string // of idts, odts, valid, train; nil: idts and odts, those that are there

	Context    int    // longest piece in tokens; 0: the model's training context, else 512
	Tokens     int    // tokens of a micro-batch; 0: the larger of the context and 2,048
	Pieces     int    // most pieces of each set; 0: all. The sample is fixed by the seed
	MaxTokens  int64  // most tokens of each set; 0: all
	Seed       uint64 // of masks, samples and intervals
	Draws      int    // bootstrap draws; 0: 1,000
	Delimiters string // delimiter characters; "": the model's, else the default set
	// BaselineTokens bounds what the baselines are counted on; 0: 200 million tokens. Of a larger train split evenly
	// spaced documents are counted, and a remark says so.
	BaselineTokens int64

	Threads  int    // 0: all cores; results do not depend on it
	Device   string // "": cpu
	Kernels  string // family; "": the best available
	DType    string // of activations: "" and "f32", or "bf16"
	Progress func(stage string, done, total int64)

	open func(path string, o *Options) (*opened, error) // tests put a toy here
}

const (
	defaultContext        = 512
	defaultTokens         = 2048
	defaultDraws          = 1000
	defaultBaselineTokens = 200_000_000
)

// opened is a model that is ready to score.
type opened struct {
	scorer     func(context, tokens int) (Scorer, error) // compiles for pieces of context in micro-batches of tokens
	tokenizer  *tokenizer.Tokenizer
	hash       string // of the folder's manifest; "" without one
	parameters int64
	context    int    // of the training; 0 when unknown
	positions  int    // longest piece that absolute positions allow; 0: any
	delimiters string // of the training; "" when unknown
	kernels    string
	threads    int
	close      func() error
}

// Intrinsic measures models on the held-out sets of a data folder, with both mask sets, intervals, baselines and a table
// by source. Everything but Seconds follows from models, data and seed, for any number of threads.
func Intrinsic(ctx context.Context, o Options) (report *Report, err error) {
	if err := o.resolve(); err != nil {
		return nil, err
	}
	d, err := shard.OpenData(o.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	report = &Report{Data: o.Data, Seed: o.Seed, DType: o.DType}
	if report.DataSHA, err = d.Hash(); err != nil {
		return nil, err
	}
	e := &evaluation{o: &o, d: d, report: report, baselines: map[baselineKey]*[2]*baseline{}}
	if e.sets, err = chooseSets(d, o.Sets); err != nil {
		return nil, err
	}
	for _, path := range o.Models {
		if err := e.model(ctx, path); err != nil {
			return nil, err
		}
	}
	e.compare()
	return report, nil
}

func (o *Options) resolve() error {
	if len(o.Models) == 0 {
		return usagef("no model given")
	}
	if o.Context != 0 && (o.Context < 3 || o.Context > batch.MaxContext) {
		return usagef("context %d: want 3 … %d", o.Context, batch.MaxContext)
	}
	if o.Pieces < 0 || o.MaxTokens < 0 || o.Draws < 0 || o.BaselineTokens < 0 || o.Tokens < 0 || o.Threads < 0 {
		return usagef("a negative limit was given")
	}
	if o.DType == "" {
		o.DType = "f32"
	}
	if _, err := model.ParseDType(o.DType); err != nil {
		return usageError{err}
	}
	if o.Draws == 0 {
		o.Draws = defaultDraws
	}
	if o.BaselineTokens == 0 {
		o.BaselineTokens = defaultBaselineTokens
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.open == nil {
		o.open = openModel
	}
	return nil
}

// chooseSets returns the splits to be evaluated: those asked for, which must be there, or IDTS and ODTS where they are.
func chooseSets(d *shard.Data, names []string) ([]data.Split, error) {
	if names == nil {
		var sets []data.Split
		for _, s := range []data.Split{data.IDTS, data.ODTS} {
			if d.Sets[s] != nil {
				sets = append(sets, s)
			}
		}
		if len(sets) == 0 {
			return nil, fmt.Errorf("%s: has neither idts nor odts", d.Dir)
		}
		return sets, nil
	}
	var sets []data.Split
	for _, name := range names {
		s, err := data.ParseSplit(name)
		if err != nil {
			return nil, usageError{err}
		}
		if d.Sets[s] == nil {
			return nil, fmt.Errorf("%s: has no set %s", d.Dir, name)
		}
		if !slices.Contains(sets, s) {
			sets = append(sets, s)
		}
	}
	return sets, nil
}

// evaluation is Intrinsic at work.
type evaluation struct {
	o         *Options
	d         *shard.Data
	sets      []data.Split
	report    *Report
	baselines map[baselineKey]*[2]*baseline // by mask set
}

// baselineKey is what the counts depend on.
type baselineKey struct {
	tokenizer  [32]byte
	delimiters string
	context    int
}

// model measures one model and adds it to the report.
func (e *evaluation) model(ctx context.Context, path string) (err error) {
	begun := time.Now()
	m, err := e.o.open(path, e.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	fingerprint := m.tokenizer.Fingerprint()
	r := ModelReport{
		Model: path, ModelHash: m.hash, Tokenizer: fmt.Sprintf("%x", fingerprint), Parameters: m.parameters,
		Context:     firstSet(e.o.Context, m.context, min(defaultContext, firstSet(m.positions, defaultContext))),
		Retokenized: fingerprint != e.d.Tokenizer.Fingerprint(), Sets: map[string]*SetReport{},
	}
	if m.positions > 0 && r.Context > m.positions {
		return usagef("%s: context %d: the model has absolute positions for %d tokens (max_position_embeddings)", path, r.Context, m.positions)
	}
	e.report.Kernels, e.report.Threads = m.kernels, m.threads
	delimiters := firstSet(e.o.Delimiters, m.delimiters, tokenizer.DefaultDelimiters().String())
	set, err := tokenizer.ParseDelimiters(delimiters)
	if err != nil {
		return usageError{fmt.Errorf("delimiters: %w", err)}
	}
	classes := m.tokenizer.Classes(set)
	vocabulary, err := batch.NewVocabulary(m.tokenizer.Special(), classes)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	key := baselineKey{fingerprint, delimiters, r.Context}
	if err := e.count(ctx, key, m.tokenizer, classes); err != nil {
		return err
	}
	tokens := e.o.Tokens
	if tokens == 0 {
		tokens = defaultTokens
	}
	tokens = max(tokens, r.Context)
	scorer, err := m.scorer(r.Context, tokens)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i, split := range e.sets {
		shards := e.d.Sets[split]
		var docs batch.Documents = shards
		if r.Retokenized {
			if docs, err = recode(docs, newRecoder(e.d.Tokenizer, m.tokenizer)); err != nil {
				return fmt.Errorf("set %s: %w", split, err)
			}
		}
		work := setWork{
			e: e, name: split.String(), sources: shards.Sources(), docs: docs, scorer: scorer, vocabulary: vocabulary,
			lengths: tokenLengths(m.tokenizer), base: e.baselines[key], threads: max(1, m.threads), tokens: shards.Tokens(),
			site: uint32(2 * i),
			options: batch.EvaluationOptions{
				Context: r.Context, T: tokens, Seed: e.o.Seed, Pieces: e.o.Pieces, Tokens: e.o.MaxTokens,
			},
		}
		if r.Sets[split.String()], err = work.run(ctx); err != nil {
			return fmt.Errorf("%s: set %s: %w", path, split, err)
		}
	}
	r.Seconds = time.Since(begun).Seconds()
	e.report.Models = append(e.report.Models, r)
	return nil
}

// firstSet returns the first value that is not the zero value.
func firstSet[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// count counts the train split for the baselines of a tokenizer, once.
func (e *evaluation) count(ctx context.Context, key baselineKey, t *tokenizer.Tokenizer, classes []tokenizer.Class) error {
	train := e.d.Sets[data.Train]
	if train == nil || e.baselines[key] != nil {
		return nil
	}
	stride := int((train.Tokens() + e.o.BaselineTokens - 1) / e.o.BaselineTokens)
	stride = max(1, stride)
	if stride > 1 {
		e.remark(fmt.Sprintf("The baselines were counted on every %d. document of the train split, %s tokens in all.",
			stride, units.Count(train.Tokens())))
	}
	var r *recoder
	if key.tokenizer != e.d.Tokenizer.Fingerprint() {
		r = newRecoder(e.d.Tokenizer, t)
	}
	counts := NewCounts(classes, t.Special().CLS, key.context)
	done := int64(0)
	for document, err := range every(train, stride, r) {
		if err != nil {
			return fmt.Errorf("set train: %w", err)
		}
		counts.Add(document)
		if done++; done%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			e.o.Progress("baselines", done, int64(train.Documents()/stride))
		}
	}
	e.baselines[key] = &[2]*baseline{counts.forSet(batch.Content), counts.forSet(batch.All)}
	return nil
}

func (e *evaluation) remark(text string) {
	if !slices.Contains(e.report.Remarks, text) {
		e.report.Remarks = append(e.report.Remarks, text)
	}
}

// compare adds what a reader of several models must know.
func (e *evaluation) compare() {
	again := false
	tokenizers := map[string]bool{}
	contexts := map[int]bool{}
	for i := range e.report.Models {
		m := &e.report.Models[i]
		again = again || m.Retokenized
		tokenizers[m.Tokenizer] = true
		contexts[m.Context] = true
	}
	if again {
		e.remark("Records were decoded and encoded again where a model's tokenizer is not the data's, for its baselines too.")
	}
	if len(tokenizers) > 1 {
		e.remark("The models have different tokenizers: only bits per byte compares between them.")
	}
	if len(contexts) > 1 {
		e.remark("The models have different contexts: long records are cut at different places.")
	}
}

// setWork measures one set for one model.
type setWork struct {
	e          *evaluation
	name       string
	sources    []string
	docs       batch.Documents
	scorer     Scorer
	vocabulary *batch.Vocabulary
	lengths    []int32
	base       *[2]*baseline // nil without a train split
	threads    int
	tokens     int64 // of the whole set, bare
	site       uint32
	options    batch.EvaluationOptions
}

// share returns how much of a walk is done: of the sample where it is one, else of the set.
func (w *setWork) share(c batch.Counts) float64 {
	share := 0.0
	for _, limit := range [][2]int64{{c.Tokens, w.tokens}, {c.Pieces, int64(w.options.Pieces)}, {c.Tokens, w.options.Tokens}} {
		if limit[1] > 0 {
			share = max(share, float64(limit[0])/float64(limit[1]))
		}
	}
	return min(1, share)
}

func (w *setWork) run(ctx context.Context) (*SetReport, error) {
	report := &SetReport{Sources: map[string]*SourceReport{}}
	for pass, mask := range []batch.MaskSet{batch.Content, batch.All} {
		o := w.options
		o.Mask.Set = mask
		var measured *measurement
		if w.docs.Documents() > 0 {
			walk, err := batch.NewEvaluation(w.docs, w.vocabulary, o)
			if err != nil {
				return nil, err
			}
			var base *baseline
			if w.base != nil {
				base = w.base[mask]
			}
			if measured, err = measure(ctx, w.scorer, walk, w.lengths, base, func() {
				const whole = 1_000_000
				w.e.o.Progress(w.name, int64(whole*(float64(pass)+w.share(walk.Counts()))), 2*whole)
			}); err != nil {
				return nil, err
			}
		} else {
			measured = &measurement{}
		}
		site := w.site + uint32(mask)
		put := func(to *SourceReport, m *measurement) {
			r := m.report(w.e.o.Draws, w.e.o.Seed, site, w.threads)
			if mask == batch.Content {
				to.Measured = r
			} else {
				to.All = &r
			}
		}
		put(&report.SourceReport, measured)
		for _, source := range measured.sources() {
			name := fmt.Sprintf("source %d", source)
			if source >= 0 && source < len(w.sources) {
				name = w.sources[source]
			}
			if report.Sources[name] == nil {
				report.Sources[name] = &SourceReport{}
			}
			put(report.Sources[name], measured.ofSource(source))
		}
	}
	return report, nil
}
