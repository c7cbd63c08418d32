package secencoder_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/secencoder/secencoder/"

// small are the packages of one idea each that everybody may import. They import nothing of ours, but for the
// exceptions in the table.
var small = []string{
	"internal/atomicfile", "internal/bf16", "internal/filelock", "internal/manifest", "internal/mmap",
	"internal/npy", "internal/printable", "internal/progress", "internal/rng", "internal/units",
}

// room is one row of the table in docs/ARCHITECTURE.md: what a package may import of ours beside the small packages.
// An entry that ends in /... allows the packages below it too.
type room struct {
	name string
	may  []string
	why  string // printed when an import breaks the row
}

var house = []room{
	{"tokenizer", nil, "the tokenizer stays small, so that others can use it without a tensor library"},
	{"tokenizer/...", []string{"tokenizer"}, "what reads foreign tokenizers stands beside the tokenizer, not above it"},
	{"data", nil, "data holds what all stages share; a stage it imported would be shared by all"},
	{"data/source", []string{"data"}, "a stage knows records, no other stage"},
	{"data/dedup", []string{"data"}, "a stage knows records, no other stage"},
	{"data/split", []string{"data"}, "a stage knows records, no other stage"},
	{"data/synth", []string{"data"}, "a stage knows records, no other stage"},
	{"data/shard", []string{"data", "tokenizer"}, "shards hold token ids and know nothing of where records came from"},
	{"data/build", []string{"data", "data/source", "data/dedup", "data/split", "data/synth", "data/shard", "tokenizer"}, "build puts the stages in a row; models come later"},
	{"data/batch", []string{"data/shard", "tokenizer"}, "a step sees tokens, not files or models"},
	{"model", []string{"tokenizer", "internal/op", "internal/exec", "internal/device", "internal/kernel"}, "a model knows nothing of training or data"},
	{"eval", []string{"model", "data", "data/batch", "data/shard", "tokenizer"}, "evaluation reads models and data; training reads evaluation"},
	{"train", []string{"model", "eval", "data", "data/batch", "data/shard", "tokenizer", "internal/exec", "internal/device", "internal/kernel"}, "training uses models; nothing it uses may need the command line"},
	{"internal/op", []string{"internal/device", "internal/kernel"}, "ops own shapes and gradients; memory and order are the executor's"},
	{"internal/exec", []string{"internal/op", "internal/device", "internal/kernel"}, "the executor runs ops and knows no model"},
	{"internal/device", []string{"internal/kernel", "internal/kernel/...", "internal/cuda"}, "a device is a table over kernels"},
	{"internal/device/gpu", []string{"internal/kernel", "internal/cuda", "internal/cuda/kernels"}, "the table on a GPU sees operands and the driver layer, no other device"},
	{"internal/device/...", []string{"internal/device", "internal/kernel", "internal/kernel/...", "internal/alloctest"}, "the conformance suite sees kernels and devices only"},
	{"internal/kernel", nil, "the operand structs stand below every kernel"},
	{"internal/kernel/blocked", []string{"internal/kernel", "internal/kernel/...", "internal/mmap"}, "what all families share owns their scratch; nothing else there takes memory"},
	{"internal/kernel/...", []string{"internal/kernel", "internal/kernel/..."}, "kernels know slices, not graphs"},
	{"internal/cuda", nil, "the driver layer knows device memory and launches, not what is computed"},
	{"internal/cuda/...", []string{"internal/cuda", "internal/cuda/..."}, "what stands around the driver layer needs nothing above it"},
	{"internal/alloctest", nil, "it counts what a call takes, whosever the call is"},
	{"internal/bench", []string{"..."}, "cmd is the top of the house"},
	{"internal/quickstart", []string{"..."}, "cmd is the top of the house"},
	{"internal/verify", []string{"..."}, "cmd is the top of the house"},
	{"cmd/...", []string{"..."}, ""},
}

// exceptions between small packages, each with its reason.
var exceptions = map[string]string{
	"internal/atomicfile → internal/filelock": "a folder under construction is locked by its writer",
}

// testMakers may be imported by test files anywhere: makers of test data and of its memory, the reference, the suite, what
// counts allocations.
var testMakers = []string{"internal/alloctest", "data/synth", "data/source", "data/build", "data/shard", "data/batch", "tokenizer", "internal/kernel", "internal/kernel/ref", "internal/device", "internal/device/devicetest", "internal/mmap", "internal/cuda/standin", "internal/cuda/kernels/shim"}

func matches(pattern, name string) bool {
	if pattern == "..." || pattern == name {
		return true
	}
	below, ok := strings.CutSuffix(pattern, "/...")
	return ok && strings.HasPrefix(name, below+"/")
}

func rowOf(name string) *room {
	for i := range house {
		if !strings.HasSuffix(house[i].name, "/...") && house[i].name == name {
			return &house[i]
		}
	}
	for i := range house {
		if matches(house[i].name, name) {
			return &house[i]
		}
	}
	return nil
}

// goFiles calls f with every Go file of the main module: its folder below the root and its syntax.
func goFiles(t *testing.T, mode parser.Mode, f func(dir, file string, syntax *ast.File)) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if p != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
				return fs.SkipDir
			}
			if nested, _ := filepath.Glob(filepath.Join(p, "go.mod")); p != "." && len(nested) > 0 {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(set, p, nil, mode)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(filepath.Dir(p)), filepath.ToSlash(p), syntax)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsFollowTheTable(t *testing.T) {
	goFiles(t, parser.ImportsOnly, func(dir, file string, syntax *ast.File) {
		for _, spec := range syntax.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), modulePath)
			if !ours || to == dir {
				continue
			}
			if strings.HasSuffix(file, "_test.go") && slices.Contains(testMakers, to) {
				continue
			}
			if slices.Contains(small, dir) {
				if exceptions[dir+" → "+to] == "" && !strings.HasSuffix(file, "_test.go") {
					t.Errorf("%s imports %s: a small package imports nothing of ours, so that everybody can import it", file, to)
				}
				continue
			}
			if slices.Contains(small, to) && !(strings.HasPrefix(dir, "internal/kernel") && to != "internal/rng" && to != "internal/bf16") {
				continue
			}
			if dir == "." {
				t.Errorf("%s imports %s: the root holds tests of the whole tree only", file, to)
				continue
			}
			row := rowOf(dir)
			if row == nil {
				t.Errorf("%s: package %s has no row in the table of the house; add it here and in docs/ARCHITECTURE.md", file, dir)
				continue
			}
			if !slices.ContainsFunc(row.may, func(p string) bool { return matches(p, to) }) || strings.HasPrefix(to, "cmd/") {
				t.Errorf("%s imports %s, which the table does not allow for %s: %s", file, to, row.name, row.why)
			}
		}
	})
}

func TestEveryPackageHasAComment(t *testing.T) {
	lines := map[string]int{}
	goFiles(t, parser.ParseComments|parser.PackageClauseOnly, func(dir, file string, syntax *ast.File) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		n := 0
		if syntax.Doc != nil {
			n = strings.Count(strings.TrimSpace(syntax.Doc.Text()), "\n") + 1
		}
		lines[dir] = max(lines[dir], n)
	})
	for dir, n := range lines {
		if n < 3 || n > 40 {
			t.Errorf("package %s: the package comment has %d lines, want 3 to 40: what it is, where to begin, what it does not do", path.Clean(dir), n)
		}
	}
}

func TestNoPackageIsCalledUtil(t *testing.T) {
	goFiles(t, parser.PackageClauseOnly, func(dir, file string, syntax *ast.File) {
		switch syntax.Name.Name {
		case "util", "utils", "common", "helpers", "misc", "base", "types":
			t.Errorf("%s: package %s: such a name says nothing, so everything ends up in it", file, syntax.Name.Name)
		}
	})
}
