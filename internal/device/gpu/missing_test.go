package gpu

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Every method of the table that Has denies leaves an error with its name, and every name that it denies is a method.
func TestStandinHas(t *testing.T) {
	table := onStandin(t).table
	all := reflect.TypeFor[kernel.Kernels]()
	denied := 0
	for i := range all.NumMethod() {
		name := all.Method(i).Name
		if table.Has(name) {
			continue
		}
		denied++
		method := reflect.ValueOf(table).MethodByName(name)
		method.Call([]reflect.Value{reflect.ValueOf(kernel.Stream(0)), reflect.New(method.Type().In(1).Elem())})
		if err := table.Sync(0); !errors.Is(err, ErrNotBuilt) || !strings.HasPrefix(err.Error(), name+" is not built for CUDA") {
			t.Errorf("Sync after %s returns %v", name, err)
		}
	}
	if denied != len(notBuilt) || denied != len(slices.Compact(slices.Sorted(slices.Values(notBuilt)))) {
		t.Errorf("%d methods are denied, %d names stand in the list", denied, len(notBuilt))
	}
}

// The suite has a group for every method that computes something, so that Has of a group's method says what is run.
func TestStandinGroups(t *testing.T) {
	table := onStandin(t).table
	groups := append(built(t, table, false), built(t, table, true)...)
	all := reflect.TypeFor[kernel.Kernels]()
	for i := range all.NumMethod() {
		switch name := all.Method(i).Name; name {
		case "Name", "Sync", "WorkBytes", "PackedBytes":
		default:
			if table.Has(name) && !slices.Contains(groups, name) {
				t.Errorf("%s is built, and no group of the suite runs it", name)
			}
		}
	}
}

// Names of streams are given again; a call to one that was released, or to a closed table, is an error of Sync.
func TestStandinStreams(t *testing.T) {
	m := onStandin(t)
	one, two := m.memory(t), m.memory(t)
	if one.on == two.on || m.table.Stream(one.stream) != one.on {
		t.Errorf("the streams are called %d, %d, and the first one again %d", one.on, two.on, m.table.Stream(one.stream))
	}
	a := one.new(filled(10, 1))
	add := &kernel.AddArgs{A: a, B: a, Out: a, N: 10}
	m.table.Release(one.on)
	m.table.Add(one.on, add)
	if err := m.table.Sync(two.on); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("Sync after a call to a released stream returns %v", err)
	}
	if err := m.table.Sync(one.on); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("Sync of a released stream returns %v", err)
	}
	if again := m.table.Stream(one.stream); again != one.on {
		t.Errorf("the free name is %d, and %d is given", one.on, again)
	}
	m.table.Add(one.on, add)
	if err := m.table.Sync(one.on); err != nil || one.read(a)[0] != 2 {
		t.Errorf("after that 1 + 1 is %v, %v", one.read(a)[0], err)
	}
	closed, err := New(m.device, Options{CublasLt: m.standin.Path()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
	}
	closed.Add(0, add)
	if err := closed.Sync(0); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("Sync of a closed table returns %v", err)
	}
}
