package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/atomicfile"
)

const (
	metricsColumns = "step,tokens,loss,learning_rate,grad_norm,tokens_per_second,data_wait,skipped"
	evalColumns    = "step,tokens,set,cross_entropy,perplexity,accuracy,bits_per_byte,masked,documents"
)

// metricsRow is one step in metrics.csv. NaN fields are left empty: there was nothing to measure.
type metricsRow struct {
	step            int
	tokens          int64 // framed tokens seen since step 1, padding not counted
	loss            float64
	rate            float64
	norm            float64 // of the gradients, before clipping
	tokensPerSecond float64
	wait            float64 // seconds that the step waited for data
	skipped         int     // updates left out since step 1
}

func (r metricsRow) String() string {
	return fmt.Sprintf("%d,%d,%s,%s,%s,%s,%s,%d\n", r.step, r.tokens, cell(r.loss), cell(r.rate), cell(r.norm),
		cell(math.Round(r.tokensPerSecond*10)/10), strconv.FormatFloat(r.wait, 'f', 6, 64), r.skipped)
}

// cell prints the shortest decimal that reads back as v, "inf" and "-inf" for infinities, nothing for NaN.
func cell(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func evalRow(step int, tokens int64, s eval.Sample) string {
	return fmt.Sprintf("%d,%d,%s,%s,%s,%s,%s,%d,%d\n", step, tokens, s.Set, cell(s.CrossEntropy), cell(s.Perplexity),
		cell(s.Accuracy), cell(s.BitsPerByte), s.Masked, s.Documents)
}

// table is a CSV file that grows by whole rows, each written at once, and reaches the disk by Sync. A crash loses rows
// behind the last Sync at most, and those lie behind the last checkpoint.
type table struct{ f *os.File }

// createTable opens a CSV file for appending and cuts rows behind step, which is the first cell of every row; a torn
// last row goes too. Without a file, or with another header, it begins anew.
func createTable(path, columns string, step int) (*table, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	kept, err := rowsUpTo(old, columns, step)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !bytes.Equal(old, kept) || len(old) == 0 {
		if err := atomicfile.WriteFile(path, func(w io.Writer) error {
			_, err := w.Write(kept)
			return err
		}); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return &table{f}, nil
}

// rowsUpTo returns the header and the whole rows whose step is at most step.
func rowsUpTo(text []byte, columns string, step int) ([]byte, error) {
	kept := []byte(columns + "\n")
	if len(text) == 0 {
		return kept, nil
	}
	rest, ok := bytes.CutPrefix(text, kept)
	if !ok {
		return nil, fmt.Errorf("line 1: want the columns %s", columns)
	}
	for line := 2; len(rest) > 0; line++ {
		row, after, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			break // torn by a crash
		}
		first, _, _ := strings.Cut(string(row), ",")
		at, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("line %d: step %q is not a number", line, first)
		}
		if at > step {
			break
		}
		kept = append(append(kept, row...), '\n')
		rest = after
	}
	return kept, nil
}

func (t *table) add(row string) error {
	_, err := t.f.WriteString(row)
	return err
}

func (t *table) sync() error { return t.f.Sync() }

func (t *table) close() error { return errors.Join(t.f.Sync(), t.f.Close()) }

// hasRow tells whether a table has a whole row of a step.
func hasRow(path string, step int) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	return bytes.Contains(whole, fmt.Appendf(nil, "\n%d,", step)), nil
}
