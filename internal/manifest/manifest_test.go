package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"b/c": "cc", "a": "", "b.x": "1", ".lock": "no", ".tmp/x": "no"} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	m := Manifest{Kind: "data", Tool: "secencoder test", Config: json.RawMessage(`{"seed":1}`), Parents: map[string]string{"p": "00"}}
	if err := Write(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWriteRead(t *testing.T) {
	dir := folder(t)
	m, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []FileEntry{
		{"a", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"b.x", 1, "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"},
		{"b/c", 2, "355b1bbfc96725cdce8f4a2708fda310a80e6d13315aec4e5eed2a75fe8032ce"},
	}
	if d := cmp.Diff(want, m.Files); d != "" {
		t.Fatalf("files (-want +got):\n%s", d)
	}
	if m.Schema != Schema || m.Kind != "data" || m.Parents["p"] != "00" {
		t.Fatalf("got %+v", m)
	}
	if err := errors.Join(Check(dir), Verify(dir)); err != nil {
		t.Fatal(err)
	}
	a, err := Hash(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Hash(folder(t))
	if err != nil || a != b {
		t.Fatalf("equal folders: hashes %s and %s, %v", a, b, err)
	}
}

func TestBroken(t *testing.T) {
	for name, c := range map[string]struct {
		harm         func(dir string) error
		check, word  string
		checkMayPass bool
	}{
		"missing": {func(d string) error { return os.Remove(filepath.Join(d, "b/c")) }, "c", "missing", false},
		"longer":  {func(d string) error { return os.WriteFile(filepath.Join(d, "b/c"), []byte("ccc"), 0o666) }, "c", "3 bytes, want 2", false},
		"flipped": {func(d string) error { return os.WriteFile(filepath.Join(d, "b/c"), []byte("cd"), 0o666) }, "c", "SHA-256", true},
	} {
		dir := folder(t)
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		err := Verify(dir)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), c.check) {
			t.Errorf("%s: Verify: got %v, want %q and %q", name, err, c.check, c.word)
		}
		if err := Check(dir); (err == nil) != c.checkMayPass {
			t.Errorf("%s: Check: got %v", name, err)
		}
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without manifest: got %v", err)
	}
}

var malformed = []string{
	``, `{`, `[]`, `{"schema":0}`, `{"schema":2}`, `{"schema":3}`,
	`{"schema":1,"sha256":"` + strings.Repeat("0", 64) + `"}`,
	`{"schema":1,"files":[{"path":"../x","size":0,"sha256":"` + strings.Repeat("0", 64) + `"}]}`,
	`{"schema":1,"files":[{"path":"/x","size":0,"sha256":"` + strings.Repeat("0", 64) + `"}]}`,
	`{"schema":1,"files":[{"path":"x","size":-1,"sha256":"` + strings.Repeat("0", 64) + `"}]}`,
	`{"schema":1,"files":[{"path":"x","size":1,"sha256":"00"}]}`,
	`{"schema":1,"files":[{"path":"x","size":1,"sha256":"` + strings.Repeat("0", 64) + `"},{"path":"x","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}]}`,
}

func TestMalformed(t *testing.T) {
	for _, text := range malformed {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", text, err)
		}
	}
}

// TestDamagedManifest changes every byte of a manifest, and cuts it at every length: each is found.
func TestDamagedManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(folder(t), Name))
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for _, bit := range []byte{1, 3, 0x20, 0x80} {
			harmed := bytes.Clone(text)
			harmed[i] ^= bit
			if _, err := Parse(harmed); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d, %q, ^ %#x: %v, want ErrCorrupt", i, text[i], bit, err)
			}
		}
		if _, err := Parse(text[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := Parse([]byte("{\"schema\": 1, \"kind\": \"data\", \"tool\": \"t\", \"files\": []}")); err != nil {
		t.Errorf("a manifest of schema 1: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range malformed {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"schema":1,"kind":"data","tool":"t","config":{"a":[1,2]},"parents":{"x":"y"},"files":[{"path":"x/y","size":1,"sha256":"` +
		strings.Repeat("0a", 32) + `"}],"extra":null,"later":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error does not wrap ErrCorrupt: %v", err)
			}
			return
		}
		out, err := Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("written again: %v\n%s", err, out)
		}
		if out2, err := Marshal(again); err != nil || string(out2) != string(out) {
			t.Fatalf("parse and print do not agree:\n%s\n%s", out, out2)
		}
	})
}
