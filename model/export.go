package model

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/manifest"
)

// TransferOptions are what Export and Import have in common.
type TransferOptions struct {
	In, Out string
	Tool    string // program and version, for the manifest
	NewHead bool   // as WriteOptions.NewHead
}

// Export reads a run folder, a checkpoint or a model folder and writes it as a model folder for HF: legacy head names,
// tied tensors once, row 1 of the position table in row 0 when row 0 was never trained. Optimizer state stays behind. It
// returns the folder that was read, closed: its configuration, provenance and ignored tensors are there for the report.
func Export(o TransferOptions) (*Folder, error) { return transfer(o, false) }

// Import reads a folder that HF (or this tool) wrote and writes what Export writes. The tokenizer must be of a kind that
// package tokenizer runs. It returns the folder that was read, as Export does.
func Import(o TransferOptions) (*Folder, error) { return transfer(o, true) }

func transfer(o TransferOptions, foreign bool) (_ *Folder, err error) {
	f, err := ReadFolder(o.In, ReadOptions{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if foreign {
		if err := f.Params.finite(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	p := f.Provenance
	p.Tool = o.Tool
	var parents map[string]string
	if f.Manifest != nil {
		hash, err := manifest.Hash(f.Path)
		if err != nil {
			return nil, err
		}
		parents = map[string]string{"model": hash}
	} else if foreign {
		p.ImportedFrom = "a HuggingFace folder without manifest"
	}
	if err := WriteFolder(o.Out, WriteOptions{
		Params: f.Params, Tokenizer: f.Tokenizer, Provenance: p, Parents: parents, NewHead: o.NewHead,
	}); err != nil {
		return nil, fmt.Errorf("write %s: %w", o.Out, err)
	}
	return f, nil
}

// finite returns an error that names the first weight that is no finite number.
func (p *Params) finite() error {
	for _, t := range p.tensors {
		for i, w := range t.of(p.weights) {
			if w-w != 0 {
				return fmt.Errorf("tensor %q holds %v at element %d: the weights are damaged, or the training that made them failed", t.Name, w, i)
			}
		}
	}
	return nil
}
