package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// clock is a hand-driven time.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestLinesInAFileComeEveryTenSeconds(t *testing.T) {
	var out bytes.Buffer
	c := &clock{t: time.Unix(0, 0)}
	b := New(&out, "train", false)
	b.now, b.begun, b.shown = c.now, c.t, c.t
	for i := range int64(21) {
		b.Set(i, 40, "loss 3.1")
		c.t = c.t.Add(time.Second)
	}
	b.Done()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines in 20 s, want 2:\n%s", len(lines), out.String())
	}
	if want := "train  [============            ]  50 %  20 s left  loss 3.1"; lines[1] != want {
		t.Errorf("got  %q\nwant %q", lines[1], want)
	}
}

func TestQuietBarIsSilent(t *testing.T) {
	var b *Bar = New(nil, "x", true)
	b.Set(1, 2, "")
	b.Note("x")
	b.Done()
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59600 * time.Millisecond: "1 min 00 s", 125 * time.Second: "2 min 05 s", 11220 * time.Second: "3 h 07 min",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestStageCountsTimeAnew(t *testing.T) {
	var out bytes.Buffer
	c := &clock{t: time.Unix(0, 0)}
	b := New(&out, "read", false)
	b.now, b.begun, b.shown = c.now, c.t, c.t
	c.t = c.t.Add(100 * time.Second)
	b.Stage("encode")
	c.t = c.t.Add(10 * time.Second)
	b.Stage("encode")
	b.Set(1, 4, "")
	if got, want := strings.TrimSpace(out.String()), "encode  [======                  ]  25 %  30 s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTimeLeftOfResumedWork(t *testing.T) {
	var out bytes.Buffer
	c := &clock{t: time.Unix(0, 0)}
	b := New(&out, "train", false)
	b.now, b.begun, b.shown = c.now, c.t, c.t
	b.From(50)
	c.t = c.t.Add(20 * time.Second)
	b.Set(60, 100, "")
	if got, want := strings.TrimSpace(out.String()), "train  [==============          ]  60 %  1 min 20 s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
