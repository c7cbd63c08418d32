package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/atomicfile"
)

// logs writes a folder of specimens: five sources, some records in several of them, all of the forms that are read.
func logs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	write := func(name string, text []byte) {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&b, "Dec 10 06:%02d:%02d web%d sshd[%d]: Failed password for invalid user %s from 203.0.113.%d port %d\n",
			i/60%60, i%60, i%3, 1000+i%50, []string{"root", "admin", "oracle"}[r.IntN(3)], r.IntN(20), 40000+r.IntN(20))
		if i%100 == 0 {
			b.WriteString("link up\n\n") // in several sources, and lines of nothing
		}
	}
	write("auth/auth.log", b.Bytes()[:b.Len()/2+37])
	write("auth/auth.log.1.gz", gzipped(t, b.Bytes()[b.Len()/2+37:]))
	b.Reset()
	for i := range 800 {
		fmt.Fprintf(&b, `{"eventVersion": "1.08", "eventName": "%s", "sourceIPAddress": "198.51.100.%d"}`+"\n", []string{"GetObject", "PutObject", "AssumeRole"}[r.IntN(3)], i%200)
	}
	write("cloud/trail.json", b.Bytes())
	b.Reset()
	b.WriteString("time,host,message\n")
	for i := range 500 {
		fmt.Fprintf(&b, "%d,fw%d,\"DROP, IN=eth%d\"\n", 1700000000+i, i%2, r.IntN(4))
	}
	write("fw/fw.csv", b.Bytes())
	b.Reset()
	for i := range 60 {
		fmt.Fprintf(&b, "kernel: [%d.%03d] eth0: renamed from veth%d\n", i, i*7%1000, i)
	}
	b.WriteString("link up\n")
	write("kernel/kern.log", b.Bytes())
	write("k8s/audit.log", []byte("link up\npod started\npod started\ncaf\xe9 opened\n"))
	write("k8s/core.bin", make([]byte, 4096))
	return dir
}

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree returns the files of a folder with their content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(p)
		rel, relErr := filepath.Rel(dir, p)
		out[filepath.ToSlash(rel)] = string(text)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// texts decodes every document of a data folder.
func texts(t *testing.T, dir string) map[data.Split][]string {
	t.Helper()
	d, err := shard.OpenData(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out := map[data.Split][]string{}
	for s, set := range d.Sets {
		for i := range set.Documents() {
			tokens, m, err := set.Document(i, nil)
			if err != nil {
				t.Fatal(err)
			}
			text := string(d.Tokenizer.AppendDecode(nil, tokens))
			out[s] = append(out[s], fmt.Sprintf("%s#%d %s", set.Sources()[m.Source], m.Record, text))
		}
	}
	return out
}

func options(in, out string) Options {
	return Options{In: []string{in}, Out: out, Tokenizer: "train:600", ODTS: []string{"k8s"}}
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun(t *testing.T) {
	in, out := logs(t), filepath.Join(t.TempDir(), "data")
	stages := map[string]bool{}
	o := options(in, out)
	o.Progress = func(stage string, done, total int64) { stages[stage] = true }
	r := mustRun(t, o)
	for _, s := range []string{"read", "count", "merge", "encode"} {
		if !stages[s] {
			t.Errorf("stage %s was not reported", s)
		}
	}
	if err := shard.Verify(out); err != nil {
		t.Fatal(err)
	}
	files := tree(t, out)
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	want := []string{"idts/00000.shard", "manifest.json", "odts/00000.shard", "tokenizer.json", "train/00000.shard", "valid/00000.shard"}
	if !slices.Equal(names, want) {
		t.Fatalf("folder holds %q, want %q", names, want)
	}
	if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 1 {
		t.Fatalf("beside the folder: %v, %v", entries, err)
	}
	tot := r.Total
	if tot.Files != 6 || tot.FilesSkipped != 1 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Path, "core.bin") {
		t.Errorf("files %d, skipped %d, %+v", tot.Files, tot.FilesSkipped, r.Skipped)
	}
	// One line of auth is divided between its two files.
	if tot.Records != 3031+800+500+61+4 || tot.Empty != 30 || tot.InvalidUTF8 != 1 {
		t.Errorf("got %+v", tot.Counts)
	}
	var kept int64
	for _, k := range r.Sets {
		kept += k.Records
	}
	if kept+tot.Duplicates != tot.Records {
		t.Errorf("%d kept + %d duplicates, %d read", kept, tot.Duplicates, tot.Records)
	}
	for i, s := range r.Sources {
		if i > 0 && r.Sources[i-1].Name >= s.Name {
			t.Errorf("sources %s, %s out of order", r.Sources[i-1].Name, s.Name)
		}
		if (s.Name == "k8s") != s.ODTS {
			t.Errorf("%s: held out %v", s.Name, s.ODTS)
		}
		if s.Name == "fw" && s.Formats["csv"] != 1 || s.Name == "cloud" && s.Formats["jsonl"] != 1 || s.Name == "auth" && s.Formats["gz>lines"] != 1 {
			t.Errorf("%s: formats %v", s.Name, s.Formats)
		}
	}
	got := texts(t, out)
	slices.Sort(got[data.ODTS])
	if want := []string{"k8s#0 link up", "k8s#1 pod started", "k8s#3 caf\xe9 opened"}; !slices.Equal(got[data.ODTS], want) {
		t.Errorf("odts holds %q, want %q", got[data.ODTS], want)
	}
	if tot.Moved < 31 {
		t.Errorf("%d moved copies, want the 31 of \"link up\" outside k8s at least", tot.Moved)
	}
	if r.Tokenizer.VocabSize != 600 || !r.Tokenizer.Trained || r.Training == nil {
		t.Errorf("tokenizer %+v", r.Tokenizer)
	}
}

// No text is in two splits, none is twice in one, and none is lost.
func TestSplitsAreDisjoint(t *testing.T) {
	in := logs(t)
	for seed := range uint64(4) {
		out := filepath.Join(t.TempDir(), "data")
		o := options(in, out)
		o.Seed = seed
		o.Tokenizer = "train:300"
		if seed%2 == 0 {
			o.ODTS = nil
		}
		mustRun(t, o)
		seen := map[string]data.Split{}
		for s, list := range texts(t, out) {
			for _, text := range list {
				_, text, _ = strings.Cut(text, " ")
				if other, ok := seen[text]; ok {
					t.Fatalf("seed %d: %q in %v and %v", seed, text, other, s)
				}
				seen[text] = s
			}
		}
		want := map[string]bool{}
		list, err := source.List(context.Background(), source.ListOptions{In: []string{in}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list.Files {
			r, err := source.Open(context.Background(), f, source.Options{})
			if errors.Is(err, source.ErrBinary) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for {
				rec, err := r.Next()
				if err != nil {
					break
				}
				want[string(rec.Text)] = true
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if len(want) != len(seen) {
			t.Fatalf("seed %d: %d distinct records in the input, %d in the folder", seed, len(want), len(seen))
		}
		for text := range want {
			if _, ok := seen[text]; !ok {
				t.Fatalf("seed %d: %q is lost", seed, text)
			}
		}
	}
}

func TestThreadsChangeNothing(t *testing.T) {
	in := logs(t)
	var first map[string]string
	for _, threads := range []int{1, 2, 7} {
		out := filepath.Join(t.TempDir(), "data")
		o := options(in, out)
		o.Threads = threads
		o.MaxSourceBytes = 60_000
		mustRun(t, o)
		got := tree(t, out)
		if first == nil {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			t.Fatalf("%d threads: the folder differs from 1 thread's", threads)
		}
	}
	other := filepath.Join(t.TempDir(), "data")
	o := options(in, other)
	o.Seed = 1
	o.MaxSourceBytes = 60_000
	mustRun(t, o)
	if cmp.Equal(first, tree(t, other)) {
		t.Fatal("another seed gives the same folder")
	}
}

// Building again from what was built finds nothing to remove.
func TestDedupTwice(t *testing.T) {
	in, out := logs(t), filepath.Join(t.TempDir(), "data")
	mustRun(t, options(in, out))
	again := t.TempDir()
	for s, list := range texts(t, out) {
		var b bytes.Buffer
		for _, text := range list {
			_, text, _ = strings.Cut(text, " ")
			b.WriteString(text + "\n")
		}
		if err := os.MkdirAll(filepath.Join(again, s.String()), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(again, s.String(), "x"), b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	o := options(again, filepath.Join(t.TempDir(), "data"))
	o.ODTS = nil
	if r := mustRun(t, o); r.Total.Duplicates != 0 || r.Total.Moved != 0 {
		t.Fatalf("%d duplicates, %d moved", r.Total.Duplicates, r.Total.Moved)
	}
}

func TestMaxSourceBytes(t *testing.T) {
	o := options(logs(t), filepath.Join(t.TempDir(), "data"))
	o.MaxSourceBytes = 20_000
	r := mustRun(t, o)
	for _, s := range r.Sources {
		if s.Bytes > 20_000 || s.Limited != (s.Name != "kernel" && s.Name != "k8s") {
			t.Errorf("%s: %d bytes, limited %v", s.Name, s.Bytes, s.Limited)
		}
		if s.Limited && s.Bytes < 20_000-200 {
			t.Errorf("%s: stopped at %d bytes already", s.Name, s.Bytes)
		}
		if s.Name == "auth" && s.Files != 1 {
			t.Errorf("auth: %d files were read, want the first alone", s.Files)
		}
	}
}

func TestGivenTokenizer(t *testing.T) {
	in := logs(t)
	first := filepath.Join(t.TempDir(), "data")
	r1 := mustRun(t, options(in, first))
	o := options(in, filepath.Join(t.TempDir(), "data"))
	o.Tokenizer = first
	r2 := mustRun(t, o)
	if r1.Tokenizer.Fingerprint != r2.Tokenizer.Fingerprint || r2.Tokenizer.Trained || r2.Training != nil {
		t.Fatalf("got %+v, want the fingerprint of %+v", r2.Tokenizer, r1.Tokenizer)
	}
	if d := cmp.Diff(r1.Sets, r2.Sets); d != "" {
		t.Fatal(d)
	}
	// With a given tokenizer a folder may hold test sets alone.
	o.Out = filepath.Join(t.TempDir(), "data")
	o.ODTS = []string{"auth", "cloud", "fw", "kernel", "k8s"}
	if r := mustRun(t, o); len(r.Sets) != 1 || r.Sets["odts"].Records == 0 {
		t.Fatalf("got %+v", r.Sets)
	}
}

func TestBadInput(t *testing.T) {
	good := logs(t)
	cut := logs(t)
	whole, err := os.ReadFile(filepath.Join(cut, "auth/auth.log.1.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cut, "auth/auth.log.1.gz"), whole[:len(whole)-100], 0o666); err != nil {
		t.Fatal(err)
	}
	binary := t.TempDir()
	if err := os.WriteFile(filepath.Join(binary, "x"), make([]byte, 100), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *Options)
		is     error
		text   string
	}{
		"no input":           {func(o *Options) { o.In = nil }, ErrUsage, "no input"},
		"no output":          {func(o *Options) { o.Out = "" }, ErrUsage, "output"},
		"threads":            {func(o *Options) { o.Threads = -1 }, ErrUsage, "threads"},
		"rendering":          {func(o *Options) { o.Render = "xml" }, ErrUsage, "xml"},
		"pattern":            {func(o *Options) { o.Exclude = []string{"[a"} }, ErrUsage, "[a"},
		"size":               {func(o *Options) { o.Tokenizer = "train:many" }, ErrUsage, "train:many"},
		"depth":              {func(o *Options) { o.SourceDepth = -1 }, ErrUsage, "depth"},
		"limit":              {func(o *Options) { o.MaxSourceBytes = -1 }, ErrUsage, "-1"},
		"record":             {func(o *Options) { o.MaxRecord = 1 }, ErrUsage, "records"},
		"unknown odts":       {func(o *Options) { o.ODTS = []string{"windows"} }, ErrUsage, "auth, cloud, fw"},
		"missing tokenizer":  {func(o *Options) { o.Tokenizer = filepath.Join(good, "no.json") }, fs.ErrNotExist, "no.json"},
		"small vocabulary":   {func(o *Options) { o.Tokenizer = "train:10" }, nil, "too small"},
		"missing input":      {func(o *Options) { o.In = []string{filepath.Join(good, "gone")} }, fs.ErrNotExist, "gone"},
		"damaged":            {func(o *Options) { o.In = []string{cut} }, nil, "unexpected end of gzip stream"},
		"nothing but binary": {func(o *Options) { o.In = []string{binary}; o.ODTS = nil }, ErrNothing, "1 hold no text"},
		"nothing":            {func(o *Options) { o.In = []string{t.TempDir()}; o.ODTS = nil }, ErrNothing, "0 files"},
		"all held out":       {func(o *Options) { o.ODTS = []string{"auth", "cloud", "fw", "kernel", "k8s"} }, ErrNothing, "held out"},
	} {
		parent := t.TempDir()
		o := options(good, filepath.Join(parent, "data"))
		c.change(&o)
		_, err := Run(context.Background(), o)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", name, err, c.is, c.text)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
			t.Errorf("%s: left behind %v, %v", name, entries, err)
		}
	}
	var place *source.ReadError
	o := options(cut, filepath.Join(t.TempDir(), "data"))
	if _, err := Run(context.Background(), o); !errors.As(err, &place) || !strings.HasSuffix(place.Path, "auth.log.1.gz") || place.Records == 0 {
		t.Errorf("damaged: got %v, want its place", err)
	}
	o.KeepGoing = true
	r := mustRun(t, o)
	if r.Total.FilesFailed != 1 || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Reason, "records were read") || r.Sources[0].Records < 1500 {
		t.Errorf("keep going: %+v %+v", r.Failed, r.Sources[0])
	}
	// A folder in use, and one that is finished, stay as they are.
	if _, err := Run(context.Background(), o); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("finished folder: got %v", err)
	}
	if err := shard.Verify(o.Out); err != nil {
		t.Error(err)
	}
}

func TestCancel(t *testing.T) {
	in := logs(t)
	for _, stage := range []string{"read", "count", "merge", "encode"} {
		parent := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		o := options(in, filepath.Join(parent, "data"))
		o.Progress = func(s string, done, total int64) {
			if s == stage {
				cancel()
			}
		}
		_, err := Run(ctx, o)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in %s: got %v", stage, err)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
			t.Errorf("cancelled in %s: left behind %v, %v", stage, entries, err)
		}
	}
}

func TestSpaceIsCheckedFirst(t *testing.T) {
	old := freeSpace
	defer func() { freeSpace = old }()
	freeSpace = func(string) (int64, error) { return 17 << 20, nil }
	parent := t.TempDir()
	o := options(logs(t), filepath.Join(parent, "data"))
	_, err := Run(context.Background(), o)
	if err != nil {
		t.Fatalf("small input on a small disk: %v", err)
	}
	freeSpace = func(string) (int64, error) { return 5e6, nil }
	o.Out = filepath.Join(parent, "data2")
	_, err = Run(context.Background(), o)
	if !errors.Is(err, ErrSpace) || !strings.Contains(err.Error(), "5.0 MB are free") || !strings.Contains(err.Error(), "17.") {
		t.Fatalf("got %v, want both numbers", err)
	}
}

func TestOutputInsideInput(t *testing.T) {
	in := logs(t)
	first := options(in, filepath.Join(in, "out"))
	r1 := mustRun(t, first)
	second := options(in, filepath.Join(in, "out2"))
	second.Exclude = []string{"out"}
	r2 := mustRun(t, second)
	if r1.Total.Records != r2.Total.Records || len(r1.Sources) != len(r2.Sources) {
		t.Fatalf("the output was read as input: %d and %d records", r1.Total.Records, r2.Total.Records)
	}
}
