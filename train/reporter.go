package train

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/units"
)

// Plan is what a run is going to do, known before its first step.
type Plan struct {
	Size          string
	Layers        int
	Hidden        int
	Parameters    int
	Vocabulary    int
	Documents     int           // of the train split
	TrainTokens   int64         // of the train split, without [CLS] and [SEP]
	MemoryBytes   int64         // promised: parameters, optimizer, plans
	Available     int64         // bytes that the process may use; 0 when unknown
	Recompute     string        // policy
	Micro         int           // tokens of a micro-batch
	Asked         int           // tokens of a step that were asked for; micro-batches of whole pieces may make others
	Accumulate    int           // micro-batches of a step
	Context       int           // longest piece
	Steps, Done   int           // steps promised, done before (resumed)
	StepTime      time.Duration // measured by the probe
	Expected      time.Duration // of the steps to come
	EvalEvery     int           // 0: never
	Kernels       string        // family
	KernelsReason string
	Threads       int
}

// Progress is one step that was done.
type Progress struct {
	Step, Steps     int
	Tokens          int64
	Loss            float64 // NaN when nothing was masked
	Rate            float64
	Norm            float64
	TokensPerSecond float64
	Skipped         int
	Left            time.Duration // estimate
}

// Reporter hears what happens in a run. Its methods are called by the goroutine that called Run, one at a time.
type Reporter interface {
	// Plan is called once, before the first step.
	Plan(Plan)
	// Step is called after each step.
	Step(Progress)
	// Evaluated is called after each evaluation; best tells that it improved on all earlier ones of the valid set.
	Evaluated(step int, samples []eval.Sample, best bool)
	// Checkpoint is called when the folder stands.
	Checkpoint(step int, folder string)
	// Remark is called with one line that the person should see.
	Remark(text string)
}

// silent is the Reporter that nobody asked for.
type silent struct{}

func (silent) Plan(Plan)                          {}
func (silent) Step(Progress)                      {}
func (silent) Evaluated(int, []eval.Sample, bool) {}
func (silent) Checkpoint(int, string)             {}
func (silent) Remark(string)                      {}

// TextReporter writes plain lines: the plan, a line of progress every few seconds, evaluations and remarks. The zero
// value with W set is ready. A write error is not reported: progress is not a result.
type TextReporter struct {
	W     io.Writer
	Every time.Duration // between lines of progress; 0 means 10 s

	mu   sync.Mutex
	last time.Time
}

// Plan implements Reporter.
func (t *TextReporter) Plan(p Plan) { t.line("%s", strings.Join(p.Lines(), "\n")) }

// Lines describes the plan in four lines.
func (p *Plan) Lines() []string {
	batches := "1 micro-batch"
	if p.Accumulate > 1 {
		batches = fmt.Sprintf("%d micro-batches", p.Accumulate)
	}
	memory := units.FormatSize(p.MemoryBytes)
	if p.Available > 0 {
		memory += " of " + units.FormatSize(p.Available) + " available"
	}
	steps := units.Count(p.Steps) + " steps"
	if p.Done > 0 {
		steps = fmt.Sprintf("steps %s to %s", units.Count(p.Done+1), units.Count(p.Steps))
	}
	asked := ""
	if p.Asked != p.Micro*p.Accumulate {
		asked = ", not the " + units.Count(p.Asked) + " asked for"
	}
	return []string{
		fmt.Sprintf("%s: %d layers × %d, %s parameters, vocabulary %s", strings.TrimSpace("model "+p.Size), p.Layers, p.Hidden,
			units.Count(p.Parameters), units.Count(p.Vocabulary)),
		fmt.Sprintf("data: %s documents, %s tokens", units.Count(p.Documents), units.Count(p.TrainTokens)),
		fmt.Sprintf("memory %s, recomputation %s; kernels %s on %d threads (%s)", memory, p.Recompute, p.Kernels, p.Threads, p.KernelsReason),
		fmt.Sprintf("%s tokens a step (%s of %s, context %s%s), %s, expected time %s (%s a step)",
			units.Count(p.Micro*p.Accumulate), batches, units.Count(p.Micro), units.Count(p.Context), asked, steps,
			rounded(p.Expected), rounded(p.StepTime)),
	}
}

// rounded cuts a duration to what a person reads.
func rounded(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	case d >= 10*time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// Step implements Reporter.
func (t *TextReporter) Step(p Progress) {
	every := t.Every
	if every == 0 {
		every = 10 * time.Second
	}
	now := time.Now()
	if now.Sub(t.last) < every && p.Step != p.Steps {
		return
	}
	t.last = now
	t.line("%s", p.String())
}

// String describes the step in one line.
func (p *Progress) String() string {
	loss := "nothing masked"
	if !math.IsNaN(p.Loss) {
		loss = fmt.Sprintf("loss %.3f", p.Loss)
	}
	s := fmt.Sprintf("step %s/%s  %s  %s tokens/s  %s left", units.Count(p.Step), units.Count(p.Steps), loss,
		units.Count(int64(p.TokensPerSecond)), rounded(p.Left))
	if p.Skipped > 0 {
		s += fmt.Sprintf("  %d skipped", p.Skipped)
	}
	return s
}

// Evaluated implements Reporter.
func (t *TextReporter) Evaluated(step int, samples []eval.Sample, best bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "step %s evaluation:", units.Count(step))
	for _, s := range samples {
		if s.Masked == 0 {
			fmt.Fprintf(&b, "  %s nothing masked", s.Set)
			continue
		}
		fmt.Fprintf(&b, "  %s perplexity %.2f accuracy %.3f", s.Set, s.Perplexity, s.Accuracy)
	}
	if best {
		b.WriteString("  (best)")
	}
	t.line("%s", b.String())
}

// Checkpoint implements Reporter.
func (t *TextReporter) Checkpoint(int, string) {}

// Remark implements Reporter.
func (t *TextReporter) Remark(text string) { t.line("%s", text) }

func (t *TextReporter) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.W, format+"\n", args...)
}
