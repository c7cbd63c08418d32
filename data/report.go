package data

import (
	"encoding/json"
	"fmt"
)

// Report is what data build counted. It stands in the manifest of a data folder, under "extra". Fields are only ever
// added. It holds no clock values and nothing that depends on the number of threads.
type Report struct {
	Sources   []SourceReport   `json:"sources"` // by name, bytewise
	Total     SourceReport     `json:"total"`   // sums over the sources; its name is empty
	Sets      map[string]Kept  `json:"sets"`    // split name → what is in it; a split without records is no key
	Tokenizer TokenizerReport  `json:"tokenizer"`
	Skipped   []FileNote       `json:"skipped,omitempty"`         // files that are no logs, with the reason; at most MaxNotes
	Failed    []FileNote       `json:"failed,omitempty"`          // files passed over by keep-going; at most MaxNotes
	Unused    []string         `json:"unused_excludes,omitempty"` // patterns of --exclude that matched nothing
	Notes     map[string]int64 `json:"notes,omitempty"`           // how many there are of Skipped and Failed when they are cut
}

// MaxNotes bounds the lists of files in a Report; the counts in the sources are complete.
const MaxNotes = 1000

// SourceReport counts one source through the stages.
type SourceReport struct {
	Name         string           `json:"name,omitempty"`
	ODTS         bool             `json:"odts,omitempty"`    // held out whole
	Limited      bool             `json:"limited,omitempty"` // reading stopped at the limit of bytes a source
	Files        int64            `json:"files"`             // opened and read, to the end or to the limit
	FilesSkipped int64            `json:"files_skipped"`     // no logs: binary
	FilesFailed  int64            `json:"files_failed"`      // damaged or unreadable; what came before the damage is kept
	Formats      map[string]int64 `json:"formats,omitempty"` // detected format → files, for example "gz>csv"
	Counts
	Duplicates int64           `json:"duplicates"` // records left out because an equal one stays
	Moved      int64           `json:"moved"`      // of the duplicates, those whose equal record stays in another split
	Kept       map[string]Kept `json:"kept"`       // split name → records of this source in it
}

// Counts are what a reader counts while it makes records.
type Counts struct {
	Records     int64 `json:"records"`      // records read, before deduplication
	Bytes       int64 `json:"bytes"`        // bytes of their text
	Empty       int64 `json:"empty"`        // lines of white space alone, which are no records
	Cut         int64 `json:"cut"`          // records that are a part of a longer one, the first part not counted
	InvalidUTF8 int64 `json:"invalid_utf8"` // records that are not UTF-8; their bytes are kept
	Ragged      int64 `json:"ragged"`       // CSV rows with another number of fields than the header, kept as text
	Headers     int64 `json:"headers"`      // CSV rows that are the header again, which are no records
}

// Add adds other to c.
func (c *Counts) Add(other Counts) {
	c.Records += other.Records
	c.Bytes += other.Bytes
	c.Empty += other.Empty
	c.Cut += other.Cut
	c.InvalidUTF8 += other.InvalidUTF8
	c.Ragged += other.Ragged
	c.Headers += other.Headers
}

// Kept counts what stays of a source, or of all, in one split.
type Kept struct {
	Records    int64 `json:"records"`
	Bytes      int64 `json:"bytes"`
	Tokens     int64 `json:"tokens"`
	Delimiters int64 `json:"delimiters"` // of the tokens, delimiters by the default set
	// DelimiterShare is Delimiters ÷ Tokens, 0 without tokens.
	DelimiterShare float64 `json:"delimiter_share"`
}

// Add adds other to k.
func (k *Kept) Add(other Kept) {
	k.Records += other.Records
	k.Bytes += other.Bytes
	k.Tokens += other.Tokens
	k.Delimiters += other.Delimiters
	if k.Tokens > 0 {
		k.DelimiterShare = float64(k.Delimiters) / float64(k.Tokens)
	}
}

// TokenizerReport says which tokenizer made the ids.
type TokenizerReport struct {
	Fingerprint string `json:"fingerprint"` // SHA-256 of tokenizer.json, hexadecimal
	VocabSize   int    `json:"vocab_size"`
	Trained     bool   `json:"trained"`               // on the train split of this folder
	WantedSize  int    `json:"wanted_size,omitempty"` // of a trained one; VocabSize is less when the text gave out
}

// FileNote names a file with a reason.
type FileNote struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// ParseReport reads the extra field of a data folder's manifest.
func ParseReport(raw json.RawMessage) (Report, error) {
	var r Report
	if len(raw) == 0 {
		return r, fmt.Errorf("no report of the build")
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return Report{}, fmt.Errorf("report of the build: %w", err)
	}
	for name := range r.Sets {
		if _, err := ParseSplit(name); err != nil {
			return Report{}, fmt.Errorf("report of the build: %w", err)
		}
	}
	return r, nil
}
