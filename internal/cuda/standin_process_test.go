package cuda_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// TestStandinChild is no test: it is what the second process of the tests below does.
func TestStandinChild(t *testing.T) {
	task := os.Getenv("SECENCODER_STANDIN_CHILD")
	if task == "" {
		t.Skip("this is the second process of other tests")
	}
	drv, err := cuda.Load(cuda.Options{})
	succeed(t, err)
	if task == "everything" {
		for range 20 {
			succeed(t, everything(drv))
		}
		return
	}
	bytes, err := strconv.Atoi(task)
	succeed(t, err)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	if err != nil {
		fmt.Printf("refused: %v\n", err)
		return
	}
	if _, err := dev.Alloc(nil, bytes); err != nil {
		fmt.Printf("refused: %v\n", err)
	} else {
		fmt.Println("ready")
	}
	if _, err := io.ReadAll(os.Stdin); err != nil { // until the parent ends it
		t.Error(err)
	}
	if err := dev.Close(); err == nil || !strings.Contains(err.Error(), "never freed") {
		t.Errorf("close: %v", err)
	}
}

// child starts this binary as a second process on the stand-in.
func child(t *testing.T, lib *standin.Library, settings, task string) (command *exec.Cmd, input io.Closer, said *bufio.Reader) {
	t.Helper()
	command = exec.Command(os.Args[0], "-test.run=^TestStandinChild$", "-test.v")
	command.Env = append(os.Environ(), "SECENCODER_CUDA_LIB="+lib.Path(), "SECENCODER_STANDIN_CHILD="+task, "STANDIN="+settings)
	in, err := command.StdinPipe()
	succeed(t, err)
	out, err := command.StdoutPipe()
	succeed(t, err)
	command.Stderr = os.Stderr
	succeed(t, command.Start())
	t.Cleanup(func() {
		if command.ProcessState == nil {
			// Killing what has just ended is no error of the test.
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	})
	return command, in, bufio.NewReader(out)
}

// answer reads the child's words until it is ready or refused.
func answer(t *testing.T, said *bufio.Reader) (line string) {
	t.Helper()
	err := within(t, 30*time.Second, "the second process", func() error {
		for {
			var err error
			if line, err = said.ReadString('\n'); err != nil {
				return err
			}
			line = strings.TrimSpace(line)
			if line == "ready" || strings.HasPrefix(line, "refused") {
				return nil
			}
		}
	})
	succeed(t, err)
	return line
}

// Two processes share the device's memory: the second is told what is free, goes on when the first gives memory back,
// and also when the first is killed.
func TestStandinTwoProcesses(t *testing.T) {
	const settings = "memory=100000000"
	t.Setenv("STANDIN", settings)
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	t.Cleanup(func() { succeed(t, dev.Close()) })
	s := stream(t, dev)
	for _, end := range []string{"closes", "is killed"} {
		other, input, said := child(t, lib, settings, "60000000")
		if line := answer(t, said); line != "ready" {
			t.Fatalf("the second process: %s", line)
		}
		infos, err := drv.Devices()
		succeed(t, err)
		if free := infos[0].Free; free < 30e6 || free > 40e6 {
			t.Errorf("%d bytes are free beside a process with 60 MB of 100", free)
		}
		_, err = dev.Alloc(s, 60e6)
		if !errors.Is(err, cuda.ErrOutOfMemory) || !strings.Contains(err.Error(), "other programs") {
			t.Errorf("60 MB twice: %v", err)
		}
		t.Log(err)
		small, err := dev.Alloc(s, 20e6)
		succeed(t, err)
		succeed(t, s.Fill(small, 1, 20e6))
		succeed(t, s.Synchronize())
		succeed(t, dev.Free(s, small))
		if end == "closes" {
			succeed(t, input.Close())
			if err := other.Wait(); err != nil {
				t.Errorf("the second process: %v", err)
			}
		} else {
			succeed(t, other.Process.Kill())
			if err := other.Wait(); err == nil {
				t.Error("the killed process says that all is well")
			}
		}
		p, err := dev.Alloc(s, 60e6)
		succeed(t, err)
		succeed(t, dev.Free(s, p))
		succeed(t, dev.Trim())
	}
}

// A second process that takes the memory first is the one that is not refused; this one is, with the same words.
func TestStandinSecondProcessRefused(t *testing.T) {
	const settings = "memory=100000000"
	t.Setenv("STANDIN", settings)
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	t.Cleanup(func() { succeed(t, dev.Close()) })
	memory(t, dev, nil, 60e6)
	_, _, said := child(t, lib, settings, "60000000")
	if line := answer(t, said); !strings.HasPrefix(line, "refused: cuMemAlloc_v2:") || !strings.Contains(line, "60.0 MB") {
		t.Errorf("the second process: %s", line)
	}
}

// On a device in exclusive mode the second process is told who is in the way, and can have it afterwards.
func TestStandinExclusive(t *testing.T) {
	const settings = "exclusive=1"
	t.Setenv("STANDIN", settings)
	lib, drv := loadStandin(t)
	other, input, said := child(t, lib, settings, "1000")
	if line := answer(t, said); line != "ready" {
		t.Fatalf("the second process: %s", line)
	}
	_, err := drv.Open(0, cuda.DeviceOptions{})
	var e *cuda.Error
	if !errors.As(err, &e) || e.Code != 46 || e.Call != "cuDevicePrimaryCtxRetain" || !strings.Contains(err.Error(), "exclusive") {
		t.Errorf("a device that another process has: %v", err)
	}
	t.Log(err)
	infos, err := drv.Devices()
	succeed(t, err)
	if len(infos) != 1 || infos[0].Err == nil || infos[0].Name == "" {
		t.Errorf("a device that another process has is listed as %+v", infos)
	}
	succeed(t, input.Close())
	succeed(t, other.Wait())
	succeed(t, everything(drv))
}

// Three processes do everything at the same time.
func TestStandinProcessesAtOnce(t *testing.T) {
	lib, drv := loadStandin(t)
	var others []*exec.Cmd
	for range 2 {
		command, _, said := child(t, lib, "", "everything")
		others = append(others, command)
		go func() { _, _ = io.Copy(io.Discard, said) }() // what it prints is of no interest; its exit is
	}
	for range 20 {
		succeed(t, everything(drv))
	}
	for _, other := range others {
		succeed(t, within(t, 30*time.Second, "the second process", other.Wait))
	}
}
