package blocked_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// Go does not preempt assembly: a collection waits for the call that is under way. So no inner loop may last 200 µs, at the
// sizes that kernels call it with in a step of base. Times are the least of a few steps call by call, because other work
// makes any one of them long; of more steps where a call still looks long. Sweep and InPlace are Go over tiles, and amx bounds its calls itself.
func TestInnerLoopsAreShort(t *testing.T) {
	if testing.Short() {
		t.Skip("some steps of a wide layer")
	}
	const (
		limit = 200 * time.Microsecond
		steps = 3
		most  = 20
	)
	s := size{layers: 1, h: 768, heads: 12, i: 3072, v: 29952, tokens: 512, piece: 512}
	for _, p := range families() {
		if p.Name == "portable" { // Go is preempted
			continue
		}
		var calls callTimes
		calls.watch(reflect.ValueOf(&p).Elem(), "")
		f := step(blocked.New(p, pool(1)), s, 0.1)
		longest := map[string]time.Duration{}
		for n := 0; n < steps || n < most && slices.Max(slices.Collect(maps.Values(longest))) >= limit; n++ {
			calls.next = 0
			f(nil)
			clear(longest)
			for _, c := range calls.list {
				longest[c.name] = max(longest[c.name], c.least)
			}
		}
		if len(longest) < 15 {
			t.Errorf("%s: only %d inner loops were called", p.Name, len(longest))
		}
		for name, d := range longest {
			t.Logf("%s: %s: %v", p.Name, name, d)
			if d >= limit {
				t.Errorf("%s: a call of %s lasts %v", p.Name, name, d)
			}
		}
	}
}

// callTimes is every call of an inner loop in a step, in order.
type callTimes struct {
	list []callTime
	next int
}

type callTime struct {
	name  string
	least time.Duration
}

// watch replaces the functions in a struct by ones that take their time.
func (c *callTimes) watch(v reflect.Value, path string) {
	for i := range v.NumField() {
		field, name := v.Field(i), path+v.Type().Field(i).Name
		switch {
		case field.Kind() == reflect.Struct:
			c.watch(field, name+".")
		case field.Kind() != reflect.Func || field.IsNil() || v.Type().Field(i).Name == "Sweep" || v.Type().Field(i).Name == "InPlace":
		default:
			inner := reflect.ValueOf(field.Interface())
			field.Set(reflect.MakeFunc(field.Type(), func(args []reflect.Value) []reflect.Value {
				from := time.Now()
				out := inner.Call(args)
				c.add(name, time.Since(from))
				return out
			}))
		}
	}
}

func (c *callTimes) add(name string, took time.Duration) {
	if c.next == len(c.list) {
		c.list = append(c.list, callTime{name, took})
	}
	one := &c.list[c.next]
	c.next++
	if one.name != name {
		panic("steps make different calls: " + one.name + ", " + name)
	}
	one.least = min(one.least, took)
}
