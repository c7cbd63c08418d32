package blocked

import (
	"reflect"
	"testing"
)

// buffers lists every slice that a worker owns. What tile, norm and m hold is a view of these, or somebody else's.
func TestBuffersAreComplete(t *testing.T) {
	var w worker
	b := w.buffers()
	listed := map[uintptr]bool{reflect.ValueOf(b.bytes).Pointer(): true, reflect.ValueOf(b.ints).Pointer(): true, reflect.ValueOf(b.words).Pointer(): true}
	for _, f := range b.floats {
		listed[reflect.ValueOf(f).Pointer()] = true
	}
	for _, p := range b.pages {
		listed[reflect.ValueOf(p).Pointer()] = true
	}
	found := 0
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Slice, v.Type() == reflect.TypeFor[pages]():
			found++
			if !listed[v.Addr().Pointer()] {
				t.Errorf("%s is not listed", name)
			}
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				if n := v.Type().Field(i).Name; n != "tile" && n != "norm" {
					walk(name+"."+n, v.Field(i))
				}
			}
		case v.Kind() == reflect.Array:
			for i := range v.Len() {
				walk(name, v.Index(i))
			}
		}
	}
	walk("worker", reflect.ValueOf(&w).Elem())
	if found != len(listed) {
		t.Errorf("%d buffers are listed, %d there", len(listed), found)
	}
}
