package cuda_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// Out of memory says what was needed and what is free, and the program goes on.
func TestStandinOutOfMemory(t *testing.T) {
	lib, dev := openStandin(t)
	lib.Set(standin.Memory, 80e6)
	s := stream(t, dev)
	var have []cuda.Ptr
	for {
		p, err := dev.Alloc(s, 8e6)
		if err != nil {
			if !errors.Is(err, cuda.ErrOutOfMemory) {
				t.Fatalf("the error is no ErrOutOfMemory: %v", err)
			}
			var e *cuda.Error
			if !errors.As(err, &e) || e.Call != "cuMemAlloc_v2" || e.Code != 2 {
				t.Errorf("%v", err)
			}
			for _, word := range []string{"8.0 MB", "80.0 MB", "--tokens"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error lacks %q: %v", word, err)
				}
			}
			t.Log(err)
			break
		}
		have = append(have, p)
	}
	if len(have) < 9 {
		t.Errorf("80 MB hold only %d blocks of 8 MB", len(have))
	}
	succeed(t, dev.Free(s, have[0]))
	p, err := dev.Alloc(s, 8e6) // from the cache
	succeed(t, err)
	have[0] = p
	for _, p := range have {
		succeed(t, s.Fill(p, 3, 8e6))
		succeed(t, dev.Free(s, p))
	}
	p, err = dev.Alloc(s, 60e6) // the cache is given back for it
	succeed(t, err)
	succeed(t, dev.Free(s, p))
	for _, bytes := range []int{1 << 62, 1<<63 - 1, 81e6} {
		if _, err := dev.Alloc(s, bytes); !errors.Is(err, cuda.ErrOutOfMemory) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
	if _, err := dev.Alloc(s, -1); err == nil {
		t.Error("-1 bytes: no error")
	}
}

// The limit is kept, and what is said of memory is what the driver has given.
func TestStandinMemoryLimit(t *testing.T) {
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{MemoryLimit: 10 << 20})
	succeed(t, err)
	t.Cleanup(func() { succeed(t, dev.Close()) })
	s := stream(t, dev)
	free := func() int64 {
		t.Helper()
		infos, err := drv.Devices()
		succeed(t, err)
		return infos[0].Free
	}
	before := free()
	p := memory(t, dev, s, 6<<20)
	if _, err := dev.Alloc(s, 6<<20); !errors.Is(err, cuda.ErrOutOfMemory) || !strings.Contains(err.Error(), "limit") {
		t.Errorf("over the limit: %v", err)
	}
	m := dev.Memory()
	if took := before - free(); m.Reserved != took || m.InUse < 6<<20 || m.Limit != 10<<20 || m.HighWater < m.InUse {
		t.Errorf("%+v, the driver gave %d bytes", m, took)
	}
	succeed(t, s.Fill(p, 1, 6<<20))
	if n := lib.Calls()["cuMemAlloc_v2"]; n != 1 {
		t.Errorf("the driver was asked %d times", n)
	}
}

// Memory freed twice, or never taken, is refused; the driver does not see it.
func TestStandinFreeRefused(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	p, err := dev.Alloc(s, 4096)
	succeed(t, err)
	for name, q := range map[string]cuda.Ptr{"inside": p + 256, "invented": 0x1234500, "another's": ^cuda.Ptr(0)} {
		if err := dev.Free(s, q); err == nil {
			t.Errorf("free of an address %s: no error", name)
		}
	}
	succeed(t, dev.Free(s, p))
	if err := dev.Free(s, p); err == nil {
		t.Error("freed twice: no error")
	}
	succeed(t, dev.Trim())
	if err := dev.Free(s, p); err == nil {
		t.Error("freed after Trim: no error")
	}
	if n := lib.Calls()["cuMemFree_v2"]; n != 1 {
		t.Errorf("the driver was asked to free %d times, want 1", n)
	}
}

// What a program forgot is named when the device is closed, and given back all the same.
func TestStandinLeaks(t *testing.T) {
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	s, err := dev.NewStream()
	succeed(t, err)
	_, err = dev.NewEvent()
	succeed(t, err)
	_, err = dev.NewHost(1000)
	succeed(t, err)
	m, err := dev.LoadModule([]byte(standin.PTX))
	succeed(t, err)
	f, err := m.Function("standin_fill")
	succeed(t, err)
	f.NewLaunch()
	_, err = dev.Alloc(s, 12345)
	succeed(t, err)
	err = dev.Close()
	if err == nil {
		t.Fatal("nothing is said")
	}
	for _, what := range []string{"1 × stream", "1 × event", "1 × block of host memory", "1 × module", "1 × launch", "12.3 KB"} {
		if !strings.Contains(err.Error(), what) {
			t.Errorf("the error lacks %q: %v", what, err)
		}
	}
	t.Log(err)
	succeed(t, dev.Close())
	clean(t, lib, "closed with things open")
}

// A kernel that writes one element too many is seen, though nothing crashes.
func TestStandinOverrunIsSeen(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	l := kernel(t, dev, "standin_overrun")
	p := memory(t, dev, s, 4096) // a size class of its own: no slack behind it
	succeed(t, l.Reset().Ptr(p).U32(1).U32(1000).Run(s, grid(4), grid(256), 0))
	succeed(t, s.Synchronize())
	if v := lib.Violations(); v != nil {
		t.Errorf("inside of the memory: %q", v)
	}
	succeed(t, l.Reset().Ptr(p).U32(1).U32(1024).Run(s, grid(5), grid(256), 0))
	succeed(t, s.Synchronize())
	if v := lib.Violations(); len(v) != 1 || !strings.Contains(v[0], "4 bytes past the end of device memory #1 of 4,096 bytes") {
		t.Errorf("one element too many: %q", v)
	}
}

// Copies that leave their memory are refused by the driver: an error for the program, the device lives on.
func TestStandinCopyRefused(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	p, q := memory(t, dev, s, 4096), memory(t, dev, s, 4096)
	for name, c := range map[string]func() error{
		"to the device": func() error { return s.CopyToDevice(p+1, make([]byte, 4096)) },
		"to the host":   func() error { return s.CopyToHost(make([]byte, 4097), p) },
		"on the device": func() error { return s.Copy(p, q+4000, 200) },
		"fill":          func() error { return s.Fill(p, 0, 4097) },
	} {
		if err := c(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if v := lib.Violations(); len(v) != 1 || !strings.Contains(v[0], "past the end") {
			t.Errorf("%s: the stand-in noted %q", name, v)
		}
	}
	for name, c := range map[string]func() error{
		"address 0": func() error { return s.Fill(0, 0, 16) },
		"copy to 0": func() error { return s.Copy(0, p, 16) },
	} {
		if err := c(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	succeed(t, s.Fill(p, 7, 4096))
	allAre(t, u32s(t, s, p, 1024), 0x07070707)
}

// Many blocks of many sizes on several streams: no two in use overlap, each holds what was put into it, all goes back.
func TestStandinManyBlocks(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		streams := []*cuda.Stream{stream(t, dev), stream(t, dev), stream(t, dev)}
		fill := kernel(t, dev, "standin_fill")
		type block struct {
			p     cuda.Ptr
			n     int
			value uint32
			s     *cuda.Stream
		}
		var held []block
		drop := func(i int) {
			b := held[i]
			allAre(t, u32s(t, b.s, b.p, b.n), b.value)
			succeed(t, dev.Free(b.s, b.p))
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
		}
		for round := range 200 {
			s := streams[random.IntN(len(streams))]
			n := 1 + random.IntN(3000)
			p, err := dev.Alloc(s, 4*n)
			succeed(t, err)
			if p%256 != 0 {
				t.Fatalf("address %#x", p)
			}
			value := uint32(1000*seed + round)
			succeed(t, fill.Reset().Ptr(p).U32(value).U32(uint32(n)).Run(s, grid((n+255)/256), grid(256), 0))
			held = append(held, block{p, n, value, s})
			if len(held) > 20 {
				drop(random.IntN(len(held)))
			}
		}
		for len(held) > 0 {
			drop(0)
		}
		if m := dev.Memory(); m.InUse != 0 {
			t.Errorf("%+v after everything was freed", m)
		}
		succeed(t, dev.Trim())
		if m := dev.Memory(); m.Reserved != 0 {
			t.Errorf("%+v after Trim", m)
		}
	})
}
