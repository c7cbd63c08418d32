// Package manifest describes folders that are written whole: what made them, from what, and the size and SHA-256 of each
// file in them.
//
// Write hashes a finished folder and puts manifest.json into it. Read reads it back, Check compares sizes, Verify sizes
// and hashes, Hash gives the one value by which another folder names this one as its parent. A manifest holds no clock
// values, so equal inputs give equal bytes.
//
// Files beside the listed ones (notes that somebody left) are no error; a listed one that is missing or differs is.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Name is the file that holds a folder's manifest.
const Name = "manifest.json"

// Schema is the version of the format that Write writes and the newest that Read reads. Version 1 had no hash of itself.
const Schema = 2

// tail is what follows the digits of a manifest's own hash, its last field.
const tail = "\"\n}\n"

// maxBytes bounds what Read takes into memory: some 500,000 files.
const maxBytes = 128 << 20

// ErrCorrupt says that a manifest is malformed or that a file differs from what its manifest says.
var ErrCorrupt = errors.New("corrupt")

// Manifest is the content of manifest.json.
type Manifest struct {
	Schema  int               `json:"schema"`            // version of this format; Write sets it
	Kind    string            `json:"kind"`              // what the folder is: "data", "checkpoint", "model", …
	Tool    string            `json:"tool"`              // program and version that wrote it
	Config  json.RawMessage   `json:"config,omitempty"`  // what it was asked to do
	Parents map[string]string `json:"parents,omitempty"` // role → manifest hash of a folder that it was made from
	Files   []FileEntry       `json:"files"`             // every file, by path in bytewise order; Write fills it
	Extra   json.RawMessage   `json:"extra,omitempty"`   // what the kind of folder adds
	// SHA256 is the hash of all bytes before its own first digit, so that damage to the manifest itself is found. Marshal
	// sets it; it stays the last field.
	SHA256 string `json:"sha256,omitempty"`
}

// FileEntry is one file of a folder.
type FileEntry struct {
	Path   string `json:"path"` // below the folder, with slashes
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Entry describes a file that is about to be written.
func Entry(path string, content []byte) FileEntry {
	sum := sha256.Sum256(content)
	return FileEntry{Path: path, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// Write hashes every file of dir, in folders below it too, and writes dir/manifest.json. m.Schema and m.Files are filled
// in; whatever they held is not used. The manifest itself, and names beginning with a dot at the top of dir (locks,
// temporary files), are left out. It is meant for folders under construction (package atomicfile), which one process
// writes.
func Write(dir string, m Manifest) error {
	files, err := list(dir)
	if err != nil {
		return err
	}
	m.Files = files
	text, err := Marshal(m)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, Name)
	tmp := filepath.Join(dir, "."+Name+".tmp")
	if err := os.WriteFile(tmp, text, 0o666); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	if err := os.Rename(tmp, name); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	return nil
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Marshal returns the bytes of manifest.json for m as it is, but for Schema and SHA256, which are set. It serves folders that
// are not written whole, such as runs.
func Marshal(m Manifest) ([]byte, error) {
	m.Schema, m.SHA256 = Schema, "-"
	if m.Files == nil {
		m.Files = []FileEntry{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // paths and delimiters stay readable
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("-"+tail))
	sum := sha256.Sum256(text)
	return append(hex.AppendEncode(text, sum[:]), tail...), nil
}

// checkSelf compares a manifest with its own hash.
func checkSelf(text []byte, m Manifest) error {
	if m.Schema == 1 {
		if m.SHA256 != "" {
			return fmt.Errorf("%w: schema 1 has no hash of the manifest", ErrCorrupt)
		}
		return nil
	}
	before, ok := bytes.CutSuffix(text, []byte(m.SHA256+tail))
	if !ok || len(m.SHA256) != 2*sha256.Size {
		return fmt.Errorf("%w: it does not end with its own SHA-256 (cut short or changed?)", ErrCorrupt)
	}
	if sum := sha256.Sum256(before); hex.EncodeToString(sum[:]) != m.SHA256 {
		return fmt.Errorf("%w: its own SHA-256 is %x, want %s", ErrCorrupt, sum, m.SHA256)
	}
	return nil
}

func list(dir string) ([]FileEntry, error) {
	var files []FileEntry
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if !strings.Contains(rel, "/") && (rel == Name || rel[0] == '.') {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s: not a regular file", p)
		}
		size, sum, err := hashFile(p)
		if err != nil {
			return err
		}
		files = append(files, FileEntry{Path: rel, Size: size, SHA256: sum})
		return nil
	})
	slices.SortFunc(files, func(a, b FileEntry) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}

func hashFile(name string) (size int64, sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() // only read
	h := sha256.New()
	size, err = io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return size, hex.EncodeToString(h.Sum(nil)), err
}

// Read reads dir/manifest.json. A folder without one gives an error that wraps fs.ErrNotExist, a malformed one an error
// that wraps ErrCorrupt and names the file.
func Read(dir string) (Manifest, error) {
	text, err := read(dir)
	if err != nil {
		return Manifest{}, err
	}
	m, err := Parse(text)
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", filepath.Join(dir, Name), err)
	}
	return m, nil
}

func read(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, Name))
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", f.Name(), ErrCorrupt, maxBytes)
	}
	return text, nil
}

// Parse reads the bytes of a manifest. Fields that it does not know are passed over, because later versions of the same
// schema may add some. Errors wrap ErrCorrupt. A path that leaves the folder is an error, and so is a manifest that is
// not what its own hash says.
func Parse(text []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if m.Schema < 1 || m.Schema > Schema {
		return Manifest{}, fmt.Errorf("%w: schema %d, want 1 to %d", ErrCorrupt, m.Schema, Schema)
	}
	if err := checkSelf(text, m); err != nil {
		return Manifest{}, err
	}
	for i, f := range m.Files {
		if !fs.ValidPath(f.Path) || f.Path == "." || strings.Contains(f.Path, `\`) || !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Path != path.Clean(f.Path) {
			return Manifest{}, fmt.Errorf("%w: file %d: path %q is not below the folder", ErrCorrupt, i, f.Path)
		}
		if f.Size < 0 {
			return Manifest{}, fmt.Errorf("%w: file %q: size %d", ErrCorrupt, f.Path, f.Size)
		}
		if raw, err := hex.DecodeString(f.SHA256); err != nil || len(raw) != sha256.Size || f.SHA256 != strings.ToLower(f.SHA256) {
			return Manifest{}, fmt.Errorf("%w: file %q: SHA-256 %q", ErrCorrupt, f.Path, f.SHA256)
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return Manifest{}, fmt.Errorf("%w: file %q after %q: paths ascend", ErrCorrupt, f.Path, m.Files[i-1].Path)
		}
	}
	return m, nil
}

// Hash returns the SHA-256 of dir/manifest.json in hexadecimal: the name by which a folder made from dir refers to it.
func Hash(dir string) (string, error) {
	text, err := read(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Check reads the manifest of dir and compares the size of every listed file. It returns the first difference, in path
// order, as an error that wraps ErrCorrupt and names the file with the size that it has and the one it should have.
func Check(dir string) error {
	m, err := Read(dir)
	if err != nil {
		return err
	}
	return m.Check(dir)
}

// Check is the function Check with a manifest that was read before.
func (m Manifest) Check(dir string) error {
	for _, f := range m.Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w: file is missing", name, ErrCorrupt)
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: %w: not a regular file", name, ErrCorrupt)
		}
		if info.Size() != f.Size {
			return fmt.Errorf("%s: %w: %d bytes, want %d", name, ErrCorrupt, info.Size(), f.Size)
		}
	}
	return nil
}

// Verify reads the manifest of dir and compares the size and the SHA-256 of every listed file, reading all of them. It
// returns the first difference, in path order, as an error that wraps ErrCorrupt and names the file with got and want.
func Verify(dir string) error {
	m, err := Read(dir)
	if err != nil {
		return err
	}
	if err := m.Check(dir); err != nil {
		return err
	}
	for _, f := range m.Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		_, sum, err := hashFile(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if sum != f.SHA256 {
			return fmt.Errorf("%s: %w: SHA-256 %s, want %s", name, ErrCorrupt, sum, f.SHA256)
		}
	}
	return nil
}
