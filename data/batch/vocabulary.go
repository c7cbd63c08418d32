package batch

import (
	"fmt"

	"github.com/secencoder/secencoder/tokenizer"
)

// Vocabulary is what masking and framing need to know about ids: the special ones and the class of each.
// It is read-only after NewVocabulary and safe for concurrent use.
type Vocabulary struct {
	special  tokenizer.Special
	class    []tokenizer.Class // [V]
	content  []int32           // ids of content tokens, ascending
	ordinary []int32           // ids of content and delimiter tokens, ascending
}

// NewVocabulary takes the special ids and the class of every id (tokenizer.Classes of the run's delimiter set) and keeps
// classes. It fails when a special id lies outside the table or is not of the special class, and when no content token
// is left to be masked.
func NewVocabulary(special tokenizer.Special, classes []tokenizer.Class) (*Vocabulary, error) {
	v := &Vocabulary{special: special, class: classes}
	for _, s := range []struct {
		name string
		id   uint32
	}{{"[PAD]", special.PAD}, {"[CLS]", special.CLS}, {"[SEP]", special.SEP}, {"[MASK]", special.MASK}} {
		if uint64(s.id) >= uint64(len(classes)) {
			return nil, fmt.Errorf("id %d of %s is outside the vocabulary of %d", s.id, s.name, len(classes))
		}
		if classes[s.id] != tokenizer.ClassSpecial {
			return nil, fmt.Errorf("id %d of %s is not a special token", s.id, s.name)
		}
	}
	for id, c := range classes {
		if c == tokenizer.ClassSpecial {
			continue
		}
		v.ordinary = append(v.ordinary, int32(id))
		if c == tokenizer.ClassContent {
			v.content = append(v.content, int32(id))
		}
	}
	if len(v.content) == 0 {
		return nil, fmt.Errorf("the vocabulary of %d has no content token: all are special or delimiters", len(classes))
	}
	return v, nil
}

// Size returns V, the number of ids.
func (v *Vocabulary) Size() int { return len(v.class) }
