package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckFindsDamage changes the files of a run that no hash covers, a byte at a time.
func TestCheckFindsDamage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	if _, err := Run(context.Background(), small(t, out, 6)); err != nil {
		t.Fatal(err)
	}
	// A resumed run has two event files, the second of which begins with a START.
	if err := errors.Join(os.RemoveAll(filepath.Join(out, checkpointsName, "step-6")), os.WriteFile(filepath.Join(out, checkpointsName, lastName), []byte("step-4\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	o := small(t, out, 6)
	o.Resume = true
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	lines, err := Check(out)
	if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "6 steps in metrics.csv") {
		t.Fatalf("%q, %v", lines, err)
	}
	events, err := filepath.Glob(filepath.Join(out, curvesName, "*"))
	if err != nil || len(events) != 2 {
		t.Fatalf("event files %v, %v", events, err)
	}
	for _, path := range append(events, filepath.Join(out, configName), filepath.Join(out, metricsName), filepath.Join(out, evalName)) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(harmed []byte, what string) {
			t.Helper()
			if err := os.WriteFile(path, harmed, 0o666); err != nil {
				t.Fatal(err)
			}
			if _, err := Check(out); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), out) {
				t.Errorf("%s: %s: %v", filepath.Base(path), what, err)
			}
		}
		for i := 0; i < len(text); i += 3 {
			if loose(path, text, i) {
				continue
			}
			harmed := bytes.Clone(text)
			harmed[i] ^= 1
			check(harmed, fmt.Sprintf("byte %d, %q", i, text[i]))
		}
		if path != events[0] { // its end lies behind the second one's START
			check(text[:len(text)-1], "cut short")
		}
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		// What a killed run leaves behind the newest checkpoint is no damage.
		if path == events[0] || filepath.Base(path) == configName {
			continue
		}
		if err := os.WriteFile(path, append(bytes.Clone(text), "7,1"...), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(out); err != nil {
			t.Errorf("%s: torn behind the checkpoint: %v", filepath.Base(path), err)
		}
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		if path == events[1] {
			continue // the first one has all steps too
		}
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(out); err == nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: missing: %v", filepath.Base(path), err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
}

// loose tells whether byte i stands in a column that nothing else repeats: times, and the counts of eval.csv; and the last
// digits of a figure, of which the events have the first seven.
func loose(path string, text []byte, i int) bool {
	start := bytes.LastIndexByte(text[:i], '\n') + 1
	if start == 0 || text[i] == '\n' {
		return false
	}
	column := bytes.Count(text[start:i], []byte(","))
	cellStart := start + bytes.LastIndexByte(text[start:i], ',') + 1
	if text[i] == ',' {
		return false
	}
	switch filepath.Base(path) {
	case metricsName:
		return column == 1 || column == 5 || column == 6 || column != 3 && i-cellStart > 6
	case evalName:
		return column == 1 || column == 7 || column == 8 || i-cellStart > 6
	}
	return false
}
