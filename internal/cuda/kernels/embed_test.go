package kernels

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels/ptx"
)

// glob lists files of this folder.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := fs.Glob(os.DirFS("."), pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The PTX that is built in was made of the sources beside it. This needs no compiler, so an old one fails everywhere.
func TestPTXIsOfTheseSources(t *testing.T) {
	sources := glob(t, "*.cu")
	if len(sources) == 0 {
		t.Fatal("there are no sources")
	}
	for _, source := range sources {
		name := strings.TrimSuffix(source, ".cu") + ptx.Extension
		if _, err := os.Stat(name); err != nil {
			t.Errorf("%s has no PTX: run go generate ./internal/cuda/kernels", source)
		}
	}
	for _, name := range glob(t, "*"+ptx.Extension) {
		base, _, _ := strings.Cut(name, ".")
		head, err := ptx.ParseHead(text(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if head.Inputs[0].Name != base+".cu" {
			t.Errorf("%s was made of %s", name, head.Inputs[0].Name)
		}
		for _, in := range head.Inputs {
			if got := ptx.InputOf(in.Name, []byte(text(t, in.Name))); got != in {
				t.Errorf("%s was made of another %s: run go generate ./internal/cuda/kernels and commit what it changes", name, in.Name)
			}
		}
	}
}

// Every kernel of the table in README.md is in the PTX and the other way round, and the parameters are of the same types.
func TestReadmeNamesEveryKernel(t *testing.T) {
	documented := documented(t)
	var all strings.Builder
	for _, name := range glob(t, "*"+ptx.Extension) {
		all.WriteString(text(t, name))
	}
	made := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)\.visible \.entry (\w+)\((.*?)\)`).FindAllStringSubmatch(all.String(), -1) {
		var types []string
		for _, p := range regexp.MustCompile(`\.param \.(\w+) `).FindAllStringSubmatch(m[2], -1) {
			types = append(types, p[1])
		}
		made[m[1]] = strings.Join(types, " ")
	}
	for name, types := range documented {
		if got, ok := made[name]; !ok {
			t.Errorf("README.md lists %s, which is not in the PTX", name)
		} else if got != types {
			t.Errorf("README.md gives %s the parameters %s, the PTX has %s", name, types, got)
		}
	}
	for name := range made {
		if _, ok := documented[name]; !ok {
			t.Errorf("README.md does not list %s", name)
		}
	}
	if names, err := Names(); err == nil && len(names) > 0 && len(names) != len(made) {
		t.Errorf("%d kernels are built in, the files have %d", len(names), len(made))
	}
}

// elements are the ends of names that tell element types; `_bf16` alone in the table stands for the name before it with
// that end.
var elements = regexp.MustCompile(`(_(f32|bf16))+$`)

// documented reads the table of README.md: the types of the parameters of each kernel, as PTX writes them.
func documented(t *testing.T) map[string]string {
	t.Helper()
	types := map[string]string{"p": "u64", "l": "u64", "i": "u32", "u": "u32", "f": "f32", "d": "f64"}
	kernels := map[string]string{}
	for line := range strings.Lines(text(t, "README.md")) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		var list []string
		for _, p := range strings.Split(cells[2], ",") {
			word := strings.Fields(p)
			if len(word) < 2 || types[word[0]] == "" {
				t.Fatalf("README.md: the parameter %q of %s has no type", p, cells[1])
			}
			list = append(list, types[word[0]])
		}
		var before string
		for _, name := range strings.Split(cells[1], ",") {
			name = strings.Trim(name, " `")
			if strings.HasPrefix(name, "_") {
				name = elements.ReplaceAllString(before, "") + name
			} else {
				before = name
			}
			kernels[name] = strings.Join(list, " ")
		}
	}
	if len(kernels) == 0 {
		t.Fatal("README.md has no table of kernels")
	}
	return kernels
}

func TestPTXSaysWhatItNeeds(t *testing.T) {
	var major, minor int
	if _, err := fmt.Sscanf(ISA, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	// Version 8.N of the language came with CUDA 12.N.
	if Driver != 1000*(major+4)+10*minor {
		t.Errorf("PTX %s asks for CUDA %d.%d, Driver is %d", ISA, major+4, minor, Driver)
	}
	for _, name := range glob(t, "*"+ptx.Extension) {
		if s := text(t, name); !strings.Contains(s, "\n.version "+ISA+"\n") {
			t.Errorf("%s is not of version %s", name, ISA)
		} else if strings.Count(name, ".") == 1 && !strings.Contains(s, fmt.Sprintf("\n.target sm_%d\n", Capability)) {
			t.Errorf("%s is not for sm_%d", name, Capability)
		}
	}
}

// GPU support may add 3 MB to the binary; what is not PTX takes about 1 MB of them.
func TestPTXIsSmall(t *testing.T) {
	bytes := 0
	for _, name := range glob(t, "*"+ptx.Extension) {
		bytes += len(text(t, name))
	}
	const limit = 1900 << 10
	if bytes > limit {
		t.Errorf("the PTX is %d bytes, the limit %d: compress what is built in", bytes, limit)
	}
}

func TestPTXIsOneModuleWithEveryKernel(t *testing.T) {
	names, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		if _, err := PTX(8, 0); err == nil || !strings.Contains(err.Error(), "nocuda") {
			t.Errorf("without kernels: %v", err)
		}
		t.Skip("built with -tags nocuda: no kernels are built in")
	}
	for _, c := range [][2]int{{8, 0}, {8, 6}, {8, 9}, {9, 0}, {10, 0}, {12, 0}} {
		image, err := PTX(c[0], c[1])
		if err != nil {
			t.Errorf("%d.%d: %v", c[0], c[1], err)
			continue
		}
		got := ptx.Entries(image)
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("%d.%d: %d kernels, want %d", c[0], c[1], len(got), len(names))
		}
		if n := strings.Count(string(image), ".version"); n != 1 {
			t.Errorf("%d.%d: %d versions", c[0], c[1], n)
		}
	}
	for _, c := range [][2]int{{7, 5}, {3, 0}, {0, 0}} {
		if _, err := PTX(c[0], c[1]); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d.%d", c[0], c[1])) {
			t.Errorf("%d.%d: %v", c[0], c[1], err)
		}
	}
}
