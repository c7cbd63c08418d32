package model

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	weightsName   = "model.safetensors"
	indexName     = "model.safetensors.index.json"
	optimizerName = "optimizer.safetensors"

	wordName       = "deberta.embeddings.word_embeddings.weight"
	mlmBiasName    = "cls.predictions.bias"
	decoderWeight  = "cls.predictions.decoder.weight"
	decoderBias    = "cls.predictions.decoder.bias"
	relName        = "deberta.encoder.rel_embeddings.weight"
	newHeadPrefix  = "lm_predictions.lm_head."
	legacyPrefix   = "cls.predictions."
	classifierName = "classifier.weight"
	poolerName     = "pooler.dense.weight"
	questionName   = "qa_outputs.weight"
)

// weightFiles are the open safetensors files of a folder, with their tensors under the names that this tool uses.
type weightFiles struct {
	files   []*safetensors
	tensors map[string]located
	ignored []string // names in the files that no model of this kind reads
}

type located struct {
	file *safetensors
	fileTensor
}

// openWeights opens dir/model.safetensors, or the shards that dir/model.safetensors.index.json lists.
func openWeights(dir string) (w *weightFiles, err error) {
	w = &weightFiles{tensors: map[string]located{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	raw := map[string]located{}
	path := filepath.Join(dir, weightsName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, indexName)); err == nil {
			return w, w.openShards(dir, raw)
		}
	}
	f, err := openSafetensors(path)
	if err != nil {
		return w, err
	}
	w.files = append(w.files, f)
	for _, t := range f.tensors {
		raw[t.name] = located{f, t}
	}
	return w, w.rename(raw)
}

// openShards follows an index: {"weight_map": {tensor name: file name}}. A file name must be one in the folder itself.
func (w *weightFiles) openShards(dir string, raw map[string]located) error {
	path := filepath.Join(dir, indexName)
	data, err := readBounded(path, maxHeaderBytes)
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(index.WeightMap) == 0 {
		return fmt.Errorf("%s: no weight_map", path)
	}
	open := map[string]*safetensors{}
	for _, name := range sortedKeys(index.WeightMap) {
		file := index.WeightMap[name]
		if !filepath.IsLocal(file) || filepath.Base(file) != file {
			return fmt.Errorf("%s: tensor %q is in %q, want a file in the folder", path, name, file)
		}
		f := open[file]
		if f == nil {
			if f, err = openSafetensors(filepath.Join(dir, file)); err != nil {
				return err
			}
			open[file] = f
			w.files = append(w.files, f)
		}
		i, ok := f.byName[name]
		if !ok {
			return fmt.Errorf("%s: has no tensor %q, which %s puts there", f.path, name, indexName)
		}
		raw[name] = located{f, f.tensors[i]}
	}
	return w.rename(raw)
}

func (w *weightFiles) Close() error {
	var first error
	for _, f := range w.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	w.files = nil
	return first
}

// rename gives every tensor the name that this tool uses: HF's legacy head and the prefix "deberta.". Files without the
// prefix (DebertaV2Model saves so), with the new head (lm_predictions, also microsoft's name), and with gamma and beta
// for LayerNorm are read. Two names for one tensor are an error.
func (w *weightFiles) rename(raw map[string]located) error {
	prefixed := false
	for name := range raw {
		prefixed = prefixed || strings.HasPrefix(name, "deberta.")
	}
	for _, name := range sortedKeys(raw) {
		to := name
		if !prefixed && (strings.HasPrefix(to, "embeddings.") || strings.HasPrefix(to, "encoder.")) {
			to = "deberta." + to
		}
		if rest, ok := strings.CutPrefix(to, newHeadPrefix); ok {
			to = legacyPrefix + "transform." + rest
			if rest == "bias" {
				to = mlmBiasName
			}
		}
		if rest, ok := strings.CutSuffix(to, "LayerNorm.gamma"); ok {
			to = rest + "LayerNorm.weight"
		} else if rest, ok := strings.CutSuffix(to, "LayerNorm.beta"); ok {
			to = rest + "LayerNorm.bias"
		}
		if other, twice := w.tensors[to]; twice {
			return fmt.Errorf("%s: tensors %q and %q are the same parameter", raw[name].file.path, other.name, name)
		}
		w.tensors[to] = raw[name]
	}
	if _, ok := w.tensors[mlmBiasName]; !ok { // only decoder.bias is there: HF uses it
		if t, ok := w.tensors[decoderBias]; ok {
			w.tensors[mlmBiasName] = t
			delete(w.tensors, decoderBias)
		}
	}
	return nil
}

// heads tells from the names which heads the files hold.
func (w *weightFiles) heads() Heads {
	var h Heads
	for name := range w.tensors {
		h.MLM = h.MLM || strings.HasPrefix(name, legacyPrefix)
	}
	if t, ok := w.tensors[classifierName]; ok && len(t.shape) == 2 {
		if _, pooled := w.tensors[poolerName]; pooled {
			h.Sequence = t.shape[0]
		} else {
			h.Token = t.shape[0]
		}
	}
	_, h.Question = w.tensors[questionName]
	return h
}

// check demands every tensor of a layout, with its shape, before memory is taken for any. Tensors that the layout does
// not have are listed in w.ignored.
func (w *weightFiles) check(layout []Tensor) error {
	used := map[string]bool{decoderWeight: true, decoderBias: true, "deberta.embeddings.position_ids": true}
	var missing []string
	for _, t := range layout {
		used[t.Name] = true
		from, ok := w.tensors[t.Name]
		if !ok {
			missing = append(missing, t.Name)
			continue
		}
		if !slices.Equal(from.shape, t.Shape) {
			return fmt.Errorf("%s: tensor %q has shape %v, want %v by config.json", from.file.path, from.name, from.shape, t.Shape)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: %d tensors are missing, the first is %q", w.files[0].path, len(missing), missing[0])
	}
	w.ignored = nil
	for _, name := range sortedKeys(w.tensors) {
		if !used[name] {
			w.ignored = append(w.ignored, name)
		}
	}
	return nil
}

// load reads every tensor of p, whose layout has passed check. Duplicates of tied tensors must be equal.
func (w *weightFiles) load(p *Params) error {
	for _, t := range p.tensors {
		from := w.tensors[t.Name]
		if err := from.file.floats(from.fileTensor, t.of(p.weights)); err != nil {
			return err
		}
	}
	for _, pair := range [][2]string{{decoderWeight, wordName}, {decoderBias, mlmBiasName}} {
		if t, ok := w.tensors[pair[0]]; ok && p.heads.MLM {
			if err := w.sameAs(t, p.Weight(pair[1])); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameAs compares a duplicate with the tensor that it is tied to. An untied decoder is another model: it is refused.
func (w *weightFiles) sameAs(t located, want []float32) error {
	if t.elements() != len(want) {
		return fmt.Errorf("%s: tensor %q has shape %v and cannot be the decoder's", t.file.path, t.name, t.shape)
	}
	got := make([]float32, len(want))
	if err := t.file.floats(t.fileTensor, got); err != nil {
		return err
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("%s: tensor %q differs from the tensor it is tied to: untied decoders are not supported", t.file.path, t.name)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// SaveWeights writes the weights to path as safetensors under HF's legacy names, tied tensors once: a header and the
// arena. With newHead the MLM head gets HF's new names (lm_predictions.lm_head), for which config.json must say legacy
// false. The file is flushed to disk; it does not appear atomically (package atomicfile does that for the folder).
func (p *Params) SaveWeights(path string, newHead bool) error {
	tensors := make([]NamedTensor, len(p.tensors))
	for i, t := range p.tensors {
		name := t.Name
		if newHead {
			if rest, ok := strings.CutPrefix(name, legacyPrefix); ok {
				name = newHeadPrefix + strings.TrimPrefix(rest, "transform.")
			}
		}
		tensors[i] = NamedTensor{name, t.Shape, t.of(p.weights)}
	}
	return saveTensors(path, tensors)
}

// SaveOptimizer writes both moments to path as safetensors: exp_avg.NAME, then exp_avg_sq.NAME, in arena order.
// AllocateMoments must have been called.
func (p *Params) SaveOptimizer(path string) error {
	if p.first == nil || p.second == nil {
		return errors.New("optimizer state: there is none to save")
	}
	var tensors []NamedTensor
	for _, m := range p.moments() {
		for _, t := range p.tensors {
			tensors = append(tensors, NamedTensor{m.prefix + t.Name, t.Shape, t.of(m.arena)})
		}
	}
	return saveTensors(path, tensors)
}

// LoadOptimizer reads what SaveOptimizer wrote for parameters of the same layout, bit for bit, and allocates the
// moments when there are none yet. Any missing, additional or misshapen tensor is an error.
func (p *Params) LoadOptimizer(path string) error {
	s, err := openSafetensors(path)
	if err != nil {
		return err
	}
	defer s.Close() // only read
	if want := 2 * len(p.tensors); len(s.tensors) != want {
		return fmt.Errorf("%s: %d tensors, want %d", path, len(s.tensors), want)
	}
	if err := p.AllocateMoments(); err != nil {
		return err
	}
	for _, m := range p.moments() {
		for _, t := range p.tensors {
			i, ok := s.byName[m.prefix+t.Name]
			if !ok {
				return fmt.Errorf("%s: tensor %q is missing", path, m.prefix+t.Name)
			}
			from := s.tensors[i]
			if from.dtype != "F32" || !slices.Equal(from.shape, t.Shape) {
				return fmt.Errorf("%s: tensor %q is %s %v, want F32 %v", path, from.name, from.dtype, from.shape, t.Shape)
			}
			if err := s.floats(from, t.of(m.arena)); err != nil {
				return err
			}
		}
	}
	return nil
}

type moment struct {
	prefix string
	arena  *arena
}

func (p *Params) moments() []moment {
	return []moment{{"exp_avg.", p.first}, {"exp_avg_sq.", p.second}}
}

func saveTensors(path string, tensors []NamedTensor) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); e != nil && err == nil {
			err = e
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err := WriteSafetensors(b, tensors); errors.As(err, new(*fs.PathError)) {
		return err // it names the file
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Sync()
}
