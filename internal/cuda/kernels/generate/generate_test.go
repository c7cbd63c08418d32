package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/secencoder/secencoder/internal/cuda/nvrtc"
)

func TestSourcesNameWhatTheyInclude(t *testing.T) {
	folder := fstest.MapFS{
		"b.cu":    {Data: []byte("#include \"one.cuh\"\n#ifndef __CUDACC_RTC__\n#include \"shim/shim.h\"\n#endif\n//ptx:options --maxrregcount=64\n//ptx:variant compute_90a\n")},
		"a.cu":    {Data: []byte("// #include \"none.cuh\"\n")},
		"one.cuh": {Data: []byte("#pragma once\n  #  include \"two.cuh\"\n")},
		"two.cuh": {Data: []byte("#include \"one.cuh\"\n")},
	}
	got, err := readSources(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].name != "a" || len(got[0].headers) != 0 || got[1].name != "b" || len(got[1].headers) != 2 || got[1].headers["two.cuh"] == "" {
		t.Errorf("sources %+v", got)
	}
	if !slices.Equal(got[1].options, []string{"--maxrregcount=64"}) || !slices.Equal(got[1].variants, []string{"compute_90a"}) {
		t.Errorf("options %q, variants %q", got[1].options, got[1].variants)
	}
	for name, text := range map[string]string{
		"missing header":  "#include \"none.cuh\"\n",
		"unknown mark":    "//ptx:speed fast\n",
		"unknown variant": "//ptx:variant compute_12\n",
		"empty options":   "//ptx:options\n",
	} {
		if got, err := readSources(fstest.MapFS{"a.cu": {Data: []byte(text)}}); err == nil || !strings.Contains(err.Error(), "a.cu") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := readSources(fstest.MapFS{}); err == nil {
		t.Error("an empty folder has sources")
	}
}

// kernel is a source with one kernel of a name, which keeps a tile in shared memory.
func kernel(name, body string) string {
	return "#include \"tile.cuh\"\nextern __shared__ float more[];\n" +
		"extern \"C\" __global__ void __launch_bounds__(64) " + name + "(float* x, int n) {\n\t__shared__ float tile[TILE];\n" +
		"\tint i = threadIdx.x;\n\ttile[i] = x[i] + more[i];\n\t__syncthreads();\n" + body + "\n}\n"
}

const plain = "\tif (i < n) x[i] = tile[63 - i];"

// folder writes sources and returns the compiler that reads them; without one in the cache the test is skipped.
func folder(t *testing.T, files map[string]string) (string, *nvrtc.Tools) {
	t.Helper()
	t.Setenv("PATH", t.TempDir()) // a test downloads nothing
	tools, err := nvrtc.Fetch(context.Background(), "", func(string) {})
	if err == nil {
		_, err = nvrtc.Open(tools.Library)
	}
	if errors.Is(err, nvrtc.ErrUnavailable) {
		t.Skipf("needs the CUDA compiler, which go generate ./internal/cuda/kernels downloads: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files["tile.cuh"] = "#pragma once\n#define TILE 64\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir, tools
}

func TestGenerateWritesWhatCheckWants(t *testing.T) {
	dir, _ := folder(t, map[string]string{"a.cu": kernel("first", plain), "b.cu": "//ptx:variant compute_90a\n" + kernel("second", plain), "gone.ptx": "old"})
	ctx := context.Background()
	if err := run(ctx, dir, "", true); err == nil || !strings.Contains(err.Error(), "a.ptx: it is missing") || !strings.Contains(err.Error(), "gone.ptx: its source is gone") {
		t.Errorf("check of an empty folder: %v", err)
	}
	if err := run(ctx, dir, "", false); err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, dir, "", true); err != nil {
		t.Errorf("check after generate: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "gone.ptx")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what has no source is still there: %v", err)
	}
	variant, err := os.ReadFile(filepath.Join(dir, "b.sm_90a.ptx"))
	if err != nil || !bytes.Contains(variant, []byte("\n.target sm_90a\n")) || bytes.Contains(variant, []byte(dir)) {
		t.Errorf("the variant: %v\n%s", err, variant)
	}
	table, err := os.ReadFile(filepath.Join(dir, resources))
	if err != nil || !bytes.Contains(table, []byte("\n| first | a.cu | ")) || !bytes.Contains(table, []byte(" | 256 | 1 | 0 |\n| second | b.cu | ")) {
		t.Errorf("the table: %v\n%s", err, table)
	}
	// A change of a header makes the PTX old, though no instruction changes.
	if err := os.WriteFile(filepath.Join(dir, "tile.cuh"), []byte("#pragma once\n\n#define TILE 64\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, dir, "", true); err == nil || !strings.Contains(err.Error(), "a.ptx: line 5 differs") || strings.Contains(err.Error(), resources) {
		t.Errorf("check after a change of a header: %v", err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"local memory": {kernel("first", "\tfloat own[16];\n\tfor (int j = 0; j < n; j++) own[j & 15] = tile[j];\n\tx[i] = own[n & 15];"), "first on sm_80: "},
		"a warning":    {kernel("first", "\tint unused;\n"+plain), "the compiler warns"},
		"wrong C":      {kernel("first", "\tx[i] = y;"), "b.cu(8)"},
		"a name twice": {kernel("taken", plain), "taken"},
	} {
		dir, tools := folder(t, map[string]string{"a.cu": kernel("taken", plain), "b.cu": c.text})
		if files, err := build(context.Background(), tools, dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d files, error %v", name, len(files), err)
		}
	}
}
