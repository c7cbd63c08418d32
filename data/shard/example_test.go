package shard_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/secencoder/secencoder/data/shard"
)

func Example() {
	parent, err := os.MkdirTemp("", "shards")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "train")

	w, err := shard.Create(dir, shard.Options{VocabSize: 29952, Sources: []string{"auth", "web"}})
	if err != nil {
		panic(err)
	}
	if err := w.Append([]uint32{812, 17, 4867}, shard.Meta{Source: 1, Record: 42}); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}

	set, err := shard.Open(dir)
	if err != nil {
		panic(err)
	}
	defer set.Close()
	tokens, meta, err := set.Document(0, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(tokens, "record", meta.Record, "of", set.Sources()[meta.Source])
	// Output: [812 17 4867] record 42 of web
}
