package train

import (
	"fmt"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/tokenizer"
)

// dataset is an open data folder as training needs it.
type dataset struct {
	dir       string
	hash      string // of its manifest
	tokenizer *tokenizer.Tokenizer
	train     batch.Documents
	tokens    int64      // of the train split
	held      []eval.Set // the other splits that are there: valid, idts, odts
	close     func() error
}

func openDataset(dir string) (*dataset, error) {
	d, err := shard.OpenData(dir)
	if err != nil {
		return nil, err
	}
	set := &dataset{dir: dir, tokenizer: d.Tokenizer, close: d.Close}
	for _, split := range data.Splits() {
		s := d.Sets[split]
		switch {
		case s == nil:
		case split == data.Train:
			set.train, set.tokens = s, s.Tokens()
		default:
			set.held = append(set.held, eval.Set{Name: split.String(), Documents: s})
		}
	}
	if set.train == nil || set.tokens == 0 {
		return set, fmt.Errorf("%s: the train split has no tokens", dir)
	}
	set.hash, err = d.Hash()
	return set, err
}
