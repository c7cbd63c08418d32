// Package build makes a data folder from logs: it reads records, labels them with a split, removes equal ones, trains a
// tokenizer or takes one, and writes the token shards.
//
// Run does all of it. The input is read once. Every distinct record is spooled, compressed, into the folder under
// construction; when all sources are counted the splits are known, the tokenizer is trained on the spooled records of the
// train split, and the spool is encoded and removed. The folder appears at its name when it is complete; see
// docs/formats/data-folder.md for what it holds.
//
// The bytes of the folder are a function of the input, the options and the seed: the number of threads changes nothing.
// In memory are about 30 bytes for each distinct record, and some megabytes for each thread.
package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/data/split"
	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/tokenizer"
)

// Options are what Run is asked to do. In and Out are needed; the zero value of the others is the default.
type Options struct {
	In  []string // files, folders, or "-" for standard input
	Out string   // the folder to make; it must not exist, or be empty

	// Tokenizer is a tokenizer.json, a folder that holds one, or "train" or "train:SIZE" to train one of that many ids
	// on the train split; "" is "train". A file whose name is train is "./train".
	Tokenizer string
	Digits    tokenizer.DigitRule // of a trained one
	Space     tokenizer.SpaceRule // of a trained one

	ODTS           []string // sources, paths or globs below In that are held out; see split.Carve. None: chosen, see split.Plan
	Exclude        []string // globs below In that are not read; see data.CompileGlob
	Omit           []string // folders that are not read, as paths, beside Out: what else the caller writes below In
	SourceDepth    int      // folders that name a source; 0 means 1
	MaxSourceBytes int64    // of each source, in bytes of text, the first records in file order are read; 0 means all
	MaxRecord      int64    // bytes over which a record is cut; 0 means source.DefaultMaxRecord
	KeepGoing      bool     // damaged and unreadable files are counted and passed over
	Render         string   // "auto" or "", "raw", "jsonl"; see source.Render
	Seed           uint64
	Threads        int    // 0: one a processor
	Tool           string // program and version for the manifest; "" is "secencoder"

	// Progress, if set, is told what is done, by one goroutine at a time: stage "read" in bytes on disk (total 0 when it
	// is not known), "count" and "merge" of tokenizer.TrainOptions.Progress, "encode" in records.
	Progress func(stage string, done, total int64)
}

// ErrUsage says that an option makes no sense; the error names it.
var ErrUsage = errors.New("wrong use")

// usageError is an error that is ErrUsage, without saying so in front of what it says.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == ErrUsage }

func (e usageError) Unwrap() error { return e.error }

// ErrNothing says that the input holds no record.
var ErrNothing = errors.New("nothing to read")

// Report is what Run did.
type Report struct {
	data.Report
	Dir      string            `json:"dir"`                // absolute path of the folder
	Hash     string            `json:"hash"`               // of its manifest
	Training *tokenizer.Report `json:"training,omitempty"` // of a trained tokenizer
}

// config is what the manifest says of Options. Threads and paths of the output are left out: they change no byte.
type config struct {
	In             []string `json:"in"`
	Tokenizer      string   `json:"tokenizer"`
	Digits         string   `json:"digits,omitempty"`
	Space          string   `json:"space,omitempty"`
	ODTS           []string `json:"odts,omitempty"`
	Exclude        []string `json:"exclude,omitempty"`
	SourceDepth    int      `json:"source_depth"`
	MaxSourceBytes int64    `json:"max_source_bytes,omitempty"`
	MaxRecord      int64    `json:"max_record"`
	KeepGoing      bool     `json:"keep_going,omitempty"`
	Render         string   `json:"render"`
	Seed           uint64   `json:"seed"`
}

// Run builds the folder o.Out. On an error, or when ctx ends, nothing is at o.Out that was not there before. The error
// wraps ErrUsage for options, atomicfile.ErrExists or ErrLocked for a folder in use, ErrNothing for input without
// records, ErrSpace for a disk that is, or would get, too full, and is a *source.ReadError for a damaged file.
func Run(ctx context.Context, o Options) (*Report, error) {
	b, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if b.dir, err = atomicfile.CreateDir(o.Out); err != nil {
		return nil, err
	}
	r, err := b.run(ctx)
	if err != nil {
		if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, errors.Join(wordFull(b.dir.Out(), err), b.dir.Abort())
	}
	return r, nil
}

// build is one Run.
type build struct {
	o         Options
	render    source.Render
	tokenizer *tokenizer.Tokenizer // nil until it is trained
	size      int                  // ids of the tokenizer to train
	trained   *tokenizer.Report
	dir       *atomicfile.Dir
}

// prepare checks the options before anything is read or written.
func prepare(o Options) (*build, error) {
	usage := func(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Tokenizer == "" {
		o.Tokenizer = "train"
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = source.DefaultMaxRecord
	}
	if o.SourceDepth == 0 {
		o.SourceDepth = 1
	}
	if o.Tool == "" {
		o.Tool = "secencoder"
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	switch {
	case len(o.In) == 0:
		return nil, usage("no input named")
	case o.Out == "":
		return nil, usage("no output folder named")
	case o.Threads < 0:
		return nil, usage("%d threads", o.Threads)
	case o.SourceDepth < 0:
		return nil, usage("source depth %d: want 1 or more", o.SourceDepth)
	case o.MaxSourceBytes < 0:
		return nil, usage("at most %d bytes a source", o.MaxSourceBytes)
	case o.MaxRecord < 64 || o.MaxRecord > 1<<30:
		return nil, usage("records of at most %d bytes: want 64 to %d", o.MaxRecord, 1<<30)
	}
	b := &build{o: o}
	var err error
	if b.render, err = source.ParseRender(o.Render); err != nil {
		return nil, usage("%w", err)
	}
	for _, p := range o.Exclude {
		if _, err := data.CompileGlob(p, false); err != nil {
			return nil, usage("%w", err)
		}
	}
	spec, size, given := strings.Cut(o.Tokenizer, ":")
	switch {
	case spec == "train" && given:
		if b.size, err = strconv.Atoi(size); err != nil || b.size < 1 {
			return nil, usage("tokenizer %q: want train:SIZE with a whole number of ids", o.Tokenizer)
		}
	case spec == "train":
		b.size = tokenizer.DefaultVocabSize
	default:
		if b.tokenizer, err = tokenizer.Load(o.Tokenizer); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// list finds the files, and the sources that are named as held out.
func (b *build) list(ctx context.Context) (source.Listing, map[string]bool, error) {
	list, err := source.List(ctx, source.ListOptions{
		In: b.o.In, Exclude: b.o.Exclude, Depth: b.o.SourceDepth, Omit: append(outputs(b.dir.Out()), b.o.Omit...), KeepGoing: b.o.KeepGoing,
	})
	if err != nil {
		return list, nil, err
	}
	odts, err := split.Carve(list.Files, b.o.ODTS)
	if err != nil {
		return list, nil, usageError{err}
	}
	return list, odts, nil
}

// run works in b.dir and commits it.
func (b *build) run(ctx context.Context) (r *Report, err error) {
	list, odts, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.checkSpace(ctx, list.Files); err != nil {
		return nil, err
	}
	in, err := b.read(ctx, list.Files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.remove()) }()
	in.skipped = append(list.Skipped, in.skipped...)
	in.failed = append(list.Failed, in.failed...)
	in.unused = list.Unused
	if in.records == 0 {
		return nil, in.nothing(b.o.In)
	}
	chosen, err := in.choose(ctx, odts, b.o.Seed)
	if err != nil {
		return nil, err
	}
	if b.tokenizer == nil {
		if err := b.train(ctx, in, chosen); err != nil {
			return nil, err
		}
	}
	sets, err := b.encode(ctx, in, chosen)
	if err != nil {
		return nil, err
	}
	if err := in.remove(); err != nil {
		return nil, err
	}
	if err := b.tokenizer.Save(b.dir.Path(shard.TokenizerName)); err != nil {
		return nil, err
	}
	r = &Report{Report: in.report(sets), Dir: b.dir.Out(), Training: b.trained}
	r.Tokenizer = b.tokenizerReport()
	if err := b.writeManifest(&r.Report); err != nil {
		return nil, err
	}
	if r.Hash, err = manifest.Hash(b.dir.Path()); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r, b.dir.Commit()
}

func (b *build) tokenizerReport() data.TokenizerReport {
	r := data.TokenizerReport{Fingerprint: fmt.Sprintf("%x", b.tokenizer.Fingerprint()), VocabSize: b.tokenizer.VocabSize()}
	if b.trained != nil {
		r.Trained, r.WantedSize = true, b.trained.WantedSize
	}
	return r
}

func (b *build) writeManifest(r *data.Report) error {
	o := &b.o
	render := o.Render
	if render == "" {
		render = "auto"
	}
	c, err := json.Marshal(config{
		In: o.In, Tokenizer: o.Tokenizer, Digits: string(o.Digits), Space: string(o.Space), ODTS: o.ODTS, Exclude: o.Exclude, SourceDepth: o.SourceDepth,
		MaxSourceBytes: o.MaxSourceBytes, MaxRecord: o.MaxRecord, KeepGoing: o.KeepGoing, Render: render, Seed: o.Seed,
	})
	if err != nil {
		return err
	}
	extra, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m := manifest.Manifest{Kind: shard.Kind, Tool: o.Tool, Config: c, Extra: extra}
	if b.trained == nil {
		m.Parents = map[string]string{"tokenizer": r.Tokenizer.Fingerprint}
	}
	return manifest.Write(b.dir.Path(), m)
}

// train learns the tokenizer from the records of the train split.
func (b *build) train(ctx context.Context, in *intake, c *chosen) error {
	if c.kept[data.Train] == 0 {
		return fmt.Errorf("%w: every one of the %s records is held out, none is left to train a tokenizer on", ErrNothing, units.Count(in.records))
	}
	docs := func(yield func([]byte, error) bool) {
		err := in.spool.each(ctx, func(number uint32, text []byte) bool {
			if s, _ := in.distinct.Chosen(number); s != data.Train {
				return true
			}
			return yield(text, nil)
		})
		if err != nil {
			yield(nil, err)
		}
	}
	t, r, err := tokenizer.Train(ctx, docs, tokenizer.TrainOptions{
		VocabSize: b.size, Digits: b.o.Digits, Space: b.o.Space, Threads: b.o.Threads, Progress: b.o.Progress,
	})
	if err != nil {
		return err
	}
	b.tokenizer, b.trained = t, &r
	return nil
}

// outputs returns the folders that belong to the output: the one that is made, and the one in which it is made.
func outputs(out string) []string {
	return []string{out, filepath.Join(filepath.Dir(filepath.Clean(out)), "."+filepath.Base(filepath.Clean(out))+".partial")}
}
