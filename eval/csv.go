package eval

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// csvColumns are the columns of an aggregated evaluation file: one row is one figure of one system on one set.
var csvColumns = strings.Split("schema_version,run_id,started_at_utc,commit,dirty,task,variant,dataset,dataset_sha256,"+
	"dataset_lines,split,system,model_name,model_sha256,params,tokenizer_sha256,pooling,layer,normalize,max_tokens,"+
	"truncated_share,seed,metric,value,ci_low,ci_high,n,higher_is_better,threshold_rule,protocol,hardware,dtype,threads,"+
	"wall_s,tokens,notes", ",")

// csvProtocol names the rules behind the figures; a change of a rule is a new number.
const csvProtocol = "intrinsic-mlm/1"

// AppendCSV appends the report's rows to a CSV file, which is made with a header when absent or empty. A file whose
// header is another one is left as it is: the error says so. The rows reach the disk in one write.
func (r *Report) AppendCSV(path string, started time.Time) (err error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		if err := w.Write(csvColumns); err != nil {
			return err
		}
	} else if err := checkCSV(f, info); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, row := range r.rows(started) {
		if err := w.Write(row); err != nil {
			return err
		}
	}
	if w.Flush(); w.Error() != nil {
		return w.Error()
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		return err
	}
	return f.Sync()
}

// checkCSV says whether f is one of ours that can be appended to: our header, and a line end at its end.
func checkCSV(f *os.File, info fs.FileInfo) error {
	head := csv.NewReader(io.NewSectionReader(f, 0, 1<<16))
	columns, err := head.Read()
	if err != nil || !slices.Equal(columns, csvColumns) {
		return errors.New("line 1: not the header of an evaluation file; nothing was appended")
	}
	end := make([]byte, 1)
	if _, err := f.ReadAt(end, info.Size()-1); err != nil {
		return err
	}
	if end[0] != '\n' {
		return errors.New("the last line has no end (file cut short?); nothing was appended")
	}
	return nil
}

// rows lists one row a figure: by model, set, mask, source, system, metric.
func (r *Report) rows(started time.Time) [][]string {
	commit, dirty := version()
	runID := started.UTC().Format("20060102T150405.000000000Z")
	var rows [][]string
	for i := range r.Models {
		model := &r.Models[i]
		fixed := map[string]string{
			"schema_version": "1", "run_id": runID, "started_at_utc": started.UTC().Format(time.RFC3339),
			"commit": commit, "dirty": dirty, "task": "intrinsic",
			"dataset": filepath.Base(filepath.Clean(r.Data)), "dataset_sha256": r.DataSHA,
			"model_name": model.Model, "model_sha256": model.ModelHash, "params": strconv.FormatInt(model.Parameters, 10),
			"tokenizer_sha256": model.Tokenizer, "max_tokens": strconv.Itoa(model.Context), "seed": strconv.FormatUint(r.Seed, 10),
			"protocol": csvProtocol, "hardware": runtime.GOOS + "/" + runtime.GOARCH + " " + r.Kernels, "dtype": r.DType,
			"threads": strconv.Itoa(r.Threads), "wall_s": number(model.Seconds),
		}
		if model.Retokenized {
			fixed["notes"] = "records decoded and encoded again with the model's tokenizer"
		}
		add := func(split, variant, system string, m *Metrics) {
			for _, f := range []struct {
				name     string
				value    Figure
				interval Interval
				higher   string
			}{
				{"perplexity", m.Perplexity, m.PerplexityInterval, "false"},
				{"accuracy", m.Accuracy, m.AccuracyInterval, "true"},
				{"bits_per_byte", m.BitsPerByte, m.BitsPerByteInterval, "false"},
				{"cross_entropy", m.CrossEntropy, m.CrossEntropyInterval, "false"},
			} {
				row := make([]string, len(csvColumns))
				for c, column := range csvColumns {
					row[c] = guard(fixed[column])
				}
				set := func(column, value string) { row[slices.Index(csvColumns, column)] = value }
				set("split", guard(split))
				set("variant", guard(variant))
				set("system", system)
				set("dataset_lines", strconv.Itoa(m.Documents))
				set("metric", f.name)
				set("value", number(float64(f.value)))
				set("ci_low", number(float64(f.interval[0])))
				set("ci_high", number(float64(f.interval[1])))
				set("n", strconv.FormatInt(m.Tokens, 10))
				set("tokens", strconv.FormatInt(m.Tokens, 10))
				set("higher_is_better", f.higher)
				rows = append(rows, row)
			}
		}
		for _, name := range setNames(model.Sets) {
			set := model.Sets[name]
			parts := []struct {
				split string
				*SourceReport
			}{{name, &set.SourceReport}}
			var sources []string
			for s := range set.Sources {
				sources = append(sources, s)
			}
			slices.Sort(sources)
			for _, s := range sources {
				parts = append(parts, struct {
					split string
					*SourceReport
				}{name + "/" + s, set.Sources[s]})
			}
			for _, part := range parts {
				for _, mask := range []string{"content", "all"} {
					m := part.of(mask)
					if m == nil {
						continue
					}
					add(part.split, "mask="+mask, "model", &m.Metrics)
					if m.Baselines != nil {
						add(part.split, "mask="+mask, "unigram", &m.Baselines.Unigram)
						add(part.split, "mask="+mask, "left_neighbour", &m.Baselines.LeftNeighbour)
					}
				}
			}
		}
	}
	return rows
}

// number prints 17 significant digits, so that the value reads back as the same float64; nothing where there is none.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return strconv.FormatFloat(v, 'g', 17, 64)
}

// guard keeps spreadsheets from running a cell as a formula.
func guard(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// version returns what the build knows of its commit.
func version() (commit, dirty string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			dirty = s.Value
		}
	}
	return commit, dirty
}
