//go:build !noasm

package amx

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/cpu"
)

// good is a processor with all that the loops need.
func good() processor {
	return processor{
		avx512: func() (bool, string) { return true, "" }, tile: true, bf16: true, xsave: true, rounds: true,
		cpuid: func(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32) {
			switch {
			case leaf == 0x1d && subleaf == 0:
				return 1, 0, 0, 0
			case leaf == 0x1d && subleaf == 1:
				return 1024<<16 | 8192, 8<<16 | 64, 16, 0
			}
			return 0, 0, 0, 0
		},
		xgetbv: func() uint32 { return 0x602e7 },
		permit: func() error { return nil },
	}
}

// Whatever is missing is named, and nothing is asked for that the processor or the system would not survive.
func TestLacking(t *testing.T) {
	if why := lacking(good()); why != "" {
		t.Errorf("a good processor lacks %q", why)
	}
	never := func() error { t.Error("permission was asked for in vain"); return nil }
	for _, c := range []struct {
		says   string
		change func(p *processor)
	}{
		{"no AVX512BW", func(p *processor) { p.avx512 = func() (bool, string) { return false, "no AVX512BW" } }},
		{"no AVX512_BF16", func(p *processor) { p.rounds = false }},
		{"no AMX-TILE", func(p *processor) { p.tile = false }},
		{"no AMX-BF16", func(p *processor) { p.bf16 = false }},
		{"does not save extended registers", func(p *processor) {
			p.xsave, p.xgetbv = false, func() uint32 { t.Error("XGETBV without OSXSAVE is illegal"); return 0 }
		}},
		{"does not save tile registers", func(p *processor) { p.xgetbv = func() uint32 { return 0x202e7 } }},
		{"no tile palette 1", func(p *processor) {
			p.cpuid = func(_, _ uint32) (eax, ebx, ecx, edx uint32) { return 0, 0, 0, 0 }
		}},
		{"tile palette 1 has 8 tiles of 8 rows", func(p *processor) {
			whole := p.cpuid
			p.cpuid = func(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32) {
				eax, ebx, ecx, edx = whole(leaf, subleaf)
				return eax, ebx, ecx / 2, edx
			}
		}},
	} {
		p := good()
		p.permit = never
		c.change(&p)
		if why := lacking(p); !strings.Contains(why, c.says) {
			t.Errorf("%q, want %q", why, c.says)
		}
	}
	p := good()
	p.permit = func() error { return errors.New("arch_prctl: operation not permitted") }
	if why := lacking(p); !strings.Contains(why, "the kernel does not permit tile registers: arch_prctl: operation not permitted") {
		t.Errorf("%q", why)
	}
}

// Available answers the same each time, with a reason, and yes only where the processor says so.
func TestAvailable(t *testing.T) {
	ok, why := Available()
	if again, reason := Available(); why == "" || again != ok || reason != why {
		t.Errorf("%v (%s), then %v (%s)", ok, why, again, reason)
	}
	if ok && !cpu.X86.HasAMXBF16 {
		t.Error("available without AMX-BF16")
	}
	t.Logf("%v: %s", ok, why)
}

// The request that the kernel refuses is an error in words, here on processors without tiles.
func TestPermit(t *testing.T) {
	err := permit()
	if cpu.X86.HasAMXTile {
		t.Logf("permission: %v", err)
		return
	}
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) || !strings.Contains(err.Error(), "arch_prctl") {
		t.Errorf("%v", err)
	}
}

// The leaves that the probe reads are those of CPUID: leaf 0 names the vendor.
func TestCPUID(t *testing.T) {
	_, ebx, ecx, edx := cpuid(0, 0)
	name := make([]byte, 0, 12)
	for _, w := range []uint32{ebx, edx, ecx} {
		name = append(name, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	for _, c := range name {
		if c < ' ' || c > '~' {
			t.Fatalf("the vendor is %q", name)
		}
	}
	if !cpu.X86.HasOSXSAVE {
		t.Skip("no OSXSAVE")
	}
	if x := xgetbv(); x&3 != 3 {
		t.Errorf("XCR0 is %#x: x87 and SSE are always on", x)
	}
}
