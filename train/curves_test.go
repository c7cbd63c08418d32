package train

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/eval"
)

// TestEventBytes holds a file against bytes made by hand from TensorFlow's format descriptions. The checksums come from
// another implementation (Python's crc32c, masked by its formula), so ours is not compared with itself.
func TestEventBytes(t *testing.T) {
	dir := t.TempDir()
	e, err := createEvents(dir, 8, func() time.Time { return time.Unix(1, 500_000_000) })
	if err != nil {
		t.Fatal(err)
	}
	if err := e.add(7, scalar{"a/b", 1.5}); err != nil {
		t.Fatal(err)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || !strings.HasPrefix(names[0].Name(), "events.out.tfevents.0000000001.") {
		t.Fatalf("files %v, %v", names, err)
	}
	got, err := os.ReadFile(filepath.Join(dir, names[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(strings.Fields(goldenEvents), ""); hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}

// Two files of one folder sort in the order of their making, even within one second.
func TestEventFilesSort(t *testing.T) {
	dir := t.TempDir()
	var made []string
	for range 3 {
		e, err := createEvents(dir, 1, func() time.Time { return time.Unix(99, 0) })
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, e.f.Name())
		if err := e.close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(made) || made[0] == made[1] {
		t.Errorf("files %v", made)
	}
}

func TestRowsUpTo(t *testing.T) {
	const columns = "step,x"
	for _, c := range []struct{ text, want string }{
		{"", "step,x\n"},
		{"step,x\n", "step,x\n"},
		{"step,x\n1,a\n2,b\n3,c\n", "step,x\n1,a\n2,b\n"},
		{"step,x\n1,a\n2,b", "step,x\n1,a\n"},
		{"step,x\n1,a\n2,b\n2,c\n", "step,x\n1,a\n2,b\n2,c\n"},
	} {
		if got, err := rowsUpTo([]byte(c.text), columns, 2); err != nil || string(got) != c.want {
			t.Errorf("%q: got %q, %v", c.text, got, err)
		}
	}
	for _, text := range []string{"a,b\n1,2\n", "step,x\none,2\n"} {
		if _, err := rowsUpTo([]byte(text), columns, 2); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestRowsHaveTheirColumns(t *testing.T) {
	row := metricsRow{step: 3, tokens: 1000, loss: 2.5, rate: 1e-3, norm: 0.75, tokensPerSecond: 1234.56, wait: 0.25, skipped: 1}
	if got := row.String(); got != "3,1000,2.5,0.001,0.75,1234.6,0.250000,1\n" {
		t.Errorf("got %q", got)
	}
	if got := evalRow(3, 1000, eval.Sample{Set: "valid", CrossEntropy: 1, Perplexity: 2, Accuracy: 0.5, BitsPerByte: 3, Masked: 7, Documents: 2}); got != "3,1000,valid,1,2,0.5,3,7,2\n" {
		t.Errorf("got %q", got)
	}
	for columns, row := range map[string]string{metricsColumns: row.String(), evalColumns: evalRow(1, 2, eval.Sample{Set: "idts"})} {
		if strings.Count(columns, ",") != strings.Count(row, ",") {
			t.Errorf("%q has not the columns %q", row, columns)
		}
	}
}

func TestHasRow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	if err := os.WriteFile(path, []byte("step,x\n12,1\n3"), 0o666); err != nil {
		t.Fatal(err)
	}
	for step, want := range map[int]bool{12: true, 2: false, 1: false, 3: false} {
		if got, err := hasRow(path, step); err != nil || got != want {
			t.Errorf("step %d: %v, %v", step, got, err)
		}
	}
	if bytes.Contains([]byte(goldenEvents), []byte("x")) {
		t.Error("the golden bytes are not hexadecimal")
	}
}

// goldenEvents: file version, START at step 8, and a/b = 1.5 at step 7, all at time 1.5.
const goldenEvents = `
1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c
0f000000000000006d532b0909000000000000f83f10083a0208019571c7d1
19000000000000008bf1082809000000000000f83f10072a0c0a0a0a03612f62150000c03f4363b708
`
