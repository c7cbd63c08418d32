package cuda

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// TestPoolTraffic lets goroutines with streams of their own hand blocks around on a device whose work runs late: each
// block is filled and read back, so that a wait that is missing shows as a wrong byte.
func TestPoolTraffic(t *testing.T) {
	for _, delay := range []int{standin.Immediately, standin.Late, standin.AtRandom} {
		lib := standin.Build(t)
		lib.Set(standin.Delay, delay)
		drv, err := Load(Options{Library: lib.Path()})
		if err != nil {
			t.Fatal(err)
		}
		trafficOn(t, drv)
	}
}

// TestCUDAPoolTraffic does the same on a GPU.
func TestCUDAPoolTraffic(t *testing.T) {
	trafficOn(t, loadGPU(t))
}

func trafficOn(t *testing.T, drv *Driver) {
	d, err := drv.Open(0, DeviceOptions{MemoryLimit: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			if err := traffic(d, uint64(g)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := d.Memory()
	if st.InUse != 0 || st.Asked != 0 || st.Reserved > st.Limit || st.ReservedHighWater > st.Limit {
		t.Errorf("%+v", st)
	}
	if err := d.Trim(); err != nil {
		t.Error(err)
	}
	if st := d.Memory(); st.Reserved != 0 || st.Blocks != 0 {
		t.Errorf("after trim: %+v", st)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// traffic fills a block on one stream, frees it there, and wants the next owner's bytes to stay, for a while.
func traffic(d *Device, seed uint64) (err error) {
	r := rand.New(rand.NewPCG(seed, 3))
	var streams [2]*Stream
	for i := range streams {
		if streams[i], err = d.NewStream(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, streams[i].Close()) }()
	}
	for round := range 60 {
		s := streams[r.IntN(2)]
		bytes := 1 + r.IntN(64<<10)
		p, err := d.Alloc(s, bytes)
		if err != nil {
			return err
		}
		value := byte(round)
		if err := s.Fill(p, value, bytes); err != nil {
			return err
		}
		host, err := d.NewHost(bytes)
		if err != nil {
			return err
		}
		if err := errors.Join(s.CopyToHost(host.Bytes(), p), d.Free(s, p)); err != nil {
			return err
		}
		if other := streams[r.IntN(2)]; r.IntN(2) == 0 { // somebody else takes it at once
			q, err := d.Alloc(other, bytes)
			if err != nil {
				return err
			}
			if err := errors.Join(other.Fill(q, ^value, bytes), d.Free(other, q)); err != nil {
				return err
			}
		}
		if err := s.Synchronize(); err != nil {
			return err
		}
		for i, b := range host.Bytes() {
			if b != value {
				return fmt.Errorf("round %d: byte %d of %d is %d, want %d", round, i, bytes, b, value)
			}
		}
		if err := host.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestPoolOnDevice(t *testing.T) {
	lib := standin.Build(t)
	lib.Set(standin.Memory, 64<<20)
	drv, err := Load(Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	d, err := drv.Open(0, DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := d.Alloc(s, 20<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = d.Alloc(s, 80<<20); !errors.Is(err, ErrOutOfMemory) || !strings.Contains(err.Error(), "83.9 MB of device memory are needed, 21.0 MB are in use here, ") || !strings.Contains(err.Error(), "of the device's 67.1 MB are free") {
		t.Errorf("%v", err)
	}
	if err := d.Free(s, kept); err != nil {
		t.Error(err)
	}
	all, err := d.Alloc(s, 60<<20) // takes the cache first
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Capture(func() error {
		if err := d.Trim(); err == nil || !strings.Contains(err.Error(), "is being captured") {
			t.Errorf("trim in a capture: %v", err)
		}
		return s.Fill(all, 1, 100)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Launch(s), s.Synchronize(), g.Close()); err != nil {
		t.Error(err)
	}
	leaked, err := d.Alloc(nil, 4096)
	if err != nil || leaked == 0 {
		t.Fatal(err)
	}
	if err := errors.Join(d.Free(s, all), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := d.Alloc(s, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("memory for a closed stream: %v", err)
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 block of device memory was never freed: 4.1 KB at 0x") {
		t.Errorf("%v", err)
	}
	if _, err := d.Alloc(nil, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("memory of a closed device: %v", err)
	}
}

// TestPoolFaults lets each of its calls of the driver fail.
func TestPoolFaults(t *testing.T) {
	for _, c := range []struct {
		call string
		code int
		run  func(d *Device, a, b *Stream) error
	}{
		{"cuMemAlloc_v2", 1, func(d *Device, a, _ *Stream) error { _, err := d.Alloc(a, 1<<20); return err }},
		{"cuEventCreate", 2, foreignAlloc}, {"cuEventRecord", 400, foreignAlloc}, {"cuStreamWaitEvent", 400, foreignAlloc},
		{"cuStreamSynchronize", 1, trimAfter}, {"cuMemFree_v2", 1, trimAfter},
		{"cuStreamSynchronize", 1, func(d *Device, a, _ *Stream) error { _, err := a.Capture(func() error { return nil }); return err }},
	} {
		lib := standin.Build(t)
		drv, err := Load(Options{Library: lib.Path()})
		if err != nil {
			t.Fatal(err)
		}
		d, err := drv.Open(0, DeviceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var s [2]*Stream
		for i := range s {
			if s[i], err = d.NewStream(); err != nil {
				t.Fatal(err)
			}
		}
		p, err := d.Alloc(s[1], 4096)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Free(s[1], p); err != nil {
			t.Fatal(err)
		}
		lib.Fail(c.call, 1, c.code)
		if err := c.run(d, s[0], s[1]); err == nil || !strings.Contains(err.Error(), c.call) {
			t.Errorf("%s: %v", c.call, err)
		}
		if err := foreignAlloc(d, s[0], s[1]); err != nil { // and on it goes
			t.Errorf("%s: and then %v", c.call, err)
		}
		for i := range s {
			if err := s[i].Close(); err != nil {
				t.Error(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: %v", c.call, err)
		}
	}
}

// foreignAlloc takes and frees a block that may have to come from stream b.
func foreignAlloc(d *Device, a, _ *Stream) error {
	p, err := d.Alloc(a, 4096)
	if err != nil {
		return err
	}
	return d.Free(nil, p)
}

func trimAfter(d *Device, _, _ *Stream) error { return d.Trim() }
