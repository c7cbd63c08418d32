package dedup_test

import (
	"fmt"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/dedup"
)

func Example() {
	records := []struct {
		text  string
		split data.Split
	}{{"session opened", data.Train}, {"link up", data.Train}, {"session opened", data.IDTS}}

	var set dedup.Exact
	var numbers []uint32
	for _, r := range records {
		n, _, err := set.Add(dedup.Hash([]byte(r.text)))
		if err != nil {
			panic(err)
		}
		numbers = append(numbers, n)
	}
	distinct := set.Len()
	for place, r := range records {
		set.Choose(numbers[place], r.split, uint64(place))
	}
	for n := range distinct {
		split, place := set.Chosen(uint32(n))
		fmt.Printf("%s: record %d, in %v\n", records[place].text, place, split)
	}
	// Output:
	// session opened: record 2, in idts
	// link up: record 1, in train
}
