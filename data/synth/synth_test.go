package synth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/secencoder/secencoder/internal/atomicfile"
)

func mustWrite(t *testing.T, o Options) (string, Report) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "synth")
	r, err := Write(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.Fatalf("%s does not end in a line feed", path)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

type labelLine struct {
	Line                                        int
	Label, Scenario, Phase, Technique, Campaign string
}

func readLabels(t *testing.T, path string) []labelLine {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []labelLine
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		var l labelLine
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%s: %q: %v", path, s.Text(), err)
		}
		out = append(out, l)
	}
	return out
}

// corpus is one generated set, read back: the lines of each kind, and the label of each line.
type corpus struct {
	report Report
	lines  map[string][]string
	labels map[string]map[int]labelLine // by line number from 1
}

func newCorpus(t *testing.T, o Options) *corpus {
	t.Helper()
	dir, r := mustWrite(t, o)
	c := &corpus{r, map[string][]string{}, map[string]map[int]labelLine{}}
	for _, k := range r.Kinds {
		c.lines[k.Kind] = readLines(t, filepath.Join(dir, filepath.FromSlash(k.Log)))
		c.labels[k.Kind] = map[int]labelLine{}
		last, attack, benign := 0, int64(0), int64(0)
		for _, l := range readLabels(t, filepath.Join(dir, filepath.FromSlash(k.Labels))) {
			if l.Line <= last || l.Line > len(c.lines[k.Kind]) {
				t.Fatalf("%s: label of line %d after %d, of %d", k.Kind, l.Line, last, len(c.lines[k.Kind]))
			}
			last = l.Line
			c.labels[k.Kind][l.Line] = l
			if l.Label == "attack" {
				attack++
			} else {
				benign++
			}
		}
		if int64(len(c.lines[k.Kind])) != k.Lines || attack != k.Attack || benign != k.Benign {
			t.Errorf("%+v, but the files have %d lines, %d attack, %d benign", k, len(c.lines[k.Kind]), attack, benign)
		}
	}
	return c
}

func hashes(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	for _, pattern := range []string{"logs/*", "labels/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = sha256.Sum256(data)
		}
	}
	return out
}

// The same options give the same bytes for any number of threads; windows shorter than an hour included.
func TestSameBytesForAnyThreads(t *testing.T) {
	for _, o := range []Options{{Bytes: 3_000_000}, {Bytes: 55_000_000, Days: 1, Kinds: []string{"windows", "vpcflow", "auth"}}} {
		var want map[string][32]byte
		for _, threads := range []int{1, 2, 7} {
			if o.Days == 1 && threads == 2 {
				continue
			}
			o.Threads = threads
			dir, r := mustWrite(t, o)
			got := hashes(t, dir)
			if len(got) != 2*len(r.Kinds) {
				t.Fatalf("%d files for %d kinds", len(got), len(r.Kinds))
			}
			if want == nil {
				want = got
			}
			for name := range want {
				if got[name] != want[name] {
					t.Errorf("%+v: %s differs from 1 thread's", o, name)
				}
			}
			if o.Days == 1 && r.Bytes < 50_000_000 {
				t.Errorf("%d bytes, too few for windows below an hour", r.Bytes)
			}
		}
	}
	a, _ := mustWrite(t, Options{Bytes: 1_000_000, Seed: 1})
	b, _ := mustWrite(t, Options{Bytes: 1_000_000, Seed: 2})
	ha, hb := hashes(t, a), hashes(t, b)
	for name := range ha {
		if ha[name] == hb[name] {
			t.Errorf("%s is the same for two seeds", name)
		}
	}
}

// A campaign takes the same course whether it is walked in one window or in many.
func TestCampaignsDoNotDependOnWindows(t *testing.T) {
	saved := redelivery
	defer func() { redelivery = saved }()
	redelivery = [nKinds]float64{}
	o := Options{Bytes: 2_000_000, Seed: 5}
	enabled, err := o.resolve()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlan(o, enabled)
	type key struct {
		kind  kind
		label uint32
	}
	count := func(step int64) map[key]int {
		p.step = step
		p.windows = int((p.end - p.start) / step)
		out := map[key]int{}
		for n := range p.windows {
			w := p.window(n)
			w.draw()
			w.campaigns()
			for _, l := range w.lines {
				out[key{l.kind, l.label}]++
			}
		}
		return out
	}
	whole, minutes := count(p.end-p.start), count(10*minute)
	total := 0
	for k, n := range whole {
		total += n
		if minutes[k] != n {
			t.Errorf("kind %s, label %x: %d lines in one window, %d in many", kinds[k.kind].name, k.label, n, minutes[k])
		}
	}
	if total < 500 || len(minutes) != len(whole) {
		t.Errorf("%d lines with %d labels, %d in many windows", total, len(whole), len(minutes))
	}
}

// No line is lost between windows, and files are in the order of arrival.
func TestEveryLineIsWritten(t *testing.T) {
	o := Options{Bytes: 6_000_000, Seed: 5, Kinds: []string{"cloudtrail", "vpcflow", "vpn"},
		Start: time.Date(2025, 3, 3, 13, 45, 0, 0, time.UTC), Days: 3} // ends while people work
	_, r := mustWrite(t, o)
	enabled, err := o.resolve()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlan(o, enabled)
	var want int64
	late := false
	for n := range p.windows {
		w := p.window(n)
		w.make()
		want += int64(len(w.lines))
		for i, l := range w.lines {
			if i > 0 && l.arrival < w.lines[i-1].arrival {
				t.Fatal("a window is not sorted")
			}
			late = late || n == p.windows-1 && l.arrival >= w.to
		}
	}
	if r.Lines != want || !late {
		t.Errorf("%d lines were written, %d made; some after the last window: %v", r.Lines, want, late)
	}
}

func TestSizeIsNearlyTheWanted(t *testing.T) {
	for _, o := range []Options{{Bytes: 3_000_000}, {Bytes: 12_000_000, Seed: 9}, {Bytes: 3_000_000, Kinds: ODTSKinds(), Seed: 3}, {Bytes: 8_000_000, Days: 10}} {
		_, r := mustWrite(t, o)
		if ratio := float64(r.Bytes) / float64(o.Bytes); ratio < 0.93 || ratio > 1.07 {
			t.Errorf("%+v: %d bytes", o, r.Bytes)
		}
		if o.Kinds == nil {
			for _, k := range r.Kinds {
				if k.Kind != "vpn" && float64(k.Bytes) < 0.03*float64(r.Bytes) || float64(k.Bytes) > 0.5*float64(r.Bytes) {
					t.Errorf("%s has %d of %d bytes", k.Kind, k.Bytes, r.Bytes)
				}
			}
		}
	}
}

var shape = map[string]*regexp.Regexp{
	"auth":     regexp.MustCompile(`^Mar  [3-9] \d\d:\d\d:\d\d [a-z]+\d* [A-Za-z-]+(\[\d+\])?: \S.*$|^Mar 10 00:`),
	"auditd":   regexp.MustCompile(`^node=[a-z]+\d+ type=[A-Z_]+ msg=audit\(\d{10}\.\d{3}:\d+\): [a-z].*$`),
	"iptables": regexp.MustCompile(`^Mar [ 1][0-9] \d\d:\d\d:\d\d [a-z]+\d+ kernel: (\[\d+\.\d{6}\] )?(FW-ACCEPT|FW-DROP|DNAT|\[UFW BLOCK\]) IN=\w* OUT=\w* MAC=([0-9a-f]{2}:){13}[0-9a-f]{2} SRC=[0-9.]+|^Mar .* SRC=[0-9a-f:]+ DST=`),
	"vpcflow":  regexp.MustCompile(`^2 111122223333 eni-0[0-9a-f]{16} ([0-9a-f.:]+ [0-9a-f.:]+ \d+ \d+ (6|17|1) \d+ \d+ \d{10} \d{10} (ACCEPT|REJECT) OK|- - - - - - - \d{10} \d{10} - (NODATA|SKIPDATA))$`),
	"nginx":    regexp.MustCompile(`^[0-9a-f.:]+ - [a-z0-9-]+ \[\d\d/Mar/2025:\d\d:\d\d:\d\d \+0000\] "[^"]*" \d{3} \d+ "[^"]*" "[^"]*"( "[^"]*" rt=\d+\.\d{3} uct="0\.000" urt="\d+\.\d{3}")?$`),
	"vpn":      regexp.MustCompile(`^Mar [ 1][0-9] \d\d:\d\d:\d\d vpn01 vpngw\[\d+\]: event=[a-z-]+ .*$`),
}

var unfilled = regexp.MustCompile(`\{(n|x|X|b64):\d|\{#?\d\}|\{(u|uid|name|upn|sid|oid|ws|dept|h|fqdn|hip|ip|port|pid|ip2|guid)\}|%!|<nil>`)

// Every line has its kind's form; JSON is one object without repeated keys; no place of a template is left.
func TestForms(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 4_000_000, Seed: 11})
	for kind, lines := range c.lines {
		form := shape[kind]
		shapes := map[string]bool{}
		digits := regexp.MustCompile(`[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*|eni-\w+`)
		for i, l := range lines {
			if unfilled.MatchString(l) || strings.ContainsAny(l, "\r\n\t\x00") || !utf8.ValidString(l) || l == "" {
				t.Fatalf("%s: line %d: %q", kind, i+1, l)
			}
			if form != nil {
				if !form.MatchString(l) {
					t.Fatalf("%s: line %d has another form: %q", kind, i+1, l)
				}
			} else {
				if err := uniqueKeys(json.NewDecoder(strings.NewReader(l))); err != nil {
					t.Fatalf("%s: line %d: %v: %s", kind, i+1, err, l)
				}
			}
			if i%3 == 0 {
				shapes[digits.ReplaceAllString(l, "0")] = true
			}
		}
		// Even with numbers struck out a kind says many different things.
		least := map[string]int{"auth": 300, "auditd": 200, "windows": 200, "cloudtrail": 50, "entra": 50, "nginx": 180, "iptables": 24, "vpcflow": 4, "vpn": 30}
		if len(shapes) < least[kind] {
			t.Errorf("%s: %d shapes in a third of %d lines", kind, len(shapes), len(lines))
		}
	}
}

// uniqueKeys reads one JSON value and fails on a key that an object has twice.
func uniqueKeys(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		keys := map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if name := key.(string); keys[name] {
				return fmt.Errorf("key %q twice", name)
			} else {
				keys[name] = true
			}
			if err := uniqueKeys(d); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('['):
		for d.More() {
			if err := uniqueKeys(d); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

// Deduplication has something to find, and not too much.
func TestDuplicates(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 6_000_000, Seed: 2})
	total, copies := 0, 0
	for kind, lines := range c.lines {
		seen := map[string]bool{}
		n := 0
		for _, l := range lines {
			if seen[l] {
				n++
			}
			seen[l] = true
		}
		total += len(lines)
		copies += n
		if share := float64(n) / float64(len(lines)); share > 0.3 || kind == "nginx" && share < 0.05 {
			t.Errorf("%s: %.3f of the lines are copies", kind, share)
		}
	}
	if share := float64(copies) / float64(total); share < 0.015 || share > 0.15 {
		t.Errorf("%.3f of all lines are copies", share)
	}
}

func TestWriteErrors(t *testing.T) {
	for _, o := range []Options{{}, {Bytes: MinBytes - 1}, {Bytes: 1e6, Days: -1}, {Bytes: 1e6, Days: 400}, {Bytes: 1e6, Kinds: []string{"auth", "zeek"}},
		{Bytes: 1e6, Start: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		dir := filepath.Join(t.TempDir(), "x")
		if _, err := Write(context.Background(), dir, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%+v left a folder", o)
		}
	}
	dir, _ := mustWrite(t, Options{Bytes: MinBytes, Kinds: []string{"vpn"}})
	before := hashes(t, dir)
	if _, err := Write(context.Background(), dir, Options{Bytes: MinBytes}); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("a finished folder: %v", err)
	}
	if after := hashes(t, dir); len(after) != 2 || after["logs/vpn.log"] != before["logs/vpn.log"] {
		t.Error("a refused Write changed the folder")
	}

	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var last int64
	_, err := Write(ctx, filepath.Join(parent, "y"), Options{Bytes: 5_000_000, Threads: 3, Progress: func(done, total int64) {
		if done < last || total != 5_000_000 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		if last = done; done > 1_000_000 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || last > 4_000_000 {
		t.Errorf("cancelled at %d bytes: %v", last, err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Errorf("a cancelled Write left %v, %v", entries, err)
	}
	cancel()
}

func TestKinds(t *testing.T) {
	_, r := mustWrite(t, Options{Bytes: MinBytes})
	if len(r.Kinds) != len(Kinds()) || len(Kinds()) < 8 {
		t.Fatalf("%d kinds, want %d", len(r.Kinds), len(Kinds()))
	}
	for i, k := range r.Kinds {
		if k.Kind != Kinds()[i] || k.Lines == 0 {
			t.Errorf("kind %d is %+v", i, k)
		}
	}
	if len(ODTSKinds()) != 2 {
		t.Error(ODTSKinds())
	}
}

func BenchmarkWrite(b *testing.B) {
	const size = 12_000_000
	b.SetBytes(size)
	for i := 0; b.Loop(); i++ {
		if _, err := Write(context.Background(), filepath.Join(b.TempDir(), fmt.Sprint(i)), Options{Bytes: size}); err != nil {
			b.Fatal(err)
		}
	}
}
