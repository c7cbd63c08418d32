package train

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// shared is the folder that holds the fixture of all tests.
var shared string

// childVariable makes the test binary a trainer: its value is the run folder. The crash test kills such children.
const childVariable = "SECENCODER_TEST_TRAIN"

func TestMain(m *testing.M) {
	if out := os.Getenv(childVariable); out != "" {
		os.Exit(child(out))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = os.MkdirTemp("", "train-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(shared)
	if err := makeData(filepath.Join(shared, "data")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := writeSmallModel(filepath.Join(shared, "small.json")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// child trains or resumes the run that the crash test began, with the compiled model.
func child(out string) int {
	dir, size := os.Getenv("SECENCODER_TEST_DATA"), os.Getenv("SECENCODER_TEST_SIZE")
	steps, err := strconv.Atoi(os.Getenv("SECENCODER_TEST_STEPS"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o := crashOptions(out, dir, size, steps)
	o.Resume = true
	if _, err := Run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
