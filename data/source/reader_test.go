package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/secencoder/secencoder/data"
)

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

type result struct {
	format string
	texts  []string
	counts data.Counts
	err    error
}

func readAll(in io.Reader, o Options) result {
	r, err := NewReader("test", in, o)
	if err != nil {
		return result{err: err}
	}
	res := result{format: r.Format()}
	for {
		rec, err := r.Next()
		if err != nil {
			empty, headers := r.Skipped()
			res.counts.Empty += int64(empty)
			res.counts.Headers += int64(headers)
			if err != io.EOF {
				res.err = err
			}
			if closeErr := r.Close(); closeErr != nil {
				res.err = errors.Join(res.err, closeErr)
			}
			return res
		}
		res.texts = append(res.texts, string(rec.Text))
		res.counts.Add(rec.Counts())
	}
}

func TestFormats(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		o      Options
		format string
		want   []string
		counts data.Counts
	}{
		"lines":          {in: "a b\r\n\n  \t\nc\rd\nlast", format: "lines", want: []string{"a b", "c\rd", "last"}, counts: data.Counts{Empty: 2}},
		"empty file":     {in: "", format: "lines"},
		"blank file":     {in: "\n\n \n", format: "lines", counts: data.Counts{Empty: 3}},
		"mark":           {in: "\xef\xbb\xbfa\nb\n", format: "lines", want: []string{"a", "b"}},
		"NUL padding":    {in: "\x00\x00one line\nan other, longer line that follows the crash\n\x00\n", format: "lines", want: []string{"one line", "an other, longer line that follows the crash"}, counts: data.Counts{Empty: 1}},
		"latin-1":        {in: "caf\xe9 opened\nclosed\n", format: "lines", want: []string{"caf\xe9 opened", "closed"}, counts: data.Counts{InvalidUTF8: 1}},
		"jsonl":          {in: "{\"a\": 1}\n{\"b\": [1, 2]}\n", format: "jsonl", want: []string{`{"a": 1}`, `{"b": [1, 2]}`}},
		"jsonl compact":  {in: "{\"a\": \"x y\"}\r\nnot json\n", o: Options{Render: JSONL}, format: "lines", want: []string{`{"a":"x y"}`, `{"message":"not json"}`}},
		"pretty json":    {in: "{\n  \"a\": 1\n}\n", format: "lines", want: []string{"{", `  "a": 1`, "}"}},
		"csv":            {in: "time,user,\"the text\"\n1,bob,\"a, \"\"b\"\"\"\n2,eve,\"two\nlines\"\n", format: "csv", want: []string{`{"time":"1","user":"bob","the text":"a, \"b\""}`, `{"time":"2","user":"eve","the text":"two\nlines"}`}},
		"csv crlf mark":  {in: "\xef\xbb\xbfid;name\r\n1;x\r\n\r\n2;\"y\"\r\n3;z", format: "csv", want: []string{`{"id":"1","name":"x"}`, `{"id":"2","name":"y"}`, `{"id":"3","name":"z"}`}, counts: data.Counts{Empty: 1}},
		"tsv":            {in: "id\tname\n1\tx\n2\t\n3\tz\n", format: "csv", want: []string{`{"id":"1","name":"x"}`, `{"id":"2","name":""}`, `{"id":"3","name":"z"}`}},
		"csv raw":        {in: "id,name,x\n1,\"a\",2\n", o: Options{Render: Raw}, format: "csv", want: []string{"id,name,x", `1,"a",2`}},
		"header again":   {in: "id,name,x\n1,a,2\nid,name,x\n3,b,4\n", format: "csv", want: []string{`{"id":"1","name":"a","x":"2"}`, `{"id":"3","name":"b","x":"4"}`}, counts: data.Counts{Headers: 1}},
		"ragged":         {in: "id,name,x\n" + strings.Repeat("1,a,2\n", 30) + "1,\"a\",b,c\n", format: "csv", want: append(slices.Repeat([]string{`{"id":"1","name":"a","x":"2"}`}, 30), `1,"a",b,c`), counts: data.Counts{Ragged: 1}},
		"stray quote":    {in: "id,name,x\n" + strings.Repeat("1,a,2\n", 30) + "\"1,a,2\n5,b,6\n", format: "csv", want: append(slices.Repeat([]string{`{"id":"1","name":"a","x":"2"}`}, 30), `"1,a,2`, `{"id":"5","name":"b","x":"6"}`), counts: data.Counts{Ragged: 1}},
		"quote in field": {in: "id,name,x\n1,a\"b\"c,\"d\"e\"\n", format: "csv", want: []string{`{"id":"1","name":"a\"b\"c","x":"d\"e"}`}},
		"text values":    {in: "name,city\nalice,paris\nbob,rome\neve,oslo\n", format: "csv", want: []string{`{"name":"alice","city":"paris"}`, `{"name":"bob","city":"rome"}`, `{"name":"eve","city":"oslo"}`}},
		"no header":      {in: "ERROR,disk,full\nWARN,disk,slow\nERROR,net,down\n", format: "lines", want: []string{"ERROR,disk,full", "WARN,disk,slow", "ERROR,net,down"}},
		"numbers first":  {in: "1,a,2\n2,b,3\n", format: "lines", want: []string{"1,a,2", "2,b,3"}},
		"python log":     {in: "2024-01-01 10:00:00,123 INFO a\n2024-01-01 10:00:00,124 INFO b\n2024-01-01 10:00:00,125 INFO b\n", format: "lines", want: []string{"2024-01-01 10:00:00,123 INFO a", "2024-01-01 10:00:00,124 INFO b", "2024-01-01 10:00:00,125 INFO b"}},
		"prose":          {in: "Hello, world\nGood, day\nBad, luck\nSo, what\n", format: "lines", want: []string{"Hello, world", "Good, day", "Bad, luck", "So, what"}},
		"duplicate name": {in: "a,a,b\n1,2,3\n", format: "lines", want: []string{"a,a,b", "1,2,3"}},
		"empty columns":  {in: "a,b,c,d,e,f,,\n1,2,3,4,5,6,7,8\n", format: "csv", want: []string{`{"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6","":"7","":"8"}`}},
		"long name":      {in: "a,b,TimeGenerated [Pacific Time (US and Canada) Tijuana],d,e\n1,2,3,4,5\n", format: "csv", want: []string{`{"a":"1","b":"2","TimeGenerated [Pacific Time (US and Canada) Tijuana]":"3","d":"4","e":"5"}`}},
		"last row cut":   {in: "a,b,c,d,e\n1,2,3,4,5\n1,2,3,4,6\n1,2,3,4,7\n1,2,3\n", format: "csv", want: []string{`{"a":"1","b":"2","c":"3","d":"4","e":"5"}`, `{"a":"1","b":"2","c":"3","d":"4","e":"6"}`, `{"a":"1","b":"2","c":"3","d":"4","e":"7"}`, "1,2,3"}, counts: data.Counts{Ragged: 1}},
		"cut in quotes":  {in: "a,b,c,d,e\n1,2,3,4,5\n1,2,3,4,6\n1,2,3,4,7\n1,2,\"[\nx\ny\nz", format: "csv", want: []string{`{"a":"1","b":"2","c":"3","d":"4","e":"5"}`, `{"a":"1","b":"2","c":"3","d":"4","e":"6"}`, `{"a":"1","b":"2","c":"3","d":"4","e":"7"}`, `1,2,"[`, "x", "y", "z"}, counts: data.Counts{Ragged: 4}},
		"index column":   {in: ",user,host\n0,bob,web\n1,eve,db\n", format: "csv", want: []string{`{"":"0","user":"bob","host":"web"}`, `{"":"1","user":"eve","host":"db"}`}},
	} {
		res := readAll(strings.NewReader(c.in), c.o)
		if res.err != nil {
			t.Errorf("%s: %v", name, res.err)
			continue
		}
		for _, text := range c.want {
			c.counts.Records++
			c.counts.Bytes += int64(len(text))
		}
		if res.format != c.format || !slices.Equal(res.texts, c.want) || res.counts != c.counts {
			t.Errorf("%s:\ngot  %s %q %+v\nwant %s %q %+v", name, res.format, res.texts, res.counts, c.format, c.want, c.counts)
		}
		// Neither the packing nor the portions in which a stream comes change a record.
		for layers, packed := range map[string][]byte{"gz>": gz(t, []byte(c.in)), "zst>": zst(t, []byte(c.in)), "zst>gz>": zst(t, gz(t, []byte(c.in)))} {
			again := readAll(iotest.OneByteReader(bytes.NewReader(packed)), c.o)
			if again.err != nil || again.format != layers+c.format || !slices.Equal(again.texts, c.want) || again.counts != c.counts {
				t.Errorf("%s in %s: got %s %q %+v %v", name, layers, again.format, again.texts, again.counts, again.err)
			}
		}
	}
}

func TestGzipMembersAndPadding(t *testing.T) {
	in := slices.Concat(gz(t, []byte("a\nb")), gz(t, []byte("c\n")), make([]byte, 1000))
	res := readAll(bytes.NewReader(in), Options{})
	if res.err != nil || !slices.Equal(res.texts, []string{"a", "bc"}) {
		t.Fatalf("got %q, %v", res.texts, res.err)
	}
	// Short rubbish is an error that must not be forgotten between looking at the beginning and reading.
	for _, rubbish := range []string{"r", "rubbish", "rubbish behind the end"} {
		res = readAll(bytes.NewReader(slices.Concat(in, []byte(rubbish))), Options{})
		if res.err == nil || !strings.Contains(res.err.Error(), "gzip stream") || len(res.texts) != 2 {
			t.Fatalf("rubbish behind: got %q, %v", res.texts, res.err)
		}
	}
}

func TestUTF16(t *testing.T) {
	text := "caf\u00e9 \U0001F512 opened\r\nclosed\n"
	for _, big := range []bool{false, true} {
		var in []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
			if big {
				in = append(in, byte(u>>8), byte(u))
			} else {
				in = append(in, byte(u), byte(u>>8))
			}
		}
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			res := readAll(r, Options{})
			if res.err != nil || res.format != "utf16>lines" || !slices.Equal(res.texts, []string{"caf\u00e9 \U0001F512 opened", "closed"}) {
				t.Fatalf("got %s %q %v", res.format, res.texts, res.err)
			}
		}
	}
	res := readAll(strings.NewReader("\xff\xfea\x00\x00\xd8b\x00\n\x00c"), Options{})
	if res.err != nil || !slices.Equal(res.texts, []string{"a\xed\xa0\x80b", "c"}) || res.counts.InvalidUTF8 != 1 {
		t.Fatalf("half a pair: got %q %+v %v", res.texts, res.counts, res.err)
	}
}

func TestLongRecords(t *testing.T) {
	// Cut at the limit, but never inside a character.
	res := readAll(strings.NewReader(strings.Repeat("x", 63)+"\u00e9"+strings.Repeat("y", 100)+"\r\nz\n"), Options{MaxRecord: 64})
	want := []string{strings.Repeat("x", 63), "\u00e9" + strings.Repeat("y", 62), strings.Repeat("y", 38), "z"}
	if res.err != nil || !slices.Equal(res.texts, want) || res.counts.Cut != 2 || res.counts.InvalidUTF8 != 0 {
		t.Fatalf("got %q %+v %v", res.texts, res.counts, res.err)
	}
	// A line of exactly the limit is whole, with either line end.
	for _, end := range []string{"\n", "\r\n", ""} {
		for n := 62; n < 69; n++ {
			line := strings.Repeat("x", n)
			for _, r := range []io.Reader{strings.NewReader(line + end), iotest.OneByteReader(strings.NewReader(line + end))} {
				res := readAll(r, Options{MaxRecord: 64})
				if res.err != nil || strings.Join(res.texts, "") != line || (len(res.texts) == 1) != (n <= 64) {
					t.Fatalf("%d bytes before %q: got %q %v", n, end, res.texts, res.err)
				}
			}
		}
	}
	// The same where a line comes out of the buffer in several pieces.
	for n := 2*bufferSize - 3; n <= 2*bufferSize+3; n++ {
		line := strings.Repeat("x", n)
		res := readAll(strings.NewReader(line+"\r\ny\n"), Options{MaxRecord: n})
		if res.err != nil || !slices.Equal(res.texts, []string{line, "y"}) {
			t.Fatalf("%d bytes with that limit: got %d records, %v", n, len(res.texts), res.err)
		}
	}
	// A rendered row over the limit is cut too, and a row that is too long for its reader comes as text.
	in := "id,text,x\n1," + strings.Repeat("t", 100) + ",3\n"
	res = readAll(strings.NewReader(in), Options{MaxRecord: 64})
	if got := strings.Join(res.texts, ""); res.err != nil || got != `{"id":"1","text":"`+strings.Repeat("t", 100)+`","x":"3"}` || res.counts.Cut != 1 {
		t.Fatalf("got %q %+v %v", res.texts, res.counts, res.err)
	}
	long := "9," + strings.Repeat("t", 3*sampleSize) + ",\"x"
	in = "id,text,x\n" + strings.Repeat("1,2,3\n", 20) + long + "\n4,5,6\n"
	res = readAll(strings.NewReader(in), Options{MaxRecord: 64})
	if n := len(res.texts); res.err != nil || strings.Join(res.texts[20:n-1], "") != long || res.texts[n-1] != `{"id":"4","text":"5","x":"6"}` || res.counts.Ragged != 1 {
		t.Fatalf("got %d texts, %+v %v", n, res.counts, res.err)
	}
}

// endless gives a line without end; only bounded memory gets through it.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	for i := range p[:n] {
		p[i] = 'a' + byte(i%26)
	}
	e.left -= n
	return int(n), nil
}

func TestLineOf50MB(t *testing.T) {
	for _, head := range []string{"", "id,text,x\n1,2,3\n1,2,3\n4,", `{"a":"`, "id,text,x\n1,2,3\n1,2,3\n4,\""} {
		r, err := NewReader("test", io.MultiReader(strings.NewReader(head), &endless{left: 50e6}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		total, records := 0, 0
		for {
			rec, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(rec.Text) > DefaultMaxRecord {
				t.Fatalf("record of %d bytes", len(rec.Text))
			}
			total += len(rec.Text)
			records++
		}
		if total < 50e6 || records < 48 {
			t.Fatalf("after %q: %d bytes in %d records", head, total, records)
		}
		switch in := r.in.(type) {
		case *lines:
			if cap(in.buf) > 4<<20 {
				t.Errorf("buffer grew to %d bytes", cap(in.buf))
			}
		case *csvRows:
			if cap(in.buf) > 8<<20 {
				t.Errorf("buffer grew to %d bytes", cap(in.buf))
			}
		}
	}
}

// Rows that each open a quote and never close it must not cost the square of the file.
func TestHostileQuotes(t *testing.T) {
	const rows = "1,a,2\n"
	head := "id,name,x\n" + strings.Repeat(rows, 12000)
	hostileQuotes(t, head+strings.Repeat("\"q,1,2\n", 200_000), 212_000)
	// Closed after a while, by a row that does not fit.
	block := strings.Repeat("\"q,1,2\n", 20_000) + "5\",6\n"
	hostileQuotes(t, head+strings.Repeat(block, 4), 12_000+4*20_001)
}

func hostileQuotes(t *testing.T, in string, want int) {
	t.Helper()
	r, err := NewReader("test", strings.NewReader(in), Options{})
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		records++
	}
	if records != want {
		t.Fatalf("%d records, want %d", records, want)
	}
	if c := r.in.(*csvRows); c.wasted <= wasteFloor || c.wasted > wasteFloor+(wasteFactor+1)*int64(len(in))+DefaultMaxRecord {
		t.Fatalf("%d bytes wasted on a file of %d", c.wasted, len(in))
	}
}

func TestDamaged(t *testing.T) {
	var text bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&text, "line %d of a log that is about to be cut %d\n", i, i*i)
	}
	for what, whole := range map[string][]byte{"gzip": gz(t, text.Bytes()), "zstd": zst(t, text.Bytes())} {
		for _, cut := range []int{5, 12, len(whole) / 2, len(whole) - 1} {
			for _, in := range []io.Reader{bytes.NewReader(whole[:cut]), iotest.HalfReader(bytes.NewReader(whole[:cut]))} {
				res := readAll(in, Options{})
				var place *ReadError
				if !errors.As(res.err, &place) || !errors.Is(res.err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s cut at %d: got %v, want a ReadError", what, cut, res.err)
				}
				if n := int64(len(res.texts)); place.Records != n || place.Line != n+1 || !strings.Contains(res.err.Error(), "unexpected end of "+what+" stream (file cut short?)") {
					t.Fatalf("%s cut at %d: %d records came out, got %v", what, cut, n, res.err)
				}
				for i, got := range res.texts {
					if want := fmt.Sprintf("line %d of a log that is about to be cut %d", i, i*i); got != want {
						t.Fatalf("%s cut at %d: record %d: got %q", what, cut, i, got)
					}
				}
			}
		}
		bad := bytes.Clone(whole)
		bad[len(bad)/2] ^= 0x55
		if res := readAll(bytes.NewReader(bad), Options{}); res.err == nil {
			t.Errorf("%s with a flipped byte: no error", what)
		}
	}
	// The wording that a person gets.
	err := &ReadError{Path: "data/auth.log.gz", Line: 18204, Records: 18203, Err: streamError("gzip", io.ErrUnexpectedEOF)}
	if got, want := err.Error(), "data/auth.log.gz: line 18204: unexpected end of gzip stream (file cut short?): unexpected EOF; 18,203 records were read"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A stream that breaks inside a CSV row.
	in := io.MultiReader(strings.NewReader("id,name,x\n1,a,2\n3,b,4\n5,\"c"), iotest.ErrReader(errors.New("cable cut")))
	res := readAll(in, Options{})
	if !slices.Equal(res.texts, []string{`{"id":"1","name":"a","x":"2"}`, `{"id":"3","name":"b","x":"4"}`}) || res.err == nil || !strings.Contains(res.err.Error(), "line 4: cable cut") {
		t.Errorf("got %q, %v", res.texts, res.err)
	}
	if res := readAll(iotest.ErrReader(errors.New("no cable")), Options{}); res.err == nil || !strings.Contains(res.err.Error(), "no cable") {
		t.Errorf("got %v", res.err)
	}
}

func TestBinary(t *testing.T) {
	random := make([]byte, 100_000)
	x := uint32(1)
	for i := range random {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	for name, in := range map[string][]byte{
		"random": random, "zeros": make([]byte, 5000), "elf": append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 100)...),
		"xz in gz": gz(t, []byte("\xfd7zXZ\x00....")), "evtx": []byte("ElfFile\x00abc"), "pdf": []byte("%PDF-1.4\nabc"),
		"deep": gz(t, gz(t, gz(t, gz(t, gz(t, []byte("a\n")))))), "utf-32": []byte("\xff\xfe\x00\x00a\x00\x00\x00b\x00\x00\x00"),
	} {
		if res := readAll(bytes.NewReader(in), Options{}); !errors.Is(res.err, ErrBinary) {
			t.Errorf("%s: got %q, %v, want ErrBinary", name, res.texts, res.err)
		}
	}
	for name, in := range map[string]string{
		"colours": "\x1b[31mERROR\x1b[0m disk full\n", "latin-1": strings.Repeat("\xe4\xf6\xfc \xdf text\n", 100), "letters of a magic": "regfoo started\nBZh is no archive\n",
		"some NUL": strings.Repeat("a log line of usual length\n", 50) + strings.Repeat("\x00", 300) + "\n",
	} {
		if res := readAll(strings.NewReader(in), Options{}); res.err != nil {
			t.Errorf("%s: %v", name, res.err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "misleading.csv")
	if err := os.WriteFile(path, gz(t, []byte("a\nb\n")), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := Open(context.Background(), data.File{Path: path}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Next(); err != nil || string(rec.Text) != "a" || rec.Line != 1 {
		t.Fatalf("got %q at %d, %v", rec.Text, rec.Line, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), data.File{Path: filepath.Join(dir, "gone")}, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
	if _, err := Open(context.Background(), data.File{Path: path}, Options{MaxRecord: 3}); err == nil {
		t.Error("records of 3 bytes: want an error")
	}
	if _, err := ParseRender("xml"); err == nil {
		t.Error("xml: want an error")
	}
}

// A read that waits ends with the context.
func TestWaitFor(t *testing.T) {
	pr, pw := io.Pipe()
	defer pw.Close()
	ctx, cancel := context.WithCancel(context.Background())
	r := waitFor(ctx, pr)
	go cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want cancelled", err)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"a\r\nb\n\n", "{\"a\": 1}\n{\"b\":2}\n", "a,b,c\n1,2,3\n4,\"5\n6\",7\n8,\"9", "id;n\n1;\"x\"\"y\"\n2;z\n3;", "\xff\xfea\x00\n\x00", "\xef\xbb\xbfx",
		strings.Repeat("long ", 100), "a,b,c\n1,2,3\n\"4,5,6\n7,8,9\na,b,c\n", "\x00\x00a\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add(gz(f, []byte(s)), uint8(1))
		f.Add(zst(f, []byte(s))[:len(s)/2], uint8(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, mode uint8) {
		o := Options{MaxRecord: 64 + int(mode>>2), Render: Render(mode & 3 % 3)}
		a := readAll(bytes.NewReader(in), o)
		b := readAll(iotest.OneByteReader(bytes.NewReader(in)), o)
		if a.format != b.format || !slices.Equal(a.texts, b.texts) || a.counts != b.counts || (a.err == nil) != (b.err == nil) {
			t.Fatalf("portions change the result:\n%s %q %+v %v\n%s %q %+v %v", a.format, a.texts, a.counts, a.err, b.format, b.texts, b.counts, b.err)
		}
		var place *ReadError
		if a.err != nil && !errors.Is(a.err, ErrBinary) && !errors.As(a.err, &place) {
			t.Fatalf("error without a place: %v", a.err)
		}
		for _, text := range a.texts {
			if text == "" || len(text) > o.MaxRecord {
				t.Fatalf("record of %d bytes, limit %d", len(text), o.MaxRecord)
			}
		}
		// Lines without anything special come out byte for byte.
		if a.format == "lines" && o.Render == Auto && a.err == nil && a.counts.Cut == 0 && !bytes.ContainsAny(in, "\x00\r\n\v\f\t ") && !bytes.HasPrefix(in, utf8Mark) {
			if strings.Join(a.texts, "") != string(in) {
				t.Fatalf("got %q, want %q", a.texts, in)
			}
		}
	})
}

func BenchmarkLines(b *testing.B) {
	in := bytes.Repeat([]byte("Dec 10 06:55:46 host sshd[24200]: Invalid user webmaster from 203.0.113.2 port 38926\n"), 100_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if res, err := NewReader("b", bytes.NewReader(in), Options{}); err != nil {
			b.Fatal(err)
		} else {
			for {
				if _, err := res.Next(); err != nil {
					break
				}
			}
		}
	}
}
