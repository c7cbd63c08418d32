// Package shim runs the GPU kernels on the CPU, for tests: the very .cu files, compiled as C++ against a header that stands
// in for what CUDA has built in. The library answers
//
//	int shim_launch(name, gridX, gridY, gridZ, blockX, blockY, blockZ, shared, params)
//
// as cuLaunchKernel does: params are addresses of the parameters, device addresses are those of this process. 0 is done, 1
// an unknown kernel, 2 a wrong kernel, 3 a launch that no GPU takes; shim_error says which, shim_order changes the order
// in which blocks and threads run.
//
// Begin with Build. It is no model of a GPU's speed, nor of its memory; shim.inc says what it finds.
package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// flags keep the arithmetic of a GPU: no product fused into a sum, no shortcut. What a compiler warns of is left to the
// compiler of CUDA.
var flags = []string{
	"-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing",
	"-U_FORTIFY_SOURCE", // which takes a jump from one stack to another for an attack
	"-D_XOPEN_SOURCE=700", "-D_DARWIN_C_SOURCE", "-D_GNU_SOURCE",
}

// Build compiles the kernels to dir/libshim.so and returns that path. What was compiled before, from the same sources by
// the same compiler, is copied out of the user's cache folder. It skips the test, and says so, where there is no C++ compiler
// or no source.
func Build(tb testing.TB, dir string) string {
	tb.Helper()
	if runtime.GOOS == "windows" {
		tb.Skip("kernels run on the CPU on Linux and macOS only: their threads need POSIX")
	}
	folder := sources(tb)
	compiler, err := exec.LookPath("c++")
	if err != nil {
		tb.Skip("no C++ compiler (c++), so kernels cannot run on the CPU")
	}
	key, err := keyOf(folder, compiler)
	if err != nil {
		tb.Fatal(err)
	}
	out := filepath.Join(dir, "libshim.so")
	if err := fromCache(key, folder, compiler, out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// sources finds the folder of the shim from the one that the test runs in, which go test makes that of its package.
func sources(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		folder := filepath.Join(dir, "internal", "cuda", "kernels", "shim")
		if _, err := os.Stat(filepath.Join(folder, "shim.inc")); err == nil {
			return folder
		}
		above := filepath.Dir(dir)
		if above == dir {
			tb.Skip("the kernels' sources are not here, so they cannot run on the CPU")
		}
		dir = above
	}
}

// keyOf hashes all that the library is made of.
func keyOf(folder, compiler string) (string, error) {
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", compiler, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%q\n", runtime.GOARCH, compiler, version, flags)
	var files []string
	for _, pattern := range []string{"*.h", "*.inc", "../*.cu", "../*.cuh"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(name), len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// fromCache puts the library of a key at out. Several processes may do so at once: files appear by renaming.
func fromCache(key, folder, compiler, out string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return compile(folder, compiler, out)
	}
	cache = filepath.Join(cache, "secencoder-shim")
	kept := filepath.Join(cache, key+".so")
	if data, err := os.ReadFile(kept); err == nil {
		return os.WriteFile(out, data, 0o755)
	}
	if err := compile(folder, compiler, out); err != nil {
		return err
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil // a cache that cannot be written is none
	}
	if old, err := filepath.Glob(filepath.Join(cache, "*.so")); err == nil && len(old) > 8 {
		for _, name := range old {
			os.Remove(name)
		}
	}
	part, err := os.CreateTemp(cache, "part-*")
	if err != nil {
		return nil
	}
	defer os.Remove(part.Name())
	_, err = part.Write(data)
	if closing := part.Close(); err != nil || closing != nil {
		return nil
	}
	os.Rename(part.Name(), kept) // lost: compiled again next time
	return nil
}

// compile builds the library. The source is called .inc because a Go package may hold no .cpp file without cgo.
func compile(folder, compiler, out string, more ...string) error {
	args := append(slices.Clone(flags), more...)
	args = append(args, "-include", "shim.h", "-o", out, "-x", "c++", "shim.inc")
	cmd := exec.Command(compiler, args...)
	cmd.Dir = folder
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, text)
	}
	return nil
}
