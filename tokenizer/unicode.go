package tokenizer

import "sort"

// runeTable is a set of characters: ascending borders, the set begins at those with an even index and ends before those with an odd
// one. Go's unicode package would do if its version were HuggingFace's; it is not, and changes with each release of Go, so ids would.
type runeTable []rune

func (t runeTable) has(r rune) bool {
	return sort.Search(len(t), func(i int) bool { return t[i] > r })&1 == 1
}
