package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/secencoder/secencoder/data/batch"
)

const (
	stateName    = "state.json"
	stateSchema  = 1
	maxStateSize = 1 << 20
)

// State is the part of a checkpoint that is neither weights nor moments: with them it is everything that the steps to
// come depend on.
type State struct {
	Schema     int         `json:"schema"`
	Step       int         `json:"step"`    // steps done
	Steps      int         `json:"steps"`   // steps promised
	Updates    int         `json:"updates"` // steps whose update was done: AdamW's t
	Tokens     int64       `json:"tokens"`  // framed tokens seen, padding not counted
	Loader     batch.State `json:"loader"`  // the next piece
	Seed       uint64      `json:"seed"`    // of the run
	Empty      int         `json:"empty"`   // steps skipped because nothing was masked
	Bad        int         `json:"bad"`     // steps skipped because loss or gradient was not finite
	BadInARow  int         `json:"bad_in_a_row"`
	Evaluated  int         `json:"evaluated"`     // last step that was evaluated
	Longest    int         `json:"longest_piece"` // tokens of the longest piece seen
	Best       *Best       `json:"best"`          // null before the first evaluation of the valid set
	Loss       *float64    `json:"loss"`          // of the last step that had one
	Kernels    string      `json:"kernels"`       // family that did the steps
	Tool       string      `json:"tool"`
	Data       string      `json:"data_sha256"` // hash of the data folder's manifest
	Tokenizer  string      `json:"tokenizer_sha256"`
	Parameters int         `json:"parameters"`
}

// Best is the evaluation of the valid set with the lowest cross-entropy.
type Best struct {
	Step         int     `json:"step"`
	CrossEntropy float64 `json:"cross_entropy"`
	Perplexity   float64 `json:"perplexity"`
}

func (s *State) skipped() int { return s.Empty + s.Bad }

func (s *State) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// readState reads a checkpoint's state.json. It refuses what this version does not write.
func readState(dir string) (*State, error) {
	path := filepath.Join(dir, stateName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxStateSize {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), maxStateSize)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parseState(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func parseState(text []byte) (*State, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	s := &State{}
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	switch {
	case s.Schema != stateSchema:
		return nil, fmt.Errorf("schema %d, want %d", s.Schema, stateSchema)
	case s.Step < 0 || s.Steps < 1 || s.Step > s.Steps:
		return nil, fmt.Errorf("step %d of %d", s.Step, s.Steps)
	case s.Updates < 0 || s.Empty < 0 || s.Bad < 0 || s.Updates > s.Step || s.Empty > s.Step || s.Bad > s.Step ||
		s.Updates+s.Empty+s.Bad != s.Step:
		return nil, fmt.Errorf("step %d is not the sum of %d updates, %d empty and %d bad steps", s.Step, s.Updates, s.Empty, s.Bad)
	case s.Best != nil && (s.Best.Step < 1 || s.Best.Step > s.Step):
		return nil, fmt.Errorf("best step %d lies outside 1 … %d", s.Best.Step, s.Step)
	}
	return s, nil
}
