//go:build amd64 && !noasm

package avx512bf16

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestMaker(t *testing.T) {
	if got := makerOf(0x756e6547, 0x49656e69, 0x6c65746e); got != "GenuineIntel" {
		t.Errorf("maker %q", got)
	}
	got := makerOf(vendor())
	if runtime.GOOS != "linux" {
		t.Skipf("maker %q; only Linux says it in a file", got)
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "vendor_id"); ok {
			if want := strings.TrimSpace(strings.TrimLeft(name, "\t :")); got != want {
				t.Errorf("maker %q, /proc/cpuinfo says %q", got, want)
			}
			return
		}
	}
	t.Skip("/proc/cpuinfo has no vendor_id")
}
