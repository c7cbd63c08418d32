package cuda

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// EnvLibrary is the environment variable that names where NVIDIA's libraries are: a folder, for all of them, or one
// file, for the library of that name.
const EnvLibrary = "SECENCODER_CUDA_LIB"

// Kind is one of NVIDIA's libraries.
type Kind int

const (
	LibCUDA     Kind = iota // the driver; comes with the driver, nowhere else
	LibCublasLt             // matrix products; comes with the toolkit and with Python wheels
	LibNVRTC                // CUDA C to PTX; the same
)

// libraries says what each is called, on linux and on windows, a function that it always had, and what to do when it is
// not found. An older major version stands first: it runs on more drivers.
var libraries = [...]struct {
	what    string
	stem    string
	linux   []string
	windows []string
	mark    string
	missing error
	hint    string
}{
	LibCUDA: {"a CUDA driver", "cuda", []string{"libcuda.so.1"}, []string{"nvcuda.dll"}, "cuInit", ErrNoDriver,
		"install the NVIDIA driver, in a container start it with --gpus all, or name the file or folder by --cuda-library or " + EnvLibrary},
	LibCublasLt: {"a cublasLt", "cublasLt", []string{"libcublasLt.so.12", "libcublasLt.so.13"}, []string{"cublasLt64_12.dll", "cublasLt64_13.dll"}, "cublasLtCreate", ErrNoLibrary,
		"install it (pip install nvidia-cublas-cu12, or the CUDA toolkit), or name the file or folder by --cuda-library or " + EnvLibrary},
	LibNVRTC: {"an NVRTC", "nvrtc", []string{"libnvrtc.so.12", "libnvrtc.so.13"}, []string{"nvrtc64_120_0.dll", "nvrtc64_130_0.dll"}, "nvrtcVersion", ErrNoLibrary,
		"install it (pip install nvidia-cuda-nvrtc-cu12, or the CUDA toolkit), or name the file or folder by --cuda-library or " + EnvLibrary},
}

// files returns the names that the library may have on this system, the one to try first first.
func (k Kind) files() []string {
	if runtime.GOOS == "windows" {
		return libraries[k].windows
	}
	return libraries[k].linux
}

// Library is an opened library. It stays open until the process ends, used or not: drivers do not survive being
// unloaded.
type Library struct {
	path   string
	handle uintptr
}

// Path returns the file that was opened, also where the system found it by its name; the bare name only where the system
// does not tell.
func (l *Library) Path() string { return l.path }

// Symbol looks a function up. The error names it.
func (l *Library) Symbol(name string) (Symbol, error) {
	addr, err := dlsym(l.handle, name)
	if err != nil || addr == 0 {
		return Symbol{}, fmt.Errorf("%s has no function %s", l.path, name)
	}
	return Symbol{Name: name, addr: addr}, nil
}

// OpenLibrary looks for a library and opens it. It looks in this order: option, the environment variable
// SECENCODER_CUDA_LIB, the system (whose dynamic linker reads LD_LIBRARY_PATH first), the Python packages of VIRTUAL_ENV and
// of the python3 on PATH (without running it), LD_LIBRARY_PATH again, folder by folder. The option, "" for none, is a folder
// or a file as the variable is: what lies there is the only one that is tried, and what does not lie there is looked for
// further on. The error lists every place with what was wrong there.
func OpenLibrary(k Kind, option string) (*Library, error) {
	return openSuitable(k, option, func(*Library) error { return nil })
}

// openSuitable is OpenLibrary for the first library that suits: one for which suits returns an error is as good as one
// that does not open. It stays open all the same, see Library.
func openSuitable(k Kind, option string, suits func(*Library) error) (*Library, error) {
	if absent != "" {
		return nil, fmt.Errorf("%w: %s", libraries[k].missing, absent)
	}
	return firstOf(k, find(k, option), suits)
}

// firstOf opens the first of the candidates that suits.
func firstOf(k Kind, list []candidate, suits func(*Library) error) (*Library, error) {
	var tried, empty []string
	var why error // of the first file that was there, or place that was named
	for _, c := range list {
		l, opened, err := c.open(k, suits)
		if err == nil {
			return l, nil
		}
		if err == errNotThere {
			empty = append(empty, c.from)
		} else {
			err = fmt.Errorf("%s: %w", c.from, err)
			if why == nil && (opened || c.problem != nil || filepath.IsAbs(c.path)) {
				why = err
			}
			tried = append(tried, err.Error())
		}
	}
	if len(empty) > 0 {
		tried = append(tried, "not there: "+strings.Join(empty, ", "))
	}
	places := strings.Join(tried, "\n  ")
	if why == nil {
		return nil, fmt.Errorf("%w: %s could not be opened; %s; tried:\n  %s", libraries[k].missing, k.files()[0], libraries[k].hint, places)
	}
	return nil, fmt.Errorf("%w: %s could not be opened: %w; %s; tried:\n  %s", libraries[k].missing, k.files()[0], why, libraries[k].hint, places)
}

// open opens the library of a place; opened also when it does not suit.
func (c candidate) open(k Kind, suits func(*Library) error) (l *Library, opened bool, err error) {
	if c.problem != nil {
		return nil, false, c.problem
	}
	handle, err := dlopen(c.path)
	if err != nil {
		return nil, false, plain(c.path, err)
	}
	l = &Library{path: c.path, handle: handle}
	mark, err := l.Symbol(libraries[k].mark)
	if err != nil {
		return nil, true, fmt.Errorf("not %s: it has no function %s", libraries[k].what, libraries[k].mark)
	}
	if !filepath.IsAbs(c.path) {
		if file := fileOf(handle, mark.addr); file != "" {
			l.path = file
		}
	}
	return l, true, suits(l)
}

// errNotThere is the problem of most places: the error lists them in one line.
var errNotThere = errors.New("not there")

// candidate is one place that a library may be at.
type candidate struct {
	from    string // who named the place, for the error
	path    string // file, or a bare name for the system's own search
	problem error  // why it is not worth opening; nil when it is
	only    bool   // somebody asked for this one: it ends the list, because no other will do
}

// find lists the places of a library in the order in which they are tried. It opens nothing.
func find(k Kind, option string) []candidate {
	var list []candidate
	for _, named := range []struct{ from, path string }{{"option ", option}, {EnvLibrary + "=", os.Getenv(EnvLibrary)}} {
		if named.path == "" {
			continue
		}
		list = asked(list, k, named.from+named.path, named.path)
		if len(list) > 0 && list[len(list)-1].only {
			return list
		}
	}
	for _, file := range k.files() {
		list = append(list, candidate{from: "system " + file, path: file})
	}
	for _, dir := range systemFolders() {
		list = among(list, k, "system", dir, dir)
	}
	for _, site := range pythonSites() {
		list = among(list, k, "Python packages", site, wheelFolders(site)...)
	}
	for _, dir := range filepath.SplitList(os.Getenv(pathVariable())) {
		if dir != "" {
			list = among(list, k, pathVariable(), dir, dir)
		}
	}
	return list
}

// asked adds the place that a person named. A file is for the library of its name, and then nothing else will do; a
// folder is for all libraries, so one that does not hold this library is no error.
func asked(list []candidate, k Kind, from, path string) []candidate {
	if full, err := filepath.Abs(path); err == nil { // else a bare name would be looked for in the system
		path = full
	}
	is := func(k Kind) bool {
		return strings.Contains(strings.ToLower(filepath.Base(path)), strings.ToLower(libraries[k].stem))
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return append(list, candidate{from: from, problem: errors.New("there is no such file or folder"), only: true})
	case info.IsDir():
		before := len(list)
		for _, file := range k.files() {
			full := filepath.Join(path, file)
			if _, err := os.Stat(full); err == nil {
				list = append(list, candidate{from: from + ": " + file, path: full, problem: foreignFile(full)})
			}
		}
		if len(list) == before {
			return append(list, candidate{from: from, problem: fmt.Errorf("no %s in this folder", strings.Join(k.files(), " or "))})
		}
		list[len(list)-1].only = true
		return list
	case is(k):
		return append(list, candidate{from: from, path: path, problem: foreignFile(path), only: true})
	case !is(LibCUDA) && !is(LibCublasLt) && !is(LibNVRTC):
		return append(list, candidate{from: from, problem: errors.New("a file with the name of none of the libraries"), only: true})
	}
	return among(list, k, from, filepath.Dir(path), filepath.Dir(path)) // a file of another library: this one may lie beside it
}

// among adds the files of the library that are in the folders of a place, or the remark that there are none.
func among(list []candidate, k Kind, from, place string, folders ...string) []candidate {
	before := len(list)
	for _, dir := range folders {
		for _, file := range k.files() {
			full := filepath.Join(dir, file)
			if _, err := os.Stat(full); err == nil {
				list = append(list, candidate{from: from + " " + full, path: full, problem: foreignFile(full)})
			}
		}
	}
	if len(list) == before {
		list = append(list, candidate{from: from + " " + place, problem: errNotThere})
	}
	return list
}
