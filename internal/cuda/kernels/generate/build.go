package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/secencoder/secencoder/internal/cuda/kernels/ptx"
	"github.com/secencoder/secencoder/internal/cuda/nvrtc"
)

// virtual is the architecture whose PTX runs on every GPU that the kernels are for: Ampere and all that came later.
const virtual = "compute_80"

// architectures are those that the module is assembled for, each with the variant that a driver would load on it: A100,
// L4 and RTX 40, H100 and H200.
var architectures = []struct{ name, variant string }{{"sm_80", ""}, {"sm_89", ""}, {"sm_90a", "sm_90a"}}

// resources is the name of the table.
const resources = "RESOURCES.md"

// source is a .cu file with what it includes and what it asks for.
type source struct {
	name     string // without .cu
	text     string
	headers  map[string]string
	options  []string // of its own, //ptx:options
	variants []string // architectures beside virtual, //ptx:variant
}

// build returns every file that the .cu files of a folder make, by name.
func build(ctx context.Context, tools *nvrtc.Tools, dir string) (map[string][]byte, error) {
	sources, err := readSources(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	compiler, err := nvrtc.Open(tools.Library)
	if err != nil {
		return nil, err
	}
	texts, err := compileAll(compiler, sources)
	if err != nil {
		return nil, err
	}
	var table table
	if err := table.fill(ctx, tools, texts); err != nil {
		return nil, err
	}
	files := map[string][]byte{resources: []byte(table.String())}
	for name, text := range texts {
		files[name] = []byte(text)
	}
	return files, nil
}

// readSources reads the .cu files of a folder, in the order of their names.
func readSources(folder fs.FS) ([]source, error) {
	names, err := fs.Glob(folder, "*.cu")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no .cu file in the folder: give it by -dir")
	}
	var list []source
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		s := source{name: strings.TrimSuffix(name, ".cu"), text: string(text), headers: map[string]string{}}
		if err := s.include(folder, name, s.text); err != nil {
			return nil, err
		}
		if err := s.marks(); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

var includeLine = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]*"([^"]+\.cuh)"`)

// include reads the headers that a text includes, and theirs. Only .cuh files are given to the compiler: what else a
// source includes is for other compilers, behind a condition.
func (s *source) include(folder fs.FS, from, text string) error {
	for _, m := range includeLine.FindAllStringSubmatch(text, -1) {
		if _, ok := s.headers[m[1]]; ok {
			continue
		}
		header, err := fs.ReadFile(folder, m[1])
		if err != nil {
			return fmt.Errorf("%s includes %q: %w", from, m[1], err)
		}
		s.headers[m[1]] = string(header)
		if err := s.include(folder, m[1], string(header)); err != nil {
			return err
		}
	}
	return nil
}

var markLine = regexp.MustCompile(`(?m)^//ptx:(\S*)[ \t]*(.*)$`)

// marks reads the lines of a source that ask for something: "//ptx:options --fmad=false", "//ptx:variant compute_90a".
func (s *source) marks() error {
	for _, m := range markLine.FindAllStringSubmatch(s.text, -1) {
		words := strings.Fields(m[2])
		switch {
		case m[1] == "options" && len(words) > 0:
			s.options = append(s.options, words...)
		case m[1] == "variant" && len(words) == 1 && words[0] == "compute_90a":
			s.variants = append(s.variants, words[0])
		default:
			return fmt.Errorf("%s.cu: the line %q asks for what is not there: there are \"//ptx:options OPTION…\" and \"//ptx:variant compute_90a\"", s.name, m[0])
		}
	}
	return nil
}

// compileAll compiles all sources and their variants and returns the files of PTX by name.
func compileAll(compiler *nvrtc.Compiler, sources []source) (map[string]string, error) {
	major, minor, err := compiler.Version()
	if err != nil {
		return nil, err
	}
	if release := fmt.Sprintf("%d.%d.", major, minor); !strings.HasPrefix(nvrtc.Release, release) {
		return nil, fmt.Errorf("the compiler says that it is %s, want %s", release, nvrtc.Release)
	}
	type job struct {
		source     *source
		name, arch string
	}
	var jobs []job
	for i := range sources {
		s := &sources[i]
		jobs = append(jobs, job{s, s.name + ptx.Extension, virtual})
		for _, v := range s.variants {
			jobs = append(jobs, job{s, s.name + "." + strings.Replace(v, "compute_", "sm_", 1) + ptx.Extension, v})
		}
	}
	texts := make([]string, len(jobs))
	errs := make([]error, len(jobs))
	parallel(len(jobs), func(i int) { texts[i], errs[i] = jobs[i].source.compile(compiler, jobs[i].arch) })
	files := map[string]string{}
	for i, j := range jobs {
		if errs[i] != nil {
			return nil, errs[i]
		}
		files[j.name] = texts[i]
	}
	return files, nil
}

// compile returns the PTX of a source for an architecture, with its head. Products and sums are fused where the source
// says fmaf and nowhere else, as in the reference. A warning is an error.
func (s *source) compile(compiler *nvrtc.Compiler, arch string) (string, error) {
	options := append([]string{"--gpu-architecture=" + arch, "--std=c++17", "--fmad=false"}, s.options...)
	text, log, err := compiler.Compile(nvrtc.Program{Name: s.name + ".cu", Source: s.text, Headers: s.headers, Options: options})
	if err != nil {
		return "", err
	}
	if log != "" {
		return "", fmt.Errorf("%s.cu: the compiler warns:\n%s", s.name, strings.TrimSpace(log))
	}
	head := ptx.Head{Compiler: "NVRTC " + nvrtc.Release, Options: options}
	head.Inputs = append(head.Inputs, ptx.InputOf(s.name+".cu", []byte(s.text)))
	for _, name := range slices.Sorted(maps.Keys(s.headers)) {
		head.Inputs = append(head.Inputs, ptx.InputOf(name, []byte(s.headers[name])))
	}
	return head.String() + dropUnused(string(text)), nil
}

var compilerTable = regexp.MustCompile(`^\.global .* (\w*2nv6target\w*)[ \[;].*\n$`)

// dropUnused leaves out the forty tables of architectures that the compiler puts into every module and no kernel reads.
func dropUnused(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if m := compilerTable.FindStringSubmatch(line); m != nil && strings.Count(text, m[1]) == 1 {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// parallel calls f for each of n numbers, on as many threads as there are processors.
func parallel(n int, f func(i int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}
