package source_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/secencoder/secencoder/data/source"
)

func Example() {
	in := strings.NewReader("time,user,action\n10:01,alice,login\n10:02,bob,\"reset, twice\"\n")
	r, err := source.NewReader("events.csv", in, source.Options{})
	if err != nil {
		panic(err)
	}
	defer r.Close()
	fmt.Println(r.Format())
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(err) // a *source.ReadError names file and line
		}
		fmt.Printf("line %d: %s\n", rec.Line, rec.Text)
	}
	// Output:
	// csv
	// line 2: {"time":"10:01","user":"alice","action":"login"}
	// line 3: {"time":"10:02","user":"bob","action":"reset, twice"}
}
