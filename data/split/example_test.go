package split_test

import (
	"fmt"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/split"
)

func Example() {
	sources := []split.Source{
		{Name: "auth", Files: []split.File{{Rel: "auth/1.log", Records: 200_000}}},
		{Name: "k8s", ODTS: true, Files: []split.File{{Rel: "k8s/audit.json", Records: 500}}},
	}
	labels := split.Plan(sources, 0)
	counts := map[data.Split]int{}
	for s := range sources {
		for f, file := range sources[s].Files {
			for r := range file.Records {
				counts[labels.Label(s, f, r)]++
			}
		}
	}
	for _, s := range data.Splits() {
		fmt.Println(s, counts[s])
	}
	// Output:
	// train 193856
	// valid 2048
	// idts 4096
	// odts 500
}
