package tokenizer

import (
	"fmt"
	"slices"
)

// spec is what a tokenizer.json says, checked in form only; build makes a Tokenizer of it.
type spec struct {
	vocab         []vocabEntry // ascending id
	merges        []merge      // by rank
	added         []addedToken // ascending id
	preTokenizer  []byte       // compact JSON
	postProcessor []byte
	decoder       []byte
	unk           *string
	fuseUnk       bool
	byteFallback  bool
	ignoreMerges  bool
}

type vocabEntry struct {
	token string
	id    uint32
}

// merge is one row of the merge list: the two become result.
type merge struct{ left, right, result uint32 }

// addedToken is an entry of added_tokens. Source: tokenizers 0.23.3, tokenizer/added_vocabulary.rs.
type addedToken struct {
	id         uint32
	content    string
	singleWord bool // only between characters that no word has
	lstrip     bool // takes the white space before it
	rstrip     bool // and after it
	normalized bool // found after normalization, so after those that are not
	special    bool
}

// build checks what the parts say about each other and makes the tables.
func (sp *spec) build(pipe pipeline) (*Tokenizer, error) {
	t := &Tokenizer{spec: *sp, pipe: pipe, direct: pipe.direct()}
	if err := t.fillVocabulary(); err != nil {
		return nil, err
	}
	if err := t.fillBytes(); err != nil {
		return nil, err
	}
	t.table = newMergeTable(len(t.merges))
	for rank, m := range t.merges {
		if t.special[m.result] {
			return nil, fmt.Errorf("model.merges[%d]: makes the special token %q, which text must not be able to make", rank, t.strings[m.result])
		}
		t.table.put(m.left, m.right, uint32(rank), m.result)
	}
	for b := range t.spaceID {
		t.spaceID[b] = NoToken
		if _, id, ok := t.table.get(t.byteID[' '], t.byteID[b]); ok {
			t.spaceID[b] = id
		}
	}
	if t.ignoreMerges {
		t.whole = make(map[string]uint32, len(t.vocab))
		for _, v := range t.vocab {
			if !t.special[v.id] {
				t.whole[string(t.TokenBytes(v.id))] = v.id
			}
		}
	}
	t.nameSpecials()
	return t, nil
}

// sparse is how many ids without token a file may have: what its number of tokens excuses and no more, so that one large id cannot
// make us allocate gigabytes.
func sparse(tokens int) int { return 2*tokens + 1<<16 }

// Limits of added tokens, in bytes: of one, because looking for it may cost its length at every place of a text, and of all, because
// each byte is a node of the matcher. Real ones have some 20 bytes and some thousand in all.
const (
	maxAdded      = 1 << 10
	maxAddedTotal = 1 << 20
)

func (t *Tokenizer) fillVocabulary() error {
	slices.SortFunc(t.vocab, func(a, b vocabEntry) int { return compareIDs(a.id, b.id) })
	slices.SortStableFunc(t.added, func(a, b addedToken) int { return compareIDs(a.id, b.id) })
	n := 0
	for _, v := range t.vocab {
		n = max(n, int(v.id)+1)
	}
	for _, a := range t.added {
		n = max(n, int(a.id)+1)
	}
	if tokens := len(t.vocab) + len(t.added); n > sparse(tokens) {
		return fmt.Errorf("largest id is %d with only %d tokens", n-1, tokens)
	}
	t.strings = make([]string, n)
	t.special = make([]bool, n)
	for i, v := range t.vocab {
		if v.token == "" {
			return fmt.Errorf("model.vocab: id %d: empty token", v.id)
		}
		if i > 0 && v.id == t.vocab[i-1].id {
			return fmt.Errorf("model.vocab: id %d stands for both %q and %q", v.id, t.vocab[i-1].token, v.token)
		}
		t.strings[v.id] = v.token
	}
	total := 0
	for i, a := range t.added {
		total += len(a.content)
		switch {
		case a.content == "":
			return fmt.Errorf("added_tokens[%d]: empty content", i)
		case len(a.content) > maxAdded || total > maxAddedTotal:
			return fmt.Errorf("added_tokens[%d]: content of %d bytes, %d so far, want up to %d and %d", i, len(a.content), total, maxAdded, maxAddedTotal)
		case i > 0 && t.added[i-1].id == a.id:
			return fmt.Errorf("added_tokens[%d]: id %d stands for both %q and %q", i, a.id, t.added[i-1].content, a.content)
		case t.strings[a.id] != "" && t.strings[a.id] != a.content:
			return fmt.Errorf("added_tokens[%d]: id %d is %q here and %q in model.vocab", i, a.id, a.content, t.strings[a.id])
		}
		t.strings[a.id] = a.content
		t.special[a.id] = a.special
		t.visible = t.visible || !a.special
		if a.normalized {
			t.folded.add(a.content, i)
		} else {
			t.exact.add(a.content, i)
		}
	}
	return t.fillRaw()
}

// fillRaw decodes the token strings. An added token is its own bytes, even where its characters could be read as mapped ones.
func (t *Tokenizer) fillRaw() error {
	added := make([]bool, len(t.strings))
	for _, a := range t.added {
		added[a.id] = true
	}
	t.ends = make([]uint32, len(t.strings))
	for id, s := range t.strings {
		if added[id] {
			t.raw = append(t.raw, s...)
		} else {
			t.raw, _ = appendUnmapped(t.raw, s)
		}
		if uint64(len(t.raw)) > 1<<32-1 {
			return fmt.Errorf("model.vocab: tokens are longer than 4 GiB together")
		}
		t.ends[id] = uint32(len(t.raw))
	}
	return nil
}

// fillBytes finds the ids of the 256 single bytes, without which some text could not be encoded.
func (t *Tokenizer) fillBytes() error {
	found := 0
	for i := range t.byteID {
		t.byteID[i] = NoToken
	}
	for _, v := range t.vocab {
		raw, mapped := appendUnmapped(nil, v.token)
		if !mapped || len(raw) != 1 || t.special[v.id] {
			continue
		}
		t.byteID[raw[0]] = v.id
		found++
	}
	if found < 256 {
		first := slices.Index(t.byteID[:], NoToken)
		return fmt.Errorf("model.vocab: %d of the 256 single bytes have no token, first 0x%02X (as %q)", 256-found, first, string(byteRune[first]))
	}
	return nil
}

func (t *Tokenizer) nameSpecials() {
	ids := [...]*uint32{&t.names.PAD, &t.names.CLS, &t.names.SEP, &t.names.UNK, &t.names.MASK}
	for i, p := range ids {
		*p = NoToken
		for _, name := range [...]string{foreignNames[i], specialNames[i]} {
			for _, a := range t.added {
				if a.special && a.content == name {
					*p = a.id
				}
			}
		}
	}
	cls, sep := framing(t.postProcessor)
	if t.isNamed(cls) {
		t.names.CLS = cls.id
	}
	if t.isNamed(sep) {
		t.names.SEP = sep.id
	}
}

func (t *Tokenizer) isNamed(v vocabEntry) bool {
	return v.token != "" && int64(v.id) < int64(len(t.strings)) && t.strings[v.id] == v.token && t.special[v.id]
}

func compareIDs(a, b uint32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
