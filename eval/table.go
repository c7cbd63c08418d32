package eval

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// setOrder is how sets follow each other in tables and rows.
var setOrder = []string{"idts", "odts", "valid", "train"}

// setNames returns the names of sets in setOrder, then any others by name.
func setNames(sets map[string]*SetReport) []string {
	var names []string
	for _, n := range setOrder {
		if sets[n] != nil {
			names = append(names, n)
		}
	}
	var rest []string
	for n := range sets {
		if !slices.Contains(setOrder, n) {
			rest = append(rest, n)
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}

// Table writes the report for people: a block a set with a line a model and baseline, mask set content first, then all,
// then the sources of each set. Intervals are 95 % bootstrap intervals over documents.
func (r *Report) Table(w io.Writer) error {
	t := &textTable{}
	t.row("set", "mask", "model", "perplexity", "[95 %]", "accuracy", "[95 %]", "bits/byte", "masked")
	var names []string
	for i := range r.Models {
		for _, n := range setNames(r.Models[i].Sets) {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	for _, name := range names {
		for _, mask := range []string{"content", "all"} {
			r.block(t, strings.ToUpper(name), mask, func(m *ModelReport) *Measured {
				set := m.Sets[name]
				if set == nil {
					return nil
				}
				return set.of(mask)
			})
		}
	}
	for _, name := range names {
		var sources []string
		for i := range r.Models {
			if set := r.Models[i].Sets[name]; set != nil {
				for s := range set.Sources {
					if !slices.Contains(sources, s) {
						sources = append(sources, s)
					}
				}
			}
		}
		slices.Sort(sources)
		if len(sources) < 2 {
			continue
		}
		for _, source := range sources {
			r.block(t, strings.ToUpper(name)+" "+source, "content", func(m *ModelReport) *Measured {
				if set := m.Sets[name]; set != nil && set.Sources[source] != nil {
					return &set.Sources[source].Measured
				}
				return nil
			})
		}
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, remark := range r.Remarks {
		if _, err := fmt.Fprintln(w, remark); err != nil {
			return err
		}
	}
	return nil
}

func (s *SourceReport) of(mask string) *Measured {
	if mask == "all" {
		return s.All
	}
	return &s.Measured
}

// block adds the lines of one set, mask and source: models, then baselines. Models that share a tokenizer and context
// share their baselines, which then stand once.
func (r *Report) block(t *textTable, set, mask string, get func(*ModelReport) *Measured) {
	type shared struct {
		tokenizer string
		context   int
	}
	var kinds []shared
	for i := range r.Models {
		if m := get(&r.Models[i]); m != nil {
			t.metrics(set, mask, r.Models[i].Model, &m.Metrics)
			if k := (shared{r.Models[i].Tokenizer, r.Models[i].Context}); m.Baselines != nil && !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	for _, k := range kinds {
		note := ""
		if len(kinds) > 1 {
			note = fmt.Sprintf(" (tokenizer %.8s, context %d)", k.tokenizer, k.context)
		}
		for i := range r.Models {
			m := get(&r.Models[i])
			if m == nil || m.Baselines == nil || k != (shared{r.Models[i].Tokenizer, r.Models[i].Context}) {
				continue
			}
			t.metrics(set, mask, "unigram"+note, &m.Baselines.Unigram)
			t.metrics(set, mask, "left neighbour"+note, &m.Baselines.LeftNeighbour)
			break
		}
	}
}

func (t *textTable) metrics(set, mask, name string, m *Metrics) {
	t.row(set, mask, name,
		figure(m.Perplexity), interval(m.PerplexityInterval),
		figure(m.Accuracy), interval(m.AccuracyInterval),
		figure(m.BitsPerByte), strconv.FormatInt(m.Tokens, 10))
}

// figure prints four significant digits, and a dash where there is nothing.
func figure(f Figure) string {
	v := float64(f)
	switch {
	case math.IsNaN(v):
		return "-"
	case math.IsInf(v, 0) || math.Abs(v) >= 1e6:
		return strconv.FormatFloat(v, 'e', 2, 64)
	case math.Abs(v) >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func interval(i Interval) string {
	if math.IsNaN(float64(i[0])) {
		return "-"
	}
	return figure(i[0]) + " … " + figure(i[1])
}

// textTable aligns columns: the first three to the left, figures to the right.
type textTable struct{ rows [][]string }

const leftColumns = 3

func (t *textTable) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *textTable) write(w io.Writer) error {
	var width []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < leftColumns {
				b.WriteString(cell)
				if i < len(row)-1 {
					b.WriteString(pad)
				}
			} else {
				b.WriteString(pad + cell)
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
