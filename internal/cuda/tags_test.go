package cuda

import (
	"go/build"
	"slices"
	"testing"
)

// A binary that imports purego is linked dynamically, so the tag nocuda must keep it out, and so must systems without
// CUDA.
func TestWhoImportsPurego(t *testing.T) {
	for _, c := range []struct {
		system, processor string
		tags              []string
		want              bool
	}{
		{"linux", "amd64", nil, true},
		{"linux", "arm64", nil, true},
		{"linux", "amd64", []string{"nocuda"}, false},
		{"linux", "riscv64", nil, false},
		{"windows", "amd64", nil, false}, // has calls of its own
		{"darwin", "arm64", nil, false},
	} {
		ctx := build.Default
		ctx.GOOS, ctx.GOARCH, ctx.BuildTags = c.system, c.processor, c.tags
		p, err := ctx.ImportDir(".", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(p.Imports, "github.com/ebitengine/purego"); got != c.want {
			t.Errorf("%s/%s, tags %v: imports purego: %v, want %v", c.system, c.processor, c.tags, got, c.want)
		}
	}
}
