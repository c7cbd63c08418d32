package cuda_test

import (
	"fmt"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// delays runs a test in each way in which the stand-in may order queued work.
func delays(t *testing.T, test func(t *testing.T, delay, seed int)) {
	t.Run("at once", func(t *testing.T) { test(t, standin.Immediately, 0) })
	t.Run("late", func(t *testing.T) { test(t, standin.Late, 0) })
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("at random %d", seed), func(t *testing.T) { test(t, standin.AtRandom, seed) })
	}
}

func delayed(t *testing.T, delay, seed int) (*standin.Library, *cuda.Device) {
	t.Helper()
	lib, dev := openStandin(t)
	lib.Set(standin.Delay, delay)
	lib.Set(standin.Seed, seed)
	return lib, dev
}

// The whole program gives the same result whenever the work runs.
func TestStandinAnyOrder(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		lib, drv := loadStandin(t)
		lib.Set(standin.Delay, delay)
		lib.Set(standin.Seed, seed)
		succeed(t, everything(drv))
	})
}

// Without a wait between two streams the result depends on when the work runs, and the late mode shows it: a test that
// could not fail would prove nothing about the waits that are there.
func TestStandinShowsMissingWait(t *testing.T) {
	const n = 256
	run := func(t *testing.T, delay int, wait bool) uint32 {
		_, dev := delayed(t, delay, 1)
		one, two := stream(t, dev), stream(t, dev)
		a, b := memory(t, dev, one, 4*n), memory(t, dev, one, 4*n)
		fill, copied := kernel(t, dev, "standin_fill"), kernel(t, dev, "standin_copy")
		e := event(t, dev)
		succeed(t, one.Fill(a, 0, 4*n))
		succeed(t, one.Synchronize())
		succeed(t, fill.Reset().Ptr(a).U32(5).U32(n).Run(one, grid(1), grid(n), 0))
		succeed(t, e.Record(one))
		if wait {
			succeed(t, two.Wait(e))
		}
		succeed(t, copied.Reset().Ptr(b).Ptr(a).U32(n).Run(two, grid(1), grid(n), 0))
		got := u32s(t, two, b, n)
		allAre(t, got, got[0])
		return got[0]
	}
	if got := run(t, standin.Late, true); got != 5 {
		t.Errorf("with the wait: %d, want 5", got)
	}
	if got := run(t, standin.Late, false); got != 0 {
		t.Errorf("without the wait, late: %d, want the 0 from before", got)
	}
	if got := run(t, standin.Immediately, false); got != 5 {
		t.Errorf("without the wait, at once: %d, want 5 by luck", got)
	}
}

// A copy from pinned memory reads it when the stream gets there; one from a slice is done with it on return. And the
// other way round: pinned memory is filled after Synchronize, a slice on return.
func TestStandinCopiesInTime(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		s := stream(t, dev)
		p := memory(t, dev, s, 64)
		slice := make([]byte, 64)
		slice[5] = 1
		succeed(t, s.CopyToDevice(p, slice))
		slice[5] = 2 // too late to matter
		back := make([]byte, 64)
		succeed(t, s.CopyToHost(back, p))
		if back[5] != 1 {
			t.Errorf("a slice arrives as %d, want the 1 of the time of the call", back[5])
		}
		host := pinned(t, dev, 64)
		host[5] = 3
		succeed(t, s.CopyToDevice(p, host))
		if delay == standin.Late {
			host[5] = 4 // changed before the stream got there
		}
		into := pinned(t, dev, 64)
		into[5] = 77
		succeed(t, s.CopyToHost(into, p))
		if delay == standin.Late && into[5] != 77 {
			t.Error("the copy to pinned memory did not wait for the stream")
		}
		succeed(t, s.Synchronize())
		want := byte(3)
		if delay == standin.Late {
			want = 4
		}
		if into[5] != want {
			t.Errorf("pinned memory arrives as %d, want %d", into[5], want)
		}
	})
}

// On systems where the GPU reads pageable memory itself, a copy of a slice is still done when it returns.
func TestStandinSlicesAreWaitedFor(t *testing.T) {
	lib, dev := openStandin(t)
	lib.Set(standin.Delay, standin.Late)
	lib.Set(standin.ATS, 1)
	s := stream(t, dev)
	p := memory(t, dev, s, 64)
	slice, back := []byte{1, 2, 3}, make([]byte, 3)
	succeed(t, s.CopyToDevice(p, slice))
	slice[1] = 9 // too late to matter
	succeed(t, s.CopyToHost(back, p))
	if back[0] != 1 || back[1] != 2 || back[2] != 3 {
		t.Errorf("the slice arrives as %v", back)
	}
}

// Part of pinned memory may be copied; a range that leaves it is not taken for pinned.
func TestStandinPartsOfPinnedMemory(t *testing.T) {
	_, dev := openStandin(t)
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	host := pinned(t, dev, 4096)
	for i := range host {
		host[i] = byte(i * 7)
	}
	succeed(t, s.CopyToDevice(p+100, host[200:1200]))
	back := make([]byte, 1000)
	succeed(t, s.CopyToHost(back, p+100))
	for i := range back {
		if back[i] != byte((200+i)*7) {
			t.Fatalf("byte %d is %d", i, back[i])
		}
	}
	succeed(t, s.CopyToDevice(p, nil))
	succeed(t, s.CopyToHost(nil, p))
	succeed(t, s.Fill(p, 1, 0))
	succeed(t, s.Copy(p, p, 0))
}

// Memory freed on a stream and taken again on another is not written by both at once, in any order of the work.
func TestStandinReuseWaits(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		one, two := stream(t, dev), stream(t, dev)
		fill, copied := kernel(t, dev, "standin_fill"), kernel(t, dev, "standin_copy")
		const n = 1000
		for round := range uint32(20) {
			a, err := dev.Alloc(one, 4*n)
			succeed(t, err)
			keep := memory(t, dev, one, 4*n)
			succeed(t, fill.Reset().Ptr(a).U32(round).U32(n).Run(one, grid(1), grid(n), 0))
			succeed(t, copied.Reset().Ptr(keep).Ptr(a).U32(n).Run(one, grid(1), grid(n), 0))
			succeed(t, dev.Free(one, a)) // the copy may not have run
			b, err := dev.Alloc(two, 4*n)
			succeed(t, err)
			succeed(t, fill.Reset().Ptr(b).U32(9999).U32(n).Run(two, grid(1), grid(n), 0))
			succeed(t, two.Synchronize())
			allAre(t, u32s(t, one, keep, n), round)
			succeed(t, dev.Free(two, b))
		}
	})
}

// Memory that a closed stream had freed is anybody's only when the stream's work is over, which may be long after the
// close.
func TestStandinMemoryOfClosedStream(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		fill := kernel(t, dev, "standin_fill")
		two := stream(t, dev)
		const n = 1000
		for round := range uint32(10) {
			one, err := dev.NewStream()
			succeed(t, err)
			a, err := dev.Alloc(one, 4*n)
			succeed(t, err)
			succeed(t, fill.Reset().Ptr(a).U32(77).U32(n).Run(one, grid(4), grid(256), 0))
			succeed(t, dev.Free(one, a))
			succeed(t, one.Close())
			b, err := dev.Alloc(two, 4*n)
			succeed(t, err)
			succeed(t, fill.Reset().Ptr(b).U32(round).U32(n).Run(two, grid(4), grid(256), 0))
			succeed(t, two.Synchronize())
			h, err := dev.NewHost(16) // giving it back waits for everything
			succeed(t, err)
			succeed(t, h.Close())
			allAre(t, u32s(t, two, b, n), round)
			succeed(t, dev.Free(two, b))
		}
	})
}

// Time between events is that of the device: it does not go backwards, and an event that is not done has none.
func TestStandinEventTime(t *testing.T) {
	lib, dev := openStandin(t)
	lib.Set(standin.Delay, standin.Late)
	s := stream(t, dev)
	begin, end := event(t, dev), event(t, dev)
	p := memory(t, dev, s, 1<<20)
	succeed(t, begin.Record(s))
	succeed(t, s.Fill(p, 1, 1<<20))
	succeed(t, end.Record(s))
	if _, err := end.Since(begin); err == nil {
		t.Error("the time of work that is not done: no error")
	}
	if done, err := end.Done(); done || err != nil {
		t.Errorf("done before it ran: %v, %v", done, err)
	}
	succeed(t, end.Synchronize())
	if done, err := end.Done(); !done || err != nil {
		t.Errorf("not done after Synchronize: %v, %v", done, err)
	}
	d, err := end.Since(begin)
	succeed(t, err)
	if d < 0 {
		t.Errorf("%v", d)
	}
	back, err := begin.Since(end)
	succeed(t, err)
	if back > 0 {
		t.Errorf("the other way round: %v", back)
	}
}

// A stream that is closed finishes what it was given.
func TestStandinCloseFinishes(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		s, other := stream(t, dev), stream(t, dev)
		p := memory(t, dev, other, 4096)
		fill := kernel(t, dev, "standin_fill")
		short, err := dev.NewStream()
		succeed(t, err)
		e := event(t, dev)
		succeed(t, fill.Reset().Ptr(p).U32(8).U32(1024).Run(short, grid(4), grid(256), 0))
		succeed(t, e.Record(short))
		succeed(t, short.Close())
		succeed(t, s.Wait(e))
		allAre(t, u32s(t, s, p, 1024), 8)
	})
}
