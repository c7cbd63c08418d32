// Package progress shows how far a long piece of work is and how long it still takes.
//
// On a terminal it redraws one line; elsewhere (a file, a pipe, a job's log) it writes a whole line every ten seconds,
// so that logs stay readable. A quiet Bar writes nothing. Begin with New, call Set as often as convenient (it limits
// itself), end with Done. The package knows bytes, counts and times only; wording is the caller's.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	redraw = 100 * time.Millisecond // on a terminal
	report = 10 * time.Second       // elsewhere
)

// Bar is one line of progress. Its methods may be called from several goroutines; a nil *Bar does nothing.
type Bar struct {
	mu       sync.Mutex
	w        io.Writer
	label    string
	terminal bool
	width    int
	begun    time.Time
	before   int64 // units done before begun
	shown    time.Time
	drawn    bool
	now      func() time.Time
}

// New returns a Bar that writes to w under a label; nil, which is silent, when quiet. The time left counts from here.
func New(w io.Writer, label string, quiet bool) *Bar {
	if quiet {
		return nil
	}
	b := &Bar{w: w, label: label, width: 100, now: time.Now}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.terminal = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			b.width = width - 1
		}
	}
	b.begun = b.now()
	b.shown = b.begun
	return b
}

// From says that done units were finished before the bar began, so that the time left counts the others alone.
func (b *Bar) From(done int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = done
}

// Set says that done of total units are finished; total <= 0 means unknown. note is shown behind the time left.
func (b *Bar) Set(done, total int64, note string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	every := report
	if b.terminal {
		every = redraw
	}
	if now.Sub(b.shown) < every {
		return
	}
	b.shown = now
	b.write(line(b.label, b.before, done, total, now.Sub(b.begun), note), false)
}

// Stage renames the bar; the time left counts anew from the moment the name changes.
func (b *Bar) Stage(label string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if label != b.label {
		b.label, b.begun, b.before = label, b.now(), 0
	}
}

// Staged returns a callback for work in several stages: the bar is named "label stage", and each stage has its own time.
func (b *Bar) Staged(label string) func(stage string, done, total int64) {
	return func(stage string, done, total int64) {
		b.Stage(label + " " + stage)
		b.Set(done, total, "")
	}
}

// Note writes a remark on a line of its own, above the bar on a terminal.
func (b *Bar) Note(format string, args ...any) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write(fmt.Sprintf(format, args...), true)
}

// Done ends the bar: the terminal's line is cleared, so that the result printed next stands alone.
func (b *Bar) Done() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal && b.drawn {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.width))
		b.drawn = false
	}
}

// write draws text; whole asks for a line that stays. A write error is not reported: progress is not a result.
func (b *Bar) write(text string, whole bool) {
	if !b.terminal {
		fmt.Fprintln(b.w, text)
		return
	}
	if r := []rune(text); len(r) > b.width && !whole {
		text = string(r[:b.width])
	}
	pad := max(0, b.width-len([]rune(text)))
	if whole {
		fmt.Fprintf(b.w, "\r%s%s\n", text, strings.Repeat(" ", pad))
		return
	}
	fmt.Fprintf(b.w, "\r%s%s", text, strings.Repeat(" ", pad))
	b.drawn = true
}

func line(label string, before, done, total int64, spent time.Duration, note string) string {
	s := label
	switch {
	case total > 0:
		part := min(1, max(0, float64(done)/float64(total)))
		const cells = 24
		full := int(part * cells)
		s += fmt.Sprintf("  [%s%s] %3.0f %%", strings.Repeat("=", full), strings.Repeat(" ", cells-full), 100*part)
		if done > before && done < total {
			s += "  " + Duration(time.Duration(float64(spent)/float64(done-before)*float64(total-done))) + " left"
		}
	default:
		s += fmt.Sprintf("  %d  %s", done, Duration(spent))
	}
	if note != "" {
		s += "  " + note
	}
	return s
}

// Duration prints a time as people read it: 8 s, 2 min 05 s, 3 h 07 min.
func Duration(d time.Duration) string {
	s := int64(d.Seconds() + 0.5)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	default:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
}
