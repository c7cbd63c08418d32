package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// maxFileBytes bounds what Load reads; the largest tokenizer.json known has some 35 MB.
const maxFileBytes = 256 << 20

// fileName is the name inside a folder.
const fileName = "tokenizer.json"

// Load reads a tokenizer.json, or the one in a folder. See Parse.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		path = filepath.Join(path, fileName)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s: over %d MiB, too large for a tokenizer", path, maxFileBytes>>20)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads a tokenizer.json: ours, or a byte-level BPE file of HuggingFace's tokenizers with the pre-tokenizers ByteLevel (with
// its expression or without), Split with one of our expressions, Punctuation, Digits, Whitespace, and Sequences of them. Merges may be
// pairs or strings with a space. Truncation and padding are not kept: an encoder of ours does neither.
//
// It is strict: duplicate ids or tokens, a merge of unknown tokens, a byte without token, an unknown version or field are errors that
// name the place. A kind that it does not run gives ErrUnsupported. data is not kept.
func Parse(data []byte) (*Tokenizer, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	var file fileJSON
	if err := strictJSON(data, &file); err != nil {
		return nil, err
	}
	if file.Version != nil && *file.Version != "1.0" {
		return nil, fmt.Errorf("version: %q, want \"1.0\"", *file.Version)
	}
	if err := checkNormalizer(file.Normalizer); err != nil {
		return nil, err
	}
	pipe, err := parsePreTokenizer(file.PreTokenizer)
	if err != nil {
		return nil, err
	}
	sp, err := parseModel(file.Model)
	if err != nil {
		return nil, err
	}
	if sp.added, err = parseAdded(file.AddedTokens); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		to   *[]byte
		from json.RawMessage
	}{{&sp.preTokenizer, file.PreTokenizer}, {&sp.postProcessor, file.PostProcessor}, {&sp.decoder, file.Decoder}} {
		*part.to = compact(part.from)
	}
	return sp.build(pipe)
}

type fileJSON struct {
	Version       *string         `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   json.RawMessage `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// strictJSON decodes one value and refuses unknown fields and anything behind it.
func strictJSON(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return jsonError(data, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("byte %d: something follows the JSON value", d.InputOffset())
	}
	return nil
}

// jsonError adds the line to an error of encoding/json.
func jsonError(data []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := min(max(syntax.Offset, 0), int64(len(data)))
		return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at], []byte("\n")), err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: the file ends inside a JSON value", 1+bytes.Count(data, []byte("\n")))
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		at := min(max(kind.Offset, 0), int64(len(data)))
		return fmt.Errorf("line %d: %s: a JSON %s stands where another kind of value is wanted", 1+bytes.Count(data[:at], []byte("\n")), cmp.Or(kind.Field, "the file"), kind.Value)
	}
	return err
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// compact returns valid JSON without white space.
func compact(raw json.RawMessage) []byte {
	if isNull(raw) {
		return []byte("null")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic("internal error: decoded JSON is not JSON: " + err.Error())
	}
	return b.Bytes()
}

// checkNormalizer accepts none, because a normalizer changes bytes and decoding could not bring them back.
func checkNormalizer(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var n struct {
		Type        string            `json:"type"`
		Normalizers []json.RawMessage `json:"normalizers"`
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("normalizer: %w", err)
	}
	if n.Type == "Sequence" && len(n.Normalizers) == 0 {
		return nil
	}
	return fmt.Errorf("normalizer: %q, want none: %w", n.Type, ErrUnsupported)
}

func parseAdded(raw json.RawMessage) ([]addedToken, error) {
	if isNull(raw) {
		return nil, nil
	}
	var list []struct {
		ID         *uint32 `json:"id"`
		Content    *string `json:"content"`
		SingleWord bool    `json:"single_word"`
		LStrip     bool    `json:"lstrip"`
		RStrip     bool    `json:"rstrip"`
		Normalized bool    `json:"normalized"`
		Special    bool    `json:"special"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	added := make([]addedToken, len(list))
	for i, a := range list {
		if a.ID == nil || a.Content == nil {
			return nil, fmt.Errorf("added_tokens[%d]: id or content is missing", i)
		}
		added[i] = addedToken{*a.ID, *a.Content, a.SingleWord, a.LStrip, a.RStrip, a.Normalized, a.Special}
	}
	return added, nil
}

// framing reads what the post-processor puts before and after a single sequence; an entry without token when it puts nothing.
func framing(raw []byte) (cls, sep vocabEntry) {
	type piece struct {
		SpecialToken *struct {
			ID string `json:"id"`
		}
		Sequence *struct{}
	}
	var p struct {
		Type          string          `json:"type"`
		Processors    json.RawMessage `json:"processors"`
		Single        []piece         `json:"single"`
		SpecialTokens map[string]struct {
			IDs []uint32 `json:"ids"`
		} `json:"special_tokens"`
		CLS, SEP []json.RawMessage
	}
	if json.Unmarshal(raw, &p) != nil {
		return cls, sep // another program's fields; the names decide then
	}
	switch p.Type {
	case "Sequence":
		var list []json.RawMessage
		if json.Unmarshal(p.Processors, &list) != nil {
			return cls, sep
		}
		for _, r := range list {
			// A Sequence inside a Sequence ends here: nesting is the file's to choose, and our stack is not.
			if bytes.Contains(r, []byte(`"processors"`)) {
				continue
			}
			if a, b := framing(r); a.token != "" || b.token != "" {
				cls, sep = a, b
			}
		}
	case "BertProcessing", "RobertaProcessing":
		cls, sep = namedPair(p.CLS), namedPair(p.SEP)
	case "TemplateProcessing":
		seen := false
		for _, e := range p.Single {
			if e.SpecialToken == nil {
				seen = true
				continue
			}
			name := e.SpecialToken.ID
			ids := p.SpecialTokens[name].IDs
			switch {
			case len(ids) != 1:
			case !seen && cls.token == "":
				cls = vocabEntry{name, ids[0]}
			case seen && sep.token == "":
				sep = vocabEntry{name, ids[0]}
			}
		}
	}
	return cls, sep
}

// namedPair reads ["[CLS]", 1].
func namedPair(raw []json.RawMessage) (v vocabEntry) {
	if len(raw) != 2 || json.Unmarshal(raw[0], &v.token) != nil || json.Unmarshal(raw[1], &v.id) != nil {
		return vocabEntry{}
	}
	return v
}

// splitMerge reads the older form of a merge, "left right".
func splitMerge(s string) (left, right string, err error) {
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return "", "", fmt.Errorf("%q, want two tokens with one space between", s)
	}
	return left, right, nil
}
