package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func collect(t *testing.T, o RecordOptions) ([]string, error) {
	t.Helper()
	var got []string
	for text, err := range Records(context.Background(), o) {
		if err != nil {
			return got, err
		}
		got = append(got, string(text))
	}
	return got, nil
}

func TestRecordsOfTextAndOfADataFolder(t *testing.T) {
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o777); err != nil {
		t.Fatal(err)
	}
	var want []string
	text := ""
	for i := range 50 {
		line := "session " + string(rune('a'+i%26)) + string(rune('a'+i/26)) + " opened"
		want = append(want, line)
		text += line + "\n"
	}
	if err := os.WriteFile(filepath.Join(logs, "auth.log"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, RecordOptions{In: []string{logs}})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("text: %d records, %v", len(got), err)
	}
	folder := filepath.Join(dir, "data")
	report, err := Run(context.Background(), Options{In: []string{logs}, Out: folder, Tokenizer: "train:300"})
	if err != nil {
		t.Fatal(err)
	}
	got, err = collect(t, RecordOptions{In: []string{folder}})
	if err != nil || int64(len(got)) != report.Sets["train"].Records {
		t.Errorf("data folder: %d records, %v; the train split has %d", len(got), err, report.Sets["train"].Records)
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("%q is no record of the input", g)
		}
	}
}

func TestRecordsOfNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := collect(t, RecordOptions{In: []string{dir}}); !errors.Is(err, ErrNothing) {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := collect(t, RecordOptions{In: []string{filepath.Join(dir, "absent")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent path: %v", err)
	}
}
