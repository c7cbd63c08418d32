package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
)

// TrainOptions says what Train makes. The zero value is the default in every field.
type TrainOptions struct {
	VocabSize    int       // ids in all; 0: DefaultVocabSize. At least 261: the special tokens and the 256 bytes
	MinFrequency int64     // a pair seen less often is not merged; 0, HuggingFace's BpeTrainer's default, means once is enough
	Digits       DigitRule // "": DigitsRun
	Space        SpaceRule // "": SpaceAll
	Threads      int       // goroutines that count; 0: one a processor. The result is the same for any number

	// Progress, if set, is called from the goroutine that called Train: with stage "count", done in bytes and total 0 (it is not known),
	// then with stage "merge", done and total in ids.
	Progress func(stage string, done, total int64)
}

// Report says what Train saw and made.
type Report struct {
	Documents      int64 `json:"documents"`       // records read
	Bytes          int64 `json:"bytes"`           // in them
	Pieces         int64 `json:"pieces"`          // pieces they were cut into
	DistinctPieces int   `json:"distinct_pieces"` // different ones among them that have two bytes or more
	WantedSize     int   `json:"wanted_size"`     // ids asked for
	VocabSize      int   `json:"vocab_size"`      // ids made: less when the text has no more pairs
	LastCount      int64 `json:"last_count"`      // how often the last merged pair was seen
	LongestToken   int   `json:"longest_token"`   // bytes, special tokens aside
}

// Shortfall returns how many ids fewer there are than were asked for.
func (r Report) Shortfall() int { return r.WantedSize - r.VocabSize }

// firstMerge is the id of the first merge: the special tokens and the bytes come before.
const firstMerge = uint32(len(specialNames) + 256)

// maxVocabSize keeps a slip of the finger from asking for terabytes; no model has embeddings for more.
const maxVocabSize = 1 << 24

// ErrNoText is what Train returns when docs held no byte.
var ErrNoText = errors.New("no text to train on")

// Train learns a tokenizer from docs, one log record each; a record is a text of its own, no piece crosses its ends. The merge order is
// that of HuggingFace's BpeTrainer (tokenizers 0.23.3, models/bpe/trainer.rs): the pair with the highest count, on equal counts the
// lowest left id, then the lowest right id. Counts have 64 bits; HuggingFace's pair counts have 32 and wrap around on large corpora,
// where it and we differ and we are right.
//
// It stops at VocabSize, or earlier when no pair reaches MinFrequency, which Report tells. It holds the distinct pieces in memory, not
// the text. A record's bytes are copied before the next is asked for. Errors of docs are returned wrapped, with the record's number from
// 1; ctx ends it early.
func Train(ctx context.Context, docs iter.Seq2[[]byte, error], o TrainOptions) (*Tokenizer, Report, error) {
	if o.VocabSize == 0 {
		o.VocabSize = DefaultVocabSize
	}
	report := Report{WantedSize: o.VocabSize}
	if o.VocabSize < int(firstMerge) {
		return nil, report, fmt.Errorf("a vocabulary of %d is too small for the alphabet: %d special tokens and 256 bytes need %d",
			o.VocabSize, len(specialNames), firstMerge)
	}
	if o.VocabSize > maxVocabSize {
		return nil, report, fmt.Errorf("a vocabulary of %d is over the limit of %d", o.VocabSize, maxVocabSize)
	}
	if o.MinFrequency < 0 || o.Threads < 0 {
		return nil, report, fmt.Errorf("minimal frequency %d, threads %d: want no negative number", o.MinFrequency, o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	scan, err := NewScanner(o.Digits, o.Space)
	if err != nil {
		return nil, report, err
	}
	words, err := countWords(ctx, docs, scan, &o, &report)
	if err != nil {
		return nil, report, err
	}
	if report.Bytes == 0 {
		return nil, report, ErrNoText
	}
	tr := newTrainer(words)
	if err := tr.run(ctx, &o); err != nil {
		return nil, report, err
	}
	t, err := fromMerges(scan, tr.merges)
	if err != nil {
		return nil, report, err
	}
	report.VocabSize, report.LastCount = t.VocabSize(), tr.lastCount
	for id := uint32(len(specialNames)); int(id) < t.VocabSize(); id++ {
		report.LongestToken = max(report.LongestToken, len(t.TokenBytes(id)))
	}
	return t, report, nil
}

// fromMerges makes the tokenizer whose merges, by rank, are given as pairs; results are numbered from firstMerge.
func fromMerges(scan *Scanner, merges []merge) (*Tokenizer, error) {
	sp := spec{merges: merges, decoder: []byte(`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`)}
	for i, name := range specialNames {
		sp.added = append(sp.added, addedToken{id: uint32(i), content: name, special: true, lstrip: name == "[MASK]"})
		sp.vocab = append(sp.vocab, vocabEntry{name, uint32(i)})
	}
	var buf []byte
	for i, b := range rankByte {
		buf = appendMapped(buf[:0], []byte{b})
		sp.vocab = append(sp.vocab, vocabEntry{string(buf), uint32(len(specialNames) + i)})
	}
	seen := make(map[string]bool, len(merges))
	for _, m := range merges {
		token := sp.vocab[m.left].token + sp.vocab[m.right].token
		if seen[token] {
			// Two pairs never make one string: research in docs/formats/tokenizer.md, and the reason why counts only fall.
			return nil, fmt.Errorf("internal error: token %q was made by two pairs", token)
		}
		seen[token] = true
		sp.vocab = append(sp.vocab, vocabEntry{token, m.result})
	}
	re := appendJSONString(nil, scan.Regex())
	sp.preTokenizer = []byte(`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + string(re) +
		`},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}]}`)
	sp.postProcessor = []byte(`{"type":"TemplateProcessing",` +
		`"single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],` +
		`"pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},` +
		`{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],` +
		`"special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}}`)
	return sp.build(pipeline{stages: []stage{scannerStage{scan}}, prefix: -1})
}
