package model_test

import (
	"context"
	"fmt"
	"log"

	"github.com/secencoder/secencoder/model"
)

// A folder that this tool or HuggingFace wrote becomes an Encoder; each line, an empty one too, becomes one vector.
func ExampleLoad() {
	enc, err := model.Load("testdata/hf/legacy")
	if err != nil {
		log.Fatal(err)
	}
	defer enc.Close()
	vectors, err := enc.Embed(context.Background(), []string{
		"sshd[4711]: Accepted password for root from 10.0.0.1 port 22 ssh2",
		"",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(vectors), "vectors of", len(vectors[0]), "values")
	// Output: 2 vectors of 16 values
}

// Masked tokens are predicted with the text on both sides.
func ExampleEncoder_FillMask() {
	enc, err := model.Load("testdata/hf/legacy")
	if err != nil {
		log.Fatal(err)
	}
	defer enc.Close()
	masks, err := enc.FillMask(context.Background(), "Accepted [MASK] for root", 3)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range masks {
		fmt.Println("a mask with", len(m.Candidates), "candidates")
	}
	// Output: a mask with 3 candidates
}
