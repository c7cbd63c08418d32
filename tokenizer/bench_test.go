package tokenizer

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// realLines returns up to limit bytes of the real logs that SECENCODER_LOGS names, as lines.
func realLines(b *testing.B, limit int) (lines [][]byte, total int) {
	root := os.Getenv("SECENCODER_LOGS")
	if root == "" {
		b.Skip("set SECENCODER_LOGS to a folder of logs (.zst)")
	}
	unzstd, err := zstd.NewReader(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer unzstd.Close()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || total >= limit {
			return err
		}
		if filepath.Ext(path) != ".zst" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if data, err = unzstd.DecodeAll(data, nil); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, line := range bytes.Split(data, []byte("\n")) {
			if total < limit {
				lines = append(lines, line)
				total += len(line)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if total == 0 {
		b.Skipf("no .zst files in %s", root)
	}
	return lines, total
}

func BenchmarkTrain(b *testing.B) {
	lines, total := realLines(b, 10<<20)
	b.SetBytes(int64(total))
	for b.Loop() {
		_, r, err := Train(context.Background(), each(lines), TrainOptions{VocabSize: 4096})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.DistinctPieces), "pieces")
	}
}

func BenchmarkEncodeLines(b *testing.B) {
	lines, total := realLines(b, 10<<20)
	tok, _, err := Train(context.Background(), each(lines), TrainOptions{})
	if err != nil {
		b.Fatal(err)
	}
	enc := tok.NewEncoder()
	b.SetBytes(int64(total))
	var ids []uint32
	n := 0
	for b.Loop() {
		n = 0
		for _, l := range lines {
			ids = enc.Append(ids[:0], l)
			n += len(ids)
		}
	}
	b.ReportMetric(float64(total)/float64(n), "bytes/token")
}

func BenchmarkDecode(b *testing.B) {
	tok := loadGolden(b, "run-all")
	text := bytes.Join(trainingLines(b), []byte("\n"))
	ids := tok.NewEncoder().Append(nil, text)
	b.SetBytes(int64(len(text)))
	var out []byte
	for b.Loop() {
		out = tok.AppendDecode(out[:0], ids)
	}
}

func BenchmarkLoad(b *testing.B) {
	data := loadGolden(b, "run-all").JSON()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
