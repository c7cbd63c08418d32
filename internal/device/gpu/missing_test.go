package gpu

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

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
