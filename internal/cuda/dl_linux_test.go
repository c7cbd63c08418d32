//go:build linux && !android && (amd64 || arm64) && !nocuda

package cuda

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// TestSystemChild is no test: it is what the second process of TestSystemFirst does.
func TestSystemChild(t *testing.T) {
	if os.Getenv("SECENCODER_SYSTEM_CHILD") == "" {
		t.Skip("this is the second process of another test")
	}
	for _, k := range []Kind{LibCUDA, LibCublasLt} {
		l, err := OpenLibrary(k, "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("opened %s\n", l.Path())
	}
}

// TestSystemFirst: what the dynamic linker finds, by LD_LIBRARY_PATH among others, goes before Python packages, and it is
// told by its file.
func TestSystemFirst(t *testing.T) {
	lib, other := standin.Build(t), standin.Build(t)
	folder, err := filepath.EvalSymlinks(lib.Path())
	if err != nil {
		t.Fatal(err)
	}
	env := t.TempDir()
	wheel := filepath.Join(env, "lib", "python3.12", "site-packages", "nvidia", "cublas", "lib")
	if err := os.MkdirAll(filepath.Dir(wheel), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other.Path(), wheel); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSystemChild$", "-test.v")
	cmd.Env = append(os.Environ(), EnvLibrary+"=", "SECENCODER_SYSTEM_CHILD=1", "VIRTUAL_ENV="+env, "LD_LIBRARY_PATH="+lib.Path())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// One file of the stand-in holds both libraries.
	if got, want := strings.Count(string(out), "opened "+filepath.Join(folder, "libcuda.so.1")+"\n"), 2; got != want {
		t.Errorf("the file in LD_LIBRARY_PATH was opened %d times, want %d:\n%s", got, want, out)
	}
}

func TestMappedFile(t *testing.T) {
	const maps = `00400000-00401000 r--p 00000000 fe:00 12                             /usr/bin/program
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00001000 fe:00 13                         /opt/with a space/libcuda.so.1
7f0000004000-7f0000005000 r-xp 00000000 00:00 0                          [vdso]
`
	for at, want := range map[uintptr]string{
		0x00400fff: "/usr/bin/program", 0x00401000: "", 0x7f0000000000: "", 0x7f0000002000: "/opt/with a space/libcuda.so.1",
		0x7f0000003000: "", 0x7f0000004000: "",
	} {
		if got := mappedFile(maps, at); got != want {
			t.Errorf("at %#x: %q, want %q", at, got, want)
		}
	}
}
