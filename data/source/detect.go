package source

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// magics are beginnings of files that hold no lines of text.
var magics = []struct{ head, what string }{
	{"ElfFile\x00", "Windows event log"}, {"\x7fELF", "ELF program"}, {"MZ\x90\x00", "Windows program"}, {"PK\x03\x04", "zip archive"},
	{"PK\x05\x06", "zip archive"}, {"\xfd7zXZ\x00", "xz archive"}, {"BZh", "bzip2 archive"}, {"7z\xbc\xaf\x27\x1c", "7z archive"},
	{"Rar!\x1a\x07", "rar archive"}, {"\x04\x22\x4d\x18", "lz4 archive"}, {"PAR1", "Parquet file"}, {"Obj\x01", "Avro file"},
	{"ARROW1", "Arrow file"}, {"SQLite format 3\x00", "SQLite database"}, {"\xd4\xc3\xb2\xa1", "packet capture"}, {"\xa1\xb2\xc3\xd4", "packet capture"},
	{"\x0a\x0d\x0d\x0a", "packet capture"}, {"\x89PNG\r\n", "image"}, {"\xff\xd8\xff", "image"}, {"GIF8", "image"}, {"%PDF-", "PDF document"},
	{"regf", "Windows registry hive"}, {"\xcf\xfa\xed\xfe", "Mach-O program"}, {"\xca\xfe\xba\xbe", "Java class or Mach-O program"},
	{"LPKSHHRH", "systemd journal"}, {"SECSHARD", "token shard"},
}

// binaryKind returns what a sample is that is no text, "" for text.
func binaryKind(sample []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(sample, []byte(m.head)) && !(m.head == "BZh" && !bytes.Contains(sample[:min(len(sample), 10)], []byte("1AY&SY"))) && printableTail(sample, m.head) {
			return m.what
		}
	}
	if len(sample) > 262 && string(sample[257:262]) == "ustar" {
		return "tar archive"
	}
	if isGzip(sample) || isZstd(sample) {
		return "packed more often than is unpacked"
	}
	control, invalid := 0, 0
	for i := 0; i < len(sample); {
		c := sample[i]
		if c < utf8.RuneSelf {
			if c < ' ' && (c < '\t' || c > '\r') && c != '\x1b' || c == 0x7f {
				control++
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(sample[i:])
		if r == utf8.RuneError && size == 1 && i+utf8.UTFMax < len(sample) {
			invalid++
		}
		i += size
	}
	// Text of any encoding has hardly a control character; random bytes have one in ten, and are seldom UTF-8. A text log
	// may have runs of NUL where a machine crashed.
	switch n := len(sample); {
	case control*10 > n*3:
		return "control characters"
	case control*50 > n && invalid*20 > n:
		return "no text"
	}
	return ""
}

// printableTail rejects short magics that are plain letters when text follows: a log may begin with "regf".
func printableTail(sample []byte, head string) bool {
	for i := range len(head) {
		if head[i] < ' ' || head[i] > '~' {
			return true
		}
	}
	for _, c := range sample[len(head):min(len(sample), 512)] {
		if c == 0 || c >= utf8.RuneSelf {
			return true
		}
	}
	return head == "%PDF-"
}

const (
	// voters is how many lines or rows of the sample are looked at.
	voters = 200
	// A format wins with 19 of 20 votes.
	voteNumerator, voteDenominator = 19, 20
)

func wins(votes, of int) bool { return of > 0 && votes*voteDenominator >= of*voteNumerator }

// detectText tells whether a sample is "lines", "jsonl" or "csv", and of the last the separator and the columns. whole
// says that the sample is the whole file; otherwise its last line is left out, because it may be cut.
func detectText(sample []byte, whole bool) (format string, separator byte, columns int) {
	if isJSONLines(sample, whole) {
		return "jsonl", 0, 0
	}
	best := 0
	for _, s := range []byte{',', ';', '\t'} {
		if n := csvColumns(sample, s, whole); n > best {
			best, separator = n, s
		}
	}
	if best > 0 {
		return "csv", separator, best
	}
	return "lines", 0, 0
}

func isJSONLines(sample []byte, whole bool) bool {
	votes, of := 0, 0
	for rest := sample; len(rest) > 0 && of < voters; {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		rest = after
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if !found && !whole {
			// A line longer than the sample: its beginning is all there is to see.
			if of == 0 && bytes.HasPrefix(line, []byte(`{"`)) {
				return true
			}
			break
		}
		of++
		if line[0] == '{' && line[len(line)-1] == '}' && json.Valid(line) {
			votes++
		}
	}
	return wins(votes, of)
}

// csvColumns returns the number of columns if the sample reads as CSV with a header and this separator, else 0.
func csvColumns(sample []byte, separator byte, whole bool) int {
	c := csvRows{separator: separator}
	n, end := c.scan(sample, true, whole)
	if end != rowWhole || len(c.fields) < 2 || bytes.IndexByte(sample[:n], '\n') < n-1 {
		return 0 // one column, or a header over several lines
	}
	columns := len(c.fields)
	if !isHeader(sample, c.fields) {
		return 0
	}
	header := trimEnd(sample[:n])
	headerShape := shape(nil, header)
	names := make([]string, columns)
	for i, f := range c.fields {
		names[i] = string(sample[f.start:f.end])
	}
	var votes, of, alike, again int
	votesUncut, ofUncut := -1, 0 // up to a row that is not closed, which may be the end of a file cut short
	for rest := sample[n:]; len(rest) > 0 && of < voters; rest = rest[n:] {
		n, end = c.scan(rest, true, whole)
		if end == rowUnclosed {
			if votesUncut < 0 {
				votesUncut, ofUncut = votes, of+1
			}
			n, end = c.scan(rest, false, whole)
		}
		if end != rowWhole {
			break
		}
		row := trimEnd(rest[:n])
		if isBlank(row) || bytes.Equal(row, header) {
			continue
		}
		of++
		if len(c.fields) != columns {
			if first := bytes.IndexByte(rest[:n], '\n') + 1; first > 0 {
				n = first // as the reader does
			}
			continue
		}
		votes++
		if bytes.Equal(shape(nil, row), headerShape) {
			alike++
		}
		for i, f := range c.fields {
			if f.end > f.start && string(rest[f.start:f.end]) == names[i] {
				again++
				break
			}
		}
	}
	// Two columns happen by chance: every row must agree then, and there must be some.
	if columns == 2 && (of < 3 || votes < of) {
		return 0
	}
	// A first row that looks like the others, and whose values come again below it, is a row like the others. Of a few
	// wide rows one may be cut short.
	agree := func(votes, of int) bool { return wins(votes, of) || columns > 4 && of > 3 && votes == of-1 }
	if !agree(votes, of) && !agree(votesUncut, ofUncut) || alike*2 > of && again > 0 {
		return 0
	}
	return columns
}

// maxNameBytes bounds a column's name, and with it how much a row can grow when it becomes JSON.
const maxNameBytes = 128

// isHeader tells whether every field looks like a name and no two are the same. A quarter may be empty (an index column,
// columns that a spreadsheet added), in three columns one.
func isHeader(b []byte, fields []field) bool {
	seen := map[string]bool{}
	empty := 0
	for _, f := range fields {
		name := string(unquote(nil, b, f))
		if name == "" {
			empty++
			continue
		}
		if seen[name] || !isName(name, len(fields)) {
			return false
		}
		seen[name] = true
	}
	return empty <= (len(fields)+1)/4
}

func isName(name string, columns int) bool {
	if len(name) > maxNameBytes || !utf8.ValidString(name) {
		return false
	}
	if columns == 2 && name != strings.TrimSpace(name) {
		return false
	}
	name = strings.TrimSpace(name)
	words := strings.Fields(name)
	most := 6 // prose with a comma has as many; with many columns it does not come out even
	switch {
	case columns == 2:
		most = 3
	case columns > 4:
		most = 12
	}
	if len(words) == 0 || len(words) > most {
		return false
	}
	first, _ := utf8.DecodeRuneInString(name)
	if !unicode.IsLetter(first) && !strings.ContainsRune("_@#$%(", first) || name[0] == '#' && len(words) > 1 {
		return false
	}
	for i, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" _-./()[]:@#%+&?'$", r) {
			return false
		}
		// 12:30 and 10:00:01 are times; a:b may be a name.
		if r == ':' && i > 0 && name[i-1] >= '0' && name[i-1] <= '9' {
			return false
		}
	}
	for _, w := range words {
		if strings.Trim(w, "0123456789") == "" || strings.HasSuffix(w, ":") || strings.HasSuffix(w, ".") {
			return false
		}
	}
	return columns > 2 || !strings.ContainsAny(name, "[]:()")
}

// shape appends b with every run of letters as one a and every run of digits as one 0.
func shape(dst, b []byte) []byte {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf:
			c = 'a'
		case c >= '0' && c <= '9':
			c = '0'
		default:
			dst = append(dst, c)
			continue
		}
		if n := len(dst); n == 0 || dst[n-1] != c {
			dst = append(dst, c)
		}
	}
	return dst
}
