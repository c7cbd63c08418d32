package main

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// smaller makes the examples of --help cheap, and takes logs of ours where a machine's own stand.
var smaller = strings.NewReplacer("/var/log", "made", "--bytes 100MB", "--bytes 1MB", "--bytes 10MB", "--bytes 1MB",
	"--size mini --time 1h", "--steps 6 --checkpoint-every 3", "step-500", "step-3", "--out continued", "--out continued --steps 2 --context 64",
	"--size base --tokens 2048", "--size tiny --duration 50ms", "--size base --context 48000 --memory 10GiB", "--size tiny --duration 50ms")

// examplesInOrder are the verbs in the order of the work, each with what a person has at hand before its examples.
var examplesInOrder = []struct{ verb, before string }{
	{"tokenizer train", "gzip -c made/auth.log > auth.log.gz"},
	{"data build", "mkdir old && mv auth.log.gz old && mkdir -p logs && mv made/vpn.log logs && cp made/nginx.log logs/notes.md"},
	{"data synth", "rm -r logs"},
	{"data inspect", "mkdir out && secencoder data build --in made --out out/data --tokenizer train:600 --odts entra"},
	{"tokenizer encode", "cp made/auth.log . && cp out/data/tokenizer.json out"},
	{"tokenizer decode", ""},
	{"tokenizer inspect", ""},
	{"pretrain", ""},
	{"eval intrinsic", "cp -r out/run run-content && cp -r out/run run-all"},
	{"export", ""},
	{"embed", ""},
	{"fill-mask", ""},
	{"import", "cp -r out/hf deberta-v3 && rm deberta-v3/manifest.json"},
	{"verify", ""},
	{"bench", ""},
	{"info", ""},
}

// TestExamplesOfHelp types the examples that --help shows, in a folder where the files stand that they name. Those of
// quickstart are the README's, which take minutes.
func TestExamplesOfHelp(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("runs the whole chain through a Unix shell: not with -short, not on Windows")
	}
	dir := t.TempDir()
	sh := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%v\n%s", line, err, out)
		}
	}
	parser, err := newParser(&commands{}, &streams{})
	if err != nil {
		t.Fatal(err)
	}
	details := map[string]string{}
	for _, leaf := range parser.Model.Leaves(true) {
		details[leaf.Path()] = leaf.Detail
	}
	delete(details, "quickstart")
	delete(details, "docs")
	sh("secencoder data synth --out s --bytes 1MB && mv s/logs made && rm -r s")
	for _, v := range examplesInOrder {
		sh(v.before)
		n := 0
		for line := range strings.Lines(details[v.verb]) {
			if strings.Contains(line, "secencoder ") {
				sh(smaller.Replace(strings.TrimSpace(line)))
				n++
			}
		}
		if n < 2 {
			t.Errorf("%s: %d examples were run, want two", v.verb, n)
		}
		delete(details, v.verb)
	}
	for verb := range details {
		t.Errorf("the examples of %s were not run", verb)
	}
}
