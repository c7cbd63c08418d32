package train

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/internal/manifest"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrDamaged says that a table or an event file of a run is not what its run wrote.
var ErrDamaged = errors.New("damaged")

// Check looks at the files of a run folder that its manifest does not hash: config.yaml, and those that grow, metrics.csv,
// eval.csv and the event files under tb. It wants them to be whole up to the newest checkpoint, every event to agree with its checksum, and the tables
// to agree with the learning-rate schedule and with the events. Rows and events behind the newest checkpoint may be torn,
// as a killed run leaves them. It changes nothing and may run beside training. It returns what it found in words; the
// error names file and place, and wraps ErrDamaged where something differs.
func Check(dir string) ([]string, error) {
	run, err := inspectRun(dir)
	if err != nil {
		return nil, err
	}
	if !run.begun {
		return nil, fmt.Errorf("%s: no run has begun in it", dir)
	}
	if err := checkConfig(dir); err != nil {
		return nil, err
	}
	if len(run.steps) == 0 {
		return []string{dir + ": no checkpoint yet"}, nil
	}
	newest := run.steps[len(run.steps)-1]
	st, err := readState(filepath.Join(dir, checkpointsName, stepPrefix+strconv.Itoa(newest)))
	if err != nil {
		return nil, err
	}
	if err := checkBest(dir, newest, st); err != nil {
		return nil, err
	}
	points, events, err := readEvents(filepath.Join(dir, curvesName))
	if err != nil {
		return nil, err
	}
	rate, err := newSchedule(&run.config)
	if err != nil {
		return nil, err
	}
	rows, err := checkTable(filepath.Join(dir, metricsName), metricsColumns, newest, func(i int, row []string) error {
		return checkMetrics(i+1, row, rate, st, points)
	})
	if err != nil {
		return nil, err
	}
	if rows < newest {
		return nil, fmt.Errorf("%s: %w: %d steps, the newest checkpoint has %d", filepath.Join(dir, metricsName), ErrDamaged, rows, newest)
	}
	last, sets := 0, map[int]int{}
	evaluated, err := checkTable(filepath.Join(dir, evalName), evalColumns, newest, func(_ int, row []string) (err error) {
		last, err = checkEvaluation(last, row, points)
		sets[last]++
		return err
	})
	if err != nil {
		return nil, err
	}
	if last < st.Evaluated && run.config.EvalEvery > 0 && st.Best != nil {
		return nil, fmt.Errorf("%s: %w: ends with step %d, the newest checkpoint was evaluated at %d", filepath.Join(dir, evalName),
			ErrDamaged, last, st.Evaluated)
	}
	for step, n := range sets {
		if n != sets[last] {
			return nil, fmt.Errorf("%s: %w: %d rows of step %d, %d of step %d", filepath.Join(dir, evalName), ErrDamaged, n, step, sets[last], last)
		}
	}
	if _, ok := points[point{newest, "train/learning_rate"}]; !ok {
		return nil, fmt.Errorf("%s: %w: no event of step %d, which the newest checkpoint has", filepath.Join(dir, curvesName), ErrDamaged, newest)
	}
	return []string{fmt.Sprintf("%s: %d steps in metrics.csv, %d rows in eval.csv, %d events: whole, and they agree", dir, rows, evaluated, events)}, nil
}

// checkConfig holds config.yaml against its last line.
func checkConfig(dir string) error {
	m, err := manifest.Read(dir)
	if err != nil || m.Schema == 1 { // begun by a version that wrote no such line
		return err
	}
	path := filepath.Join(dir, configName)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	above, _, _ := strings.Cut(string(text), seal)
	if !bytes.Equal(text, sealed(above)) {
		return fmt.Errorf("%s: %w: it does not end with the SHA-256 of its lines (changed by hand, or cut short? the settings of a run stay as they were)", path, ErrDamaged)
	}
	return nil
}

// checkBest wants checkpoints/best to name what the newest checkpoint's state does. A run killed right behind the checkpoint
// may not have named it yet; checkpoints/last, which is written behind it, tells.
func checkBest(dir string, newest int, st *State) error {
	last, err := os.ReadFile(filepath.Join(dir, checkpointsName, lastName))
	if err != nil {
		return err
	}
	if st.Best == nil || st.Best.Step == newest && string(last) != stepPrefix+strconv.Itoa(newest)+"\n" {
		return nil
	}
	path := filepath.Join(dir, checkpointsName, bestName)
	line, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	madeUp := st.Evaluated < st.Step && string(line) == stepPrefix+strconv.Itoa(newest)+"\n" // evaluated after it was written
	if want := stepPrefix + strconv.Itoa(st.Best.Step) + "\n"; string(line) != want && !madeUp {
		return fmt.Errorf("%s: %w: %q, want %q", path, ErrDamaged, line, want)
	}
	return nil
}

// checkTable hands the rows of steps up to newest to check, cells apart, and returns their number.
func checkTable(path, columns string, newest int, check func(i int, row []string) error) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	kept, err := rowsUpTo(text, columns, newest)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(kept), "\n"), "\n")
	want := strings.Count(columns, ",") + 1
	for i, line := range lines[1:] {
		row := strings.Split(line, ",")
		err := fmt.Errorf("%d cells, want %d", len(row), want)
		if len(row) == want {
			err = check(i, row)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: line %d: %w: %w", path, i+2, ErrDamaged, err)
		}
	}
	return len(lines) - 1, nil
}

func checkMetrics(step int, row []string, rate schedule, st *State, points map[point]float32) error {
	if row[0] != strconv.Itoa(step) {
		return fmt.Errorf("step %q, want %d", row[0], step)
	}
	if want := cell(rate.rate(step)); row[3] != want {
		return fmt.Errorf("learning_rate %q, want %s", row[3], want)
	}
	tokens, err := strconv.ParseInt(row[1], 10, 64)
	if err != nil || tokens < 0 || tokens > st.Tokens || step == st.Step && tokens != st.Tokens {
		return fmt.Errorf("tokens %q, the newest checkpoint has %d", row[1], st.Tokens)
	}
	skipped, err := strconv.Atoi(row[7])
	if err != nil || skipped < 0 || skipped > st.skipped() || step == st.Step && skipped != st.skipped() {
		return fmt.Errorf("skipped %q, the newest checkpoint has %d", row[7], st.skipped())
	}
	for i, name := range map[int]string{5: "tokens_per_second", 6: "data_wait"} {
		if v, err := strconv.ParseFloat(row[i], 64); err != nil || !(v >= 0) {
			return fmt.Errorf("%s %q", name, row[i])
		}
	}
	return errors.Join(agree(points, step, "train/loss", row[2]), agree(points, step, "train/gradient_norm", row[4]))
}

// checkEvaluation checks a row of eval.csv behind one of step last, and returns the row's step.
func checkEvaluation(last int, row []string, points map[point]float32) (int, error) {
	step, err := strconv.Atoi(row[0])
	if err != nil || step < 1 || step < last {
		return last, fmt.Errorf("step %q after %d", row[0], last)
	}
	for _, i := range []int{1, 7, 8} {
		if n, err := strconv.ParseInt(row[i], 10, 64); err != nil || n < 0 {
			return last, fmt.Errorf("%q is no count", row[i])
		}
	}
	if row[3] != "" && row[4] != "" {
		ce, err1 := strconv.ParseFloat(row[3], 64)
		perplexity, err2 := strconv.ParseFloat(row[4], 64)
		if err1 != nil || err2 != nil || !(math.Abs(math.Exp(ce)-perplexity) <= 1e-12*perplexity) && !math.IsInf(perplexity, 1) {
			return last, fmt.Errorf("perplexity %q is not exp of the cross-entropy %q", row[4], row[3])
		}
	}
	tag := "eval/" + row[2]
	return step, errors.Join(agree(points, step, tag+"/perplexity", row[4]), agree(points, step, tag+"/accuracy", row[5]),
		agree(points, step, tag+"/bits_per_byte", row[6]))
}

// point is a place on a curve.
type point struct {
	step int
	tag  string
}

// agree compares a cell with the event of its step. Events have no NaN, which is an empty cell.
func agree(points map[point]float32, step int, tag, text string) error {
	got, ok := points[point{step, tag}]
	if text == "" && !ok {
		return nil
	}
	want, err := strconv.ParseFloat(text, 64)
	if err != nil || !ok || float32(want) != got {
		return fmt.Errorf("%q, the event %s of step %d has %v", text, tag, step, got)
	}
	return nil
}

// readEvents reads all event files of a folder in the order of their names: a START drops the points behind it.
func readEvents(dir string) (points map[point]float32, records int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	points = map[point]float32{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "events.out.tfevents.") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, 0, err
		}
		for at := 0; at < len(text); records++ {
			message, size, err := nextRecord(text[at:])
			if errors.Is(err, io.ErrUnexpectedEOF) {
				break // torn by a crash
			}
			if err == nil {
				err = readEvent(message, points)
			}
			if err != nil {
				return nil, 0, fmt.Errorf("%s: byte %d: %w: %w", path, at, ErrDamaged, err)
			}
			at += size
		}
	}
	return points, records, nil
}

// nextRecord returns the message of the first TFRecord of b and the record's size; io.ErrUnexpectedEOF when b is too short.
func nextRecord(b []byte) (message []byte, size int, err error) {
	const header, footer = 12, 4
	if len(b) < header {
		return nil, 0, io.ErrUnexpectedEOF
	}
	if got, want := maskedCRC(b[:8]), binary.LittleEndian.Uint32(b[8:]); got != want {
		return nil, 0, fmt.Errorf("checksum of a length is %#x, want %#x", got, want)
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)) || len(b) < header+int(n)+footer {
		return nil, 0, io.ErrUnexpectedEOF
	}
	message = b[header : header+int(n)]
	if got, want := maskedCRC(message), binary.LittleEndian.Uint32(b[header+n:]); got != want {
		return nil, 0, fmt.Errorf("checksum of an event is %#x, want %#x", got, want)
	}
	return message, header + int(n) + footer, nil
}

// readEvent adds the points of an event; a START takes those of its step and behind away.
func readEvent(message []byte, points map[point]float32) error {
	step, start := 0, false
	var summary []byte
	err := fields(message, func(number protowire.Number, n uint64, b []byte) error {
		switch number {
		case 2:
			step = int(n)
		case 5:
			summary = b
		case 7:
			start = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if start {
		for p := range points {
			if p.step >= step {
				delete(points, p)
			}
		}
	}
	return fields(summary, func(_ protowire.Number, _ uint64, value []byte) error {
		p, x := point{step: step}, uint64(0)
		err := fields(value, func(number protowire.Number, n uint64, b []byte) error {
			switch number {
			case 1:
				p.tag = string(b)
			case 2:
				x = n
			}
			return nil
		})
		points[p] = math.Float32frombits(uint32(x))
		return err
	})
}

// fields calls do for each field of a protobuf message: n for numbers, b for bytes.
func fields(message []byte, do func(number protowire.Number, n uint64, b []byte) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var n uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var x uint32
			x, size = protowire.ConsumeFixed32(message)
			n = uint64(x)
		case protowire.Fixed64Type:
			n, size = protowire.ConsumeFixed64(message)
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(message)
		default:
			return fmt.Errorf("field %d has wire type %d", number, kind)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := do(number, n, b); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}
