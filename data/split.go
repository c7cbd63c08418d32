// Package data holds what all stages of the data pipeline share: the names of the splits, files and their sources, glob
// patterns over paths, and the report that stands in the manifest of a data folder.
//
// The stages are packages of their own: data/source reads records, data/split labels them, data/dedup finds equal ones,
// data/shard stores token ids, and data/build puts them in a row. Begin with build.Run to make a data folder and with
// shard.OpenData to read one.
//
// A record is one log line, JSON object or CSV row; its text is the bytes of the original without the line end (CSV rows
// become one JSON object). A source is what records are counted, limited and held out by: a product at an organisation,
// named by the folder that its files lie in.
package data

import "fmt"

// Split is one of the four sets that records are divided into.
type Split uint8

// The splits, in the order in which equal records stay: a record that occurs in ODTS and in train stays in ODTS.
const (
	ODTS  Split = iota // out-of-distribution test set: whole sources that training never sees
	IDTS               // in-distribution test set: records of the sources that training sees
	Valid              // like IDTS; the best checkpoint is chosen by it, so it is no test set
	Train              // what the tokenizer and the model learn from
)

// NumSplits is the number of splits.
const NumSplits = 4

var splitNames = [NumSplits]string{"odts", "idts", "valid", "train"}

// Splits returns all splits in the order in which they are shown: train, valid, idts, odts.
func Splits() [NumSplits]Split { return [NumSplits]Split{Train, Valid, IDTS, ODTS} }

// String returns the name of the split's folder and JSON key.
func (s Split) String() string {
	if s >= NumSplits {
		return fmt.Sprintf("split %d", uint8(s))
	}
	return splitNames[s]
}

// ParseSplit is the inverse of String. The error names the splits that there are.
func ParseSplit(name string) (Split, error) {
	for s, n := range splitNames {
		if n == name {
			return Split(s), nil
		}
	}
	return 0, fmt.Errorf("unknown split %q (want train, valid, idts or odts)", name)
}
