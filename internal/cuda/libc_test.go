//go:build linux && !nocuda

package cuda

import "testing"

// What the way into C costs by itself: labs of libc, by the call that allocates its list and by the one that does not.
func BenchmarkIntoC(b *testing.B) {
	handle, err := dlopen("libc.so.6")
	if err != nil {
		b.Skip(err)
	}
	l := &Library{path: "libc.so.6", handle: handle}
	labs, err := l.Symbol("labs")
	if err != nil {
		b.Fatal(err)
	}
	minus := ^uintptr(6)
	b.Run("Call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if labs.Call(minus) != 7 {
				b.Fatal("labs(-7) is not 7")
			}
		}
	})
	b.Run("call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if labs.call(minus, 0, 0, 0, 0) != 7 {
				b.Fatal("labs(-7) is not 7")
			}
		}
	})
}
