package emulator

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
)

// ErrNotPermitted says that this process may not trace another, as in some containers.
var ErrNotPermitted = errors.New("ptrace is not permitted")

// childVariable marks the child; its value is the name of the test.
const childVariable = "SECENCODER_EMULATED_TEST"

// Emulated reports whether this process runs under Run, started by Test.
func Emulated() bool { return os.Getenv(childVariable) != "" }

// Test lets a test that uses tile instructions run where the processor has none: it runs the test t once more in a child
// under Run, shows what the child prints, fails t when the child fails, and returns false. In the child it returns true,
// and the test goes on. Where there is no emulation it skips t. flags are further flags of the child, after the test's
// own. t must be a top-level test and call it first.
func Test(t *testing.T, flags ...string) bool {
	t.Helper()
	if Emulated() {
		return true
	}
	if why := supported(); why != "" {
		t.Skip(why)
	}
	n, out, err := Child(t, flags...)
	if errors.Is(err, ErrNotPermitted) {
		t.Skipf("tiles cannot be emulated here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%d tile instructions were emulated\n%s", n, out)
	return false
}

// Child runs the test t once more under Run and returns the number of tile instructions and what the child printed; see
// Run for the error.
func Child(t *testing.T, flags ...string) (int, []byte, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, append([]string{"-test.run", "^" + t.Name() + "$", "-test.v"}, flags...)...)
	if testing.Short() {
		command.Args = append(command.Args, "-test.short")
	}
	command.Env = append(os.Environ(), childVariable+"="+t.Name())
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = write, write
	printed := make(chan []byte)
	go func() {
		text, err := io.ReadAll(read)
		if err != nil {
			text = append(text, err.Error()...)
		}
		printed <- text
	}()
	n, err := Run(command)
	if e := write.Close(); err == nil {
		err = e
	}
	out := <-printed
	if e := read.Close(); err == nil {
		err = e
	}
	return n, out, err
}
