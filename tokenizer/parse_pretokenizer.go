package tokenizer

import (
	"encoding/json"
	"fmt"
)

// maxStages bounds the pre-tokenizers of a file; real ones have up to five.
const maxStages = 32

type stageJSON struct {
	Type             string            `json:"type"`
	Pretokenizers    []json.RawMessage `json:"pretokenizers"`
	AddPrefixSpace   *bool             `json:"add_prefix_space"`
	UseRegex         *bool             `json:"use_regex"`
	IndividualDigits bool              `json:"individual_digits"`
	Behavior         *behavior         `json:"behavior"`
	Invert           bool              `json:"invert"`
	Pattern          *struct {
		Regex  *string
		String *string
	} `json:"pattern"`
}

// parsePreTokenizer reads the field pre_tokenizer into a pipeline. There must be one ByteLevel: it is what makes a model byte-level.
func parsePreTokenizer(raw json.RawMessage) (pipeline, error) {
	p := pipeline{prefix: -1}
	if isNull(raw) {
		return p, fmt.Errorf("pre_tokenizer: none, want one with ByteLevel: %w", ErrUnsupported)
	}
	var top stageJSON
	if err := json.Unmarshal(raw, &top); err != nil {
		return p, fmt.Errorf("pre_tokenizer: %w", err)
	}
	list := []json.RawMessage{raw}
	if top.Type == "Sequence" {
		list = top.Pretokenizers
	}
	if len(list) > maxStages {
		return p, fmt.Errorf("pre_tokenizer: %d stages, want up to %d: %w", len(list), maxStages, ErrUnsupported)
	}
	mapped := false
	for i, raw := range list {
		var s stageJSON
		if err := json.Unmarshal(raw, &s); err != nil {
			return p, fmt.Errorf("pre_tokenizer[%d]: %w", i, err)
		}
		if s.Type == "ByteLevel" {
			if mapped {
				return p, fmt.Errorf("pre_tokenizer[%d]: a second ByteLevel: %w", i, ErrUnsupported)
			}
			mapped = true
			p.addByteLevel(&s)
			continue
		}
		st, err := s.stage(mapped)
		if err != nil {
			return p, fmt.Errorf("pre_tokenizer[%d]: %w", i, err)
		}
		p.stages = append(p.stages, st)
	}
	if !mapped {
		return p, fmt.Errorf("pre_tokenizer: no ByteLevel: %w", ErrUnsupported)
	}
	return p, nil
}

// addByteLevel: both fields are true in HuggingFace when they are not given.
func (p *pipeline) addByteLevel(s *stageJSON) {
	if s.AddPrefixSpace == nil || *s.AddPrefixSpace {
		p.prefix = len(p.stages)
	}
	if s.UseRegex == nil || *s.UseRegex {
		p.stages = append(p.stages, gpt2Stage{})
	}
}

func (s *stageJSON) stage(mapped bool) (stage, error) {
	switch s.Type {
	case "Split":
		return s.split(mapped)
	case "Digits":
		how := contiguous
		if s.IndividualDigits {
			how = isolated
		}
		return newClassStage(tableNumeric, how, mapped), nil
	case "Punctuation":
		how := isolated
		if s.Behavior != nil {
			how = *s.Behavior
		}
		switch how {
		case isolated, removed, contiguous, mergedWithPrevious, mergedWithNext:
			return newClassStage(tablePunctuation, how, mapped), nil
		}
		return nil, fmt.Errorf("behavior %q is not known", how)
	case "Whitespace":
		if mapped {
			return nil, fmt.Errorf("%q after ByteLevel: %w", s.Type, ErrUnsupported)
		}
		return whitespaceStage{}, nil
	}
	return nil, fmt.Errorf("type %q, want ByteLevel, Split, Punctuation, Digits, Whitespace or a Sequence of them: %w", s.Type, ErrUnsupported)
}

func (s *stageJSON) split(mapped bool) (stage, error) {
	if s.Pattern == nil || s.Pattern.Regex == nil {
		return nil, fmt.Errorf("\"Split\" without regular expression: %w", ErrUnsupported)
	}
	sc := scannerFor(*s.Pattern.Regex)
	switch {
	case sc == nil:
		return nil, fmt.Errorf("regular expression %q is not one of ours: %w", *s.Pattern.Regex, ErrUnsupported)
	case mapped:
		return nil, fmt.Errorf("%q after ByteLevel: %w", s.Type, ErrUnsupported)
	case s.Behavior == nil || *s.Behavior != isolated || s.Invert:
		return nil, fmt.Errorf("\"Split\" with behavior other than Isolated, or inverted: %w", ErrUnsupported)
	}
	return scannerStage{sc}, nil
}

// newClassStage makes Punctuation or Digits. After ByteLevel each byte is the character that HuggingFace maps it to.
func newClassStage(class runeTable, how behavior, mapped bool) stage {
	s := classStage{match: class.has, behavior: how}
	if mapped {
		s.mapped = new([256]bool)
		for b, r := range byteRune {
			s.mapped[b] = class.has(r)
		}
	}
	return s
}
