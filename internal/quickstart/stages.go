package quickstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/printable"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
	"github.com/secencoder/secencoder/train"
)

// size is how large a quickstart is.
type size struct {
	bytes       int64         // of generated logs
	sourceBytes int64         // most that is read of each of the user's sources
	vocabulary  int           // wanted
	training    time.Duration // the probe fixes the steps that fit
	evalPieces  int           // most pieces of each set in the evaluation
	neighbours  int           // log lines that are searched
}

func sizeOf(small bool) size {
	if small {
		return size{bytes: 3_000_000, sourceBytes: 2 << 20, vocabulary: 4096, training: 12 * time.Second, evalPieces: 500, neighbours: 300}
	}
	return size{bytes: 16_000_000, sourceBytes: 16 << 20, vocabulary: 4096, training: 100 * time.Second, evalPieces: 3000, neighbours: 2000}
}

// learnFrom is the number of training tokens from which on the model must beat the unigram baseline.
const learnFrom = 400_000

// stages is one quickstart at work.
type stages struct {
	Options
	size    size
	heldOut []string
	logDirs []string
	trained *train.Result
	report  *eval.Report
	encoder *model.Encoder
}

func (s *stages) path(name ...string) string {
	return filepath.Join(append([]string{s.Out}, name...)...)
}

func (s *stages) logs(ctx context.Context) error {
	choice, err := device.Choose("")
	if err != nil {
		return err
	}
	if err := s.say("machine", "kernels %s on %d threads (%s)", choice.Family, s.Threads, choice.Why); err != nil {
		return err
	}
	if len(s.In) > 0 {
		s.logDirs = s.In
		return nil
	}
	bar := s.bar("logs")
	// synth writes logs/ and labels/ below one folder that appears whole; the two then move up into Out.
	made := s.path("logs", "made")
	report, err := synth.Write(ctx, made, synth.Options{
		Bytes: s.size.bytes, Seed: s.Seed, Threads: s.Threads,
		Progress: func(done, total int64) { bar.Set(done, total, "") },
	})
	bar.Done()
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.Rename(filepath.Join(made, "labels"), s.path("labels")),
		os.Rename(filepath.Join(made, "logs"), s.path("made")),
		os.RemoveAll(s.path("logs")),
		os.Rename(s.path("made"), s.path("logs")),
	); err != nil {
		return err
	}
	s.logDirs, s.heldOut = []string{s.path("logs")}, synth.ODTSKinds()
	return s.say("logs", "%s of generated logs, %d kinds, held out as ODTS: %s", units.FormatSize(report.Bytes), len(report.Kinds), strings.Join(s.heldOut, ", "))
}

func (s *stages) build(ctx context.Context) error {
	bar := progress.New(s.Remarks, "data", s.Quiet)
	o := build.Options{
		In: s.logDirs, Out: s.path("data"), Tokenizer: fmt.Sprintf("train:%d", s.size.vocabulary), ODTS: s.heldOut,
		Seed: s.Seed, Threads: s.Threads, Tool: s.Tool,
		Progress: bar.Staged("data"),
	}
	if len(s.In) > 0 {
		o.MaxSourceBytes, o.KeepGoing = s.size.sourceBytes, s.KeepGoing
		o.Omit = []string{s.Out} // when it lies in the logs
	}
	report, err := build.Run(ctx, o)
	bar.Done()
	if err != nil {
		return err
	}
	for _, note := range report.Failed {
		fmt.Fprintf(s.Remarks, "passed over %s: %s\n", printable.String(note.Path), printable.String(note.Reason))
	}
	var read, duplicates int64
	for _, source := range report.Sources {
		read += source.Records
		duplicates += source.Duplicates
	}
	if err := s.say("data", "%s records, %s after exact duplicates were removed; %s", units.Count(read), units.Count(read-duplicates), sets(&report.Report)); err != nil {
		return err
	}
	return s.tokenizer()
}

// sets lists the splits with their records.
func sets(r *data.Report) string {
	var parts []string
	for _, split := range data.Splits() {
		if kept, ok := r.Sets[split.String()]; ok {
			parts = append(parts, fmt.Sprintf("%s %s", split, units.Count(kept.Records)))
		}
	}
	return strings.Join(parts, ", ")
}

func (s *stages) tokenizer() error {
	tok, err := tokenizer.Load(s.path("data"))
	if err != nil {
		return err
	}
	line, err := s.exampleLine()
	if err != nil {
		return err
	}
	var pieces []string
	for _, id := range tok.NewEncoder().Append(nil, line) {
		pieces = append(pieces, string(tok.TokenBytes(id)))
	}
	return s.say("tokenizer", "byte-level BPE, vocabulary %s; a line of %d bytes is %d tokens: %s", units.Count(tok.VocabSize()), len(line), len(pieces),
		printable.String(cut(strings.Join(pieces, "|"), 160)))
}

// exampleLine returns a held-out log line, the shortest of some that is longer than 60 bytes.
func (s *stages) exampleLine() ([]byte, error) {
	lines, err := s.someLines(50)
	if err != nil {
		return nil, err
	}
	best := lines[0]
	for _, l := range lines {
		if len(l) > 60 && (len(best) <= 60 || len(l) < len(best)) {
			best = l
		}
	}
	return []byte(best), nil
}

// someLines decodes up to n records of the IDTS, evenly spaced over it, so that every source is there.
func (s *stages) someLines(n int) (lines []string, err error) {
	dir := s.path("data", data.IDTS.String())
	if !s.has(data.IDTS) {
		dir = s.path("data", data.Train.String())
	}
	set, err := shard.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	tok, err := tokenizer.Load(s.path("data"))
	if err != nil {
		return nil, err
	}
	var ids []uint32
	n = min(n, set.Documents())
	for i := range n {
		if ids, _, err = set.Document(i*set.Documents()/n, ids); err != nil {
			return nil, err
		}
		lines = append(lines, string(tok.AppendDecode(nil, ids)))
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no record", dir)
	}
	return lines, nil
}

func (s *stages) pretrain(ctx context.Context) error {
	budget, size, dataDir := train.Duration(s.size.training), "tiny", s.path("data")
	o := train.Options{Out: s.path("run"), Reporter: s.Report}
	o.Settings.Data, o.Settings.Size, o.Settings.Time = &dataDir, &size, &budget
	o.Settings.Seed, o.Settings.Threads = &s.Seed, &s.Threads
	begun := time.Now()
	var first firstLoss
	first.Reporter = s.Report
	o.Reporter = &first
	result, err := train.Run(ctx, o)
	if err != nil {
		return err
	}
	s.trained = result
	return s.say("pretrain", "tiny, %s steps in %s, %s tokens; loss %.2f -> %.2f", units.Count(result.Step),
		progress.Duration(time.Since(begun)), units.Count(result.Tokens), first.loss, result.Loss)
}

// firstLoss passes everything on and remembers the loss of the first step.
type firstLoss struct {
	train.Reporter
	loss float64
	seen bool
}

// Step implements train.Reporter.
func (f *firstLoss) Step(p train.Progress) {
	if !f.seen && !math.IsNaN(p.Loss) {
		f.loss, f.seen = p.Loss, true
	}
	f.Reporter.Step(p)
}

func (s *stages) evaluate(ctx context.Context) error {
	if !s.has(data.IDTS) && !s.has(data.ODTS) {
		s.report = &eval.Report{Models: make([]eval.ModelReport, 1)}
		if err := s.say("evaluate", "not possible: these logs are too few for a held-out set (20 records are the least)"); err != nil {
			return err
		}
		_, err := io.WriteString(s.Account, table(s.report))
		return err
	}
	bar := progress.New(s.Remarks, "evaluate", s.Quiet)
	report, err := eval.Intrinsic(ctx, eval.Options{
		Models: []string{s.path("run")}, Data: s.path("data"), Pieces: s.size.evalPieces, Seed: s.Seed, Threads: s.Threads,
		Progress: bar.Staged("evaluate"),
	})
	bar.Done()
	if err != nil {
		return err
	}
	s.report = report
	if err := s.say("evaluate", "perplexity and accuracy of masked content tokens on logs never trained on"); err != nil {
		return err
	}
	_, err = io.WriteString(s.Account, table(report))
	return err
}

// has tells whether the data folder holds a split.
func (s *stages) has(split data.Split) bool {
	_, err := os.Stat(s.path("data", split.String()))
	return err == nil
}

// table lays out IDTS and ODTS with the baselines.
func table(r *eval.Report) string {
	var b strings.Builder
	row := func(cells ...string) {
		fmt.Fprintf(&b, "           %-5s %-16s %12s %10s %11s\n", cells[0], cells[1], cells[2], cells[3], cells[4])
	}
	row("set", "system", "perplexity", "accuracy", "bits/byte")
	for _, name := range []string{"idts", "odts"} {
		set := r.Models[0].Sets[name]
		if set == nil {
			row(strings.ToUpper(name), "not in this data", "-", "-", "-")
			continue
		}
		line := func(label, system string, m *eval.Metrics) {
			row(label, system, number(m.Perplexity, 2), number(m.Accuracy, 3), number(m.BitsPerByte, 3))
		}
		line(strings.ToUpper(name), "model", &set.Metrics)
		if set.Baselines != nil {
			line("", "unigram", &set.Baselines.Unigram)
			line("", "left neighbour", &set.Baselines.LeftNeighbour)
		}
	}
	return b.String()
}

func number(f eval.Figure, decimals int) string {
	if math.IsNaN(float64(f)) {
		return "-"
	}
	return fmt.Sprintf("%.*f", decimals, float64(f))
}

func (s *stages) neighbours(ctx context.Context) error {
	encoder, err := model.Load(s.path("run"), model.WithThreads(s.Threads))
	if err != nil {
		return err
	}
	s.encoder = encoder
	lines, err := s.someLines(s.size.neighbours)
	if err != nil {
		return err
	}
	for i, l := range lines {
		lines[i] = cut(l, 2000)
	}
	vectors, err := encoder.Embed(ctx, lines)
	if err != nil {
		return err
	}
	query := len(lines) / 3
	order := nearest(vectors, query)
	if err := s.say("embed", "%s lines; nearest to: %s", units.Count(len(lines)), printable.String(cut(lines[query], 120))); err != nil {
		return err
	}
	for _, i := range order[:min(2, len(order))] {
		if _, err := fmt.Fprintf(s.Account, "           %.3f  %s\n", cosine(vectors[query], vectors[i]), printable.String(cut(lines[i], 120))); err != nil {
			return err
		}
	}
	return nil
}

// nearest returns the indices of all other vectors, nearest by cosine first.
func nearest(vectors [][]float32, query int) []int {
	var order []int
	similarity := make([]float64, len(vectors))
	for i, v := range vectors {
		if i != query {
			order = append(order, i)
			similarity[i] = cosine(vectors[query], v)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return similarity[order[a]] > similarity[order[b]] })
	return order
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

func (s *stages) export(ctx context.Context) error {
	if _, err := model.Export(model.TransferOptions{In: s.path("run"), Out: s.path("hf"), Tool: s.Tool}); err != nil {
		return err
	}
	// Read back what was written: the exported folder must give the same vectors.
	exported, err := model.Load(s.path("hf"), model.WithThreads(s.Threads))
	if err != nil {
		return err
	}
	lines, err := s.someLines(8)
	if err != nil {
		return errors.Join(err, exported.Close())
	}
	ours, err := s.encoder.Embed(ctx, lines)
	if err != nil {
		return errors.Join(err, exported.Close())
	}
	theirs, err := exported.Embed(ctx, lines)
	if err != nil {
		return errors.Join(err, exported.Close())
	}
	for i := range ours {
		if !slices.Equal(ours[i], theirs[i]) {
			return errors.Join(fmt.Errorf("%s: gives another vector than the run for line %d", s.path("hf"), i+1), exported.Close())
		}
	}
	if err := exported.Close(); err != nil {
		return err
	}
	return s.say("export", "%s, read back: same vectors; HuggingFace loads it: AutoModelForMaskedLM.from_pretrained(%q)", s.path("hf"), s.path("hf"))
}

func (s *stages) close() error {
	if s.encoder == nil {
		return nil
	}
	return s.encoder.Close()
}

func (s *stages) farewell(took time.Duration) error {
	next := "secencoder quickstart --in YOUR-LOGS --out my-first-model"
	if len(s.In) > 0 {
		next = fmt.Sprintf("secencoder pretrain --data %s --out longer --size mini --time 2h", s.path("data"))
	}
	_, err := fmt.Fprintf(s.Account, "done in %s; everything is in %s\nnext: %s\n      secencoder fill-mask --model %s 'Failed [MASK] for root'\n",
		progress.Duration(took), s.Out, next, s.path("hf"))
	return err
}

// learned answers whether the model beats the unigram baseline in distribution by ln 2 nats a token, where it saw
// enough tokens to be judged.
func (s *stages) learned() error {
	set := s.report.Models[0].Sets[data.IDTS.String()]
	if set == nil || set.Baselines == nil || set.Tokens == 0 {
		fmt.Fprintln(s.Remarks, "remark: no IDTS in this data: whether the model learned cannot be said")
		return nil
	}
	got, bar := float64(set.CrossEntropy), float64(set.Baselines.Unigram.CrossEntropy)-math.Ln2
	switch {
	case got <= bar:
		return nil
	case s.trained.Tokens < learnFrom:
		if !s.Quiet {
			fmt.Fprintf(s.Remarks, "remark: %s training tokens are too few to judge the model (%s are enough)\n",
				units.Count(s.trained.Tokens), units.Count(learnFrom))
		}
		return nil
	}
	return fmt.Errorf("%w: IDTS cross-entropy %.3f nats, want at most %.3f (unigram less ln 2)", ErrNotLearned, got, bar)
}

// cut shortens a line for display at a character's border.
func cut(line string, n int) string {
	line = strings.ToValidUTF8(line, "?")
	if len(line) <= n {
		return line
	}
	b := []byte(line[:n])
	return string(bytes.ToValidUTF8(b, nil)) + "…"
}
