package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/tokenizer"
)

// Folder is a model folder in memory. Close frees the parameters.
type Folder struct {
	Path       string // after resolution: the folder with config.json
	Config     *Config
	Tokenizer  *tokenizer.Tokenizer // nil when ReadOptions.WithoutTokenizer was given
	Params     *Params              // nil when ReadOptions.WithoutWeights was given
	Provenance Provenance
	Manifest   *manifest.Manifest // nil when the folder has none, as HF's do not
	// Ignored lists the tensors of the files that the model does not read, such as another task's head.
	Ignored []string
}

// Close frees the parameters.
func (f *Folder) Close() error {
	if f.Params == nil {
		return nil
	}
	return f.Params.Close()
}

// ReadOptions change what ReadFolder reads. The zero value is for inference.
type ReadOptions struct {
	// Training keeps row 0 of the position table as it is. Otherwise, when no piece of the training reached it
	// (Provenance.Slot0Trained), row 1 is put into row 0, which changes nothing for inputs within the range.
	Training bool
	// Heads, when not nil, demands these heads; otherwise the heads that the file holds are read.
	Heads *Heads
	// WithoutTokenizer and WithoutWeights leave parts out; the hashes are checked all the same.
	WithoutTokenizer, WithoutWeights bool
}

// ReadFolder reads a model folder, a checkpoint, the checkpoint that a run folder names (Resolve), or a folder that HF
// wrote: config.json, model.safetensors (or its shards) and tokenizer.json. With a manifest every file is hashed before
// anything is believed; without one the structure decides: names, shapes and sizes. A tokenizer that does not belong to
// the model is an error. Errors name the file, and the tensor or field. The caller closes the folder.
func ReadFolder(path string, o ReadOptions) (_ *Folder, err error) {
	dir, err := Resolve(path)
	if err != nil {
		return nil, err
	}
	f := &Folder{Path: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	m, err := manifest.Read(dir)
	switch {
	case err == nil:
		if err := manifest.Verify(dir); err != nil {
			return nil, err
		}
		f.Manifest = &m
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if f.Config, err = ReadConfig(filepath.Join(dir, "config.json")); err != nil {
		return nil, err
	}
	var ours bool
	if f.Provenance, ours, err = ProvenanceOf(f.Config); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	if err := f.checkManifest(); err != nil {
		return nil, err
	}
	if !o.WithoutTokenizer {
		name := filepath.Join(dir, "tokenizer.json")
		if f.Tokenizer, err = tokenizer.Load(name); err != nil {
			return nil, err
		}
		if err := checkTokenizer(f.Config, f.Provenance, ours, f.Tokenizer); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if o.WithoutWeights {
		return f, nil
	}
	if err := f.readWeights(o); err != nil {
		return nil, err
	}
	if !o.Training && !f.Provenance.Slot0Trained {
		f.Params.fillSlot0()
	}
	return f, nil
}

// checkManifest holds the manifest against the files that its hashes do not cover: the list must name what is read, and
// the provenance must be the one of config.json.
func (f *Folder) checkManifest() error {
	if f.Manifest == nil {
		return nil
	}
	listed := map[string]bool{}
	for _, e := range f.Manifest.Files {
		listed[e.Path] = true
	}
	for _, name := range []string{"config.json", "tokenizer.json"} {
		if !listed[name] {
			return fmt.Errorf("%s: %w: does not list %s", filepath.Join(f.Path, manifest.Name), manifest.ErrCorrupt, name)
		}
	}
	if !listed[weightsName] && !listed[indexName] {
		return fmt.Errorf("%s: %w: does not list %s", filepath.Join(f.Path, manifest.Name), manifest.ErrCorrupt, weightsName)
	}
	var a, b bytes.Buffer
	for to, from := range map[*bytes.Buffer]json.RawMessage{&a: f.Manifest.Extra, &b: f.Config.SecEncoder} {
		if from == nil {
			continue
		}
		if err := json.Compact(to, from); err != nil {
			return fmt.Errorf("%s: provenance: %w", f.Path, err)
		}
	}
	if a.Len() > 0 && !bytes.Equal(a.Bytes(), b.Bytes()) {
		return fmt.Errorf("%s: %w: its provenance is not the one in config.json", filepath.Join(f.Path, manifest.Name), manifest.ErrCorrupt)
	}
	return nil
}

func (f *Folder) readWeights(o ReadOptions) (err error) {
	w, err := openWeights(f.Path)
	if err != nil {
		return err
	}
	defer w.Close() // only read
	heads := w.heads()
	if o.Heads != nil {
		heads = *o.Heads
	}
	if n := max(heads.Sequence, heads.Token); n > maxLabels {
		return fmt.Errorf("%s: a classifier of %d labels, want at most %d", f.Path, n, maxLabels)
	}
	if err := w.check(layout(f.Config, heads)); err != nil {
		return err
	}
	f.Ignored = w.ignored
	if f.Params, err = NewParams(f.Config, heads); err != nil {
		return err
	}
	return w.load(f.Params)
}

// fillSlot0 copies row 1 of the position table into row 0.
func (p *Params) fillSlot0() {
	if t, ok := p.Lookup(relName); ok && t.Shape[0] > 1 {
		w, h := t.of(p.weights), t.Shape[1]
		copy(w[:h], w[h:2*h])
	}
}

// Resolve returns the folder with config.json that path means: path itself when it is a model folder or a checkpoint,
// and for a run folder the checkpoint that checkpoints/best names, or checkpoints/last when no evaluation has chosen a
// best one yet. The error says what was looked for.
func Resolve(path string) (string, error) {
	if _, err := os.Stat(filepath.Join(path, "config.json")); err == nil {
		return path, nil
	}
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", fmt.Errorf("%s: is a file, want a model folder, a checkpoint or a run folder", path)
	}
	for _, which := range []string{"best", "last"} {
		name := filepath.Join(path, "checkpoints", which)
		line, err := readBounded(name, 4096)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		step := strings.TrimSpace(string(line))
		if !filepath.IsLocal(step) || filepath.Base(step) != step {
			return "", fmt.Errorf("%s: names %q, want a folder beside it", name, step)
		}
		dir := filepath.Join(path, "checkpoints", step)
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
			return "", fmt.Errorf("%s: names %q, which is no checkpoint: %w", name, step, err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("%s: no config.json and no checkpoints/best or checkpoints/last: neither a model folder nor a run folder", path)
}

// WriteOptions say what WriteFolder writes.
type WriteOptions struct {
	Kind       string // manifest kind: "model" or "checkpoint"; "" is "model"
	Params     *Params
	Tokenizer  *tokenizer.Tokenizer
	Provenance Provenance        // Tokenizer is filled in
	Parents    map[string]string // manifest hashes of what it was made from
	Settings   json.RawMessage   // manifest config: what the writer was asked to do
	// NewHead writes HF's new head names with legacy false and tie_word_embeddings false. It needs embedding_size equal
	// to hidden_size, because HF's class for it does.
	NewHead bool
	// More writes further files before the manifest is made; path gives their names in the folder under construction.
	More func(path func(name ...string) string) error
}

// WriteFolder writes a model folder: config.json, model.safetensors, tokenizer.json with HF's two files beside it,
// modules.json and 1_Pooling for sentence-transformers (mean over all tokens), README.md and manifest.json. It appears
// whole at out or not at all; out must be absent or empty. The weights are written as they are: a folder for others
// comes from parameters that were read for inference (see ReadOptions.Training).
func WriteFolder(out string, o WriteOptions) (err error) {
	cfg := o.Params.Config().Clone()
	cfg.Legacy, cfg.TieWordEmbeddings = !o.NewHead, !o.NewHead
	if o.NewHead && cfg.Embedding() != cfg.HiddenSize {
		return fmt.Errorf("the new head needs embedding_size %d equal to hidden_size %d", cfg.Embedding(), cfg.HiddenSize)
	}
	heads := o.Params.Heads()
	cfg.Architectures = []string{heads.architecture()}
	if n := max(heads.Sequence, heads.Token); n > 0 {
		cfg.NumLabels = n
	} else if heads.Question {
		cfg.NumLabels = spanLogits
	}
	o.Provenance.Tokenizer = fingerprint(o.Tokenizer)
	if cfg.SecEncoder, err = json.Marshal(o.Provenance); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	if err := checkTokenizer(cfg, o.Provenance, false, o.Tokenizer); err != nil {
		return err
	}
	if o.Kind == "" {
		o.Kind = "model"
	}
	d, err := atomicfile.CreateDir(out)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Abort())
		}
	}()
	files := map[string][]byte{
		"config.json":           cfg.JSON(),
		"tokenizer.json":        o.Tokenizer.JSON(),
		"modules.json":          modulesJSON(),
		"1_Pooling/config.json": poolingJSON(cfg),
		"README.md":             modelCard(cfg, o),
	}
	for name, content := range tokenizerFiles(cfg, o.Tokenizer) {
		files[name] = content
	}
	if err := os.Mkdir(d.Path("1_Pooling"), 0o777); err != nil {
		return err
	}
	for _, name := range sortedKeys(files) {
		if err := os.WriteFile(d.Path(filepath.FromSlash(name)), files[name], 0o666); err != nil {
			return err
		}
	}
	if err := o.Params.SaveWeights(d.Path(weightsName), o.NewHead); err != nil {
		return err
	}
	if o.More != nil {
		if err := o.More(d.Path); err != nil {
			return err
		}
	}
	if err := manifest.Write(d.Path(), manifest.Manifest{
		Kind: o.Kind, Tool: o.Provenance.Tool, Config: o.Settings, Parents: o.Parents, Extra: cfg.SecEncoder,
	}); err != nil {
		return err
	}
	return d.Commit()
}

func (h Heads) architecture() string {
	switch {
	case h.MLM:
		return "DebertaV2ForMaskedLM"
	case h.Sequence > 0:
		return "DebertaV2ForSequenceClassification"
	case h.Token > 0:
		return "DebertaV2ForTokenClassification"
	case h.Question:
		return "DebertaV2ForQuestionAnswering"
	}
	return "DebertaV2Model"
}
