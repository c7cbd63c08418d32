package nvrtc

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Release is the version of compiler and assembler. It is old on purpose: PTX runs only under drivers at least as new as
// the compiler that wrote it. 12.1 knows Hopper (sm_90a), and its PTX runs from driver release 530 on.
const Release = "12.1.105"

// wheel is a Python wheel of one version and what is taken out of it.
type wheel struct {
	project string // on the registry
	file    string
	sha256  string
	members []string
}

// wheels are the two that are needed, as the registry pypi.org lists them for Linux on amd64.
var wheels = []wheel{
	{
		project: "nvidia-cuda-nvrtc-cu12",
		file:    "nvidia_cuda_nvrtc_cu12-12.1.105-py3-none-manylinux1_x86_64.whl",
		sha256:  "339b385f50c309763ca65456ec75e17bbefcbbf2893f462cb8b90584cd27a1c2",
		members: []string{"nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.1"},
	},
	{
		project: "nvidia-cuda-nvcc-cu12",
		file:    "nvidia_cuda_nvcc_cu12-12.1.105-py3-none-manylinux1_x86_64.whl",
		sha256:  "a0712a05ffd57d9f017580ffcc808b207f7f4ef7a5ca8ac1312318b153739a18",
		members: []string{"nvidia/cuda_nvcc/bin/ptxas"},
	},
}

// Tools are the files of the fixed release.
type Tools struct {
	Library   string // libnvrtc.so.12, its built-ins beside it
	Assembler string // ptxas
}

// downloadLimit is how long pip may take for one wheel of 24 MB.
const downloadLimit = 5 * time.Minute

// Fetch returns the tools below a cache folder, by default one of the user's ("": secencoder in os.UserCacheDir). What is
// missing there is downloaded by pip as it is configured, its SHA-256 compared with the one written here, and unpacked;
// what is there is compared again, so that a damaged cache is noticed and made anew. say hears what is downloaded. An
// error that is about this machine and not about the files wraps ErrUnavailable. It may run in several processes at once.
func Fetch(ctx context.Context, cache string, say func(string)) (*Tools, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("%w: the wheels of release %s are for linux/amd64, this is %s/%s", ErrUnavailable, Release, runtime.GOOS, runtime.GOARCH)
	}
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("%w: no cache folder: %w", ErrUnavailable, err)
		}
		cache = filepath.Join(user, "secencoder", "cuda-"+Release)
	}
	if err := os.MkdirAll(cache, 0o777); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, w := range wheels {
		if err := w.get(ctx, cache, say); err != nil {
			return nil, err
		}
	}
	in := func(member string) string { return filepath.Join(cache, path.Base(member)) }
	return &Tools{Library: in(wheels[0].members[0]), Assembler: in(wheels[1].members[0])}, nil
}

// get makes sure that what is taken out of the wheel lies in the cache.
func (w *wheel) get(ctx context.Context, cache string, say func(string)) error {
	if err := w.fetch(ctx, cache, say); err != nil {
		return err
	}
	if err := w.unpack(cache); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Join(cache, w.file), err)
	}
	return nil
}

// fetch makes sure that the wheel lies in the cache with the hash it must have.
func (w *wheel) fetch(ctx context.Context, cache string, say func(string)) (err error) {
	file := filepath.Join(cache, w.file)
	switch got, err := hashOf(file); {
	case err == nil && got == w.sha256:
		return nil
	case err == nil:
		say(fmt.Sprintf("%s is damaged (SHA-256 %s, want %s): downloading it again", file, got, w.sha256))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("%w: %s is not in %s, and there is no python3 whose pip could download it", ErrUnavailable, w.file, cache)
	}
	// A folder of its own: two that run at once do not write into each other's file, and a killed one leaves no half wheel.
	dir, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	say(fmt.Sprintf("downloading %s==%s", w.project, Release))
	ctx, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	pip := exec.CommandContext(ctx, python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
		"--no-deps", "--only-binary=:all:", "--platform", "manylinux1_x86_64", "--dest", dir, w.project+"=="+Release)
	pip.WaitDelay = 10 * time.Second
	if out, err := pip.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%w: %s: %w: %s", ErrUnavailable, strings.Join(pip.Args, " "), err, lastLine(out))
	}
	got, err := hashOf(filepath.Join(dir, w.file))
	if err != nil {
		return fmt.Errorf("pip downloaded something else than %s: %w", w.file, err)
	}
	if got != w.sha256 {
		return fmt.Errorf("the registry's %s has SHA-256 %s, want %s: it is not the file that this version of secencoder was made with", w.file, got, w.sha256)
	}
	return os.Rename(filepath.Join(dir, w.file), file)
}

// unpack writes the members that are not in the cache folder as they are in the wheel.
func (w *wheel) unpack(cache string) error {
	archive, err := zip.OpenReader(filepath.Join(cache, w.file))
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, name := range w.members {
		if err := unpackMember(&archive.Reader, name, filepath.Join(cache, path.Base(name))); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func unpackMember(archive *zip.Reader, name, to string) (err error) {
	from, err := archive.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	header, ok := info.Sys().(*zip.FileHeader)
	if !ok {
		return fmt.Errorf("no header in the archive")
	}
	if sum, err := checksumOf(to); err == nil && sum == header.CRC32 {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(to), "unpack-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, from) // compares the archive's checksum at the end
	err = errors.Join(err, f.Chmod(0o755), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

func hashOf(file string) (string, error) {
	h := sha256.New()
	if err := feed(h, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func checksumOf(file string) (uint32, error) {
	h := crc32.NewIEEE()
	if err := feed(h, file); err != nil {
		return 0, err
	}
	return h.Sum32(), nil
}

func feed(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// lastLine returns the last line of what a program said that is not empty.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
