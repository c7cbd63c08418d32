package tokenizer_test

import (
	"fmt"

	"github.com/secencoder/secencoder/tokenizer"
)

func Example() {
	tok, err := tokenizer.Load("testdata/goldens/run-all.json")
	if err != nil {
		panic(err)
	}
	enc := tok.NewEncoder()
	ids := enc.Append(nil, []byte("COMMAND=/bin/ip netns\xff"))
	fmt.Println(ids)
	fmt.Printf("%q\n", tok.AppendDecode(nil, ids))
	// Output:
	// [365 515 33 19 401 19 671 682 192]
	// "COMMAND=/bin/ip netns\xff"
}

// A special string in a log is text; only AppendSpecial parses it.
func ExampleEncoder_AppendSpecial() {
	tok, err := tokenizer.Load("testdata/goldens/run-all.json")
	if err != nil {
		panic(err)
	}
	enc := tok.NewEncoder()
	text := []byte("USER= [MASK]")
	for _, ids := range [][]uint32{enc.Append(nil, text), enc.AppendSpecial(nil, text)} {
		var tokens []string
		for _, id := range ids {
			tokens = append(tokens, tok.Token(id))
		}
		fmt.Printf("%q\n", tokens)
	}
	// Output:
	// ["USER" "=" "Ġ[" "MA" "S" "K" "]"]
	// ["USER" "=" "[MASK]"]
}
