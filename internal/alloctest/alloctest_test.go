package alloctest

import "testing"

var kept []byte

func TestFewest(t *testing.T) {
	if n := Fewest(func() {}); n != 0 {
		t.Errorf("nothing takes %d allocations", n)
	}
	if n := Fewest(func() { kept = make([]byte, 100) }); n != 1 {
		t.Errorf("one slice takes %d allocations", n)
	}
	calls := 0
	if n := Fewest(func() { // as the runtime does: now and then
		if calls++; calls < 10 {
			kept = make([]byte, 100)
		}
	}); n != 0 {
		t.Errorf("what allocates in some calls takes %d allocations", n)
	}
}
