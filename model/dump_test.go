package model

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestDumpForHuggingFace is the tool's side of scripts/parity/check_export.py: it writes ids, last hidden states,
// sentence vectors, logits and fill-mask candidates of the lines in the request that SECENCODER_DUMP names.
func TestDumpForHuggingFace(t *testing.T) {
	path := os.Getenv("SECENCODER_DUMP")
	if path == "" {
		t.Skip("SECENCODER_DUMP names no request: scripts/parity/check_export.py makes one")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var request struct {
		Model, Masked, Out string
		Lines              []string
	}
	if err := json.Unmarshal(text, &request); err != nil {
		t.Fatal(err)
	}
	e, err := Load(request.Model)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	vectors, err := e.Embed(context.Background(), request.Lines)
	if err != nil {
		t.Fatal(err)
	}
	masks, err := e.FillMask(context.Background(), request.Masked, 5)
	if err != nil {
		t.Fatal(err)
	}
	dump := map[string]any{"masks": masks, "family": e.Device().Family(), "parameters": e.folder.Params.Elements()}
	ids := make([][]int32, len(request.Lines))
	var tensors []NamedTensor
	h, v := e.Config().HiddenSize, e.Config().VocabSize
	for i, line := range request.Lines {
		ids[i] = e.frame(nil, e.tok.Append(nil, []byte(line)))
		n := len(ids[i])
		b := Batch{IDs: ids[i], Offsets: []int32{0, int32(n)}, Masked: make([]int32, n), Labels: make([]int32, n)}
		for j := range n {
			b.Masked[j] = int32(j)
		}
		hidden, err := e.plan(ModeHidden, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := hidden.Run(t.Context(), &b, false); err != nil {
			t.Fatal(err)
		}
		last := append([]float32{}, hidden.Hidden(e.Config().NumHiddenLayers)[:n*h]...)
		logits, err := e.plan(ModeLogits, n, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := logits.Run(t.Context(), &b, false); err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors,
			NamedTensor{fmt.Sprintf("hidden.%d", i), []int{n, h}, last},
			NamedTensor{fmt.Sprintf("logits.%d", i), []int{n, v}, append([]float32{}, logits.Logits()[:n*v]...)},
			NamedTensor{fmt.Sprintf("vector.%d", i), []int{h}, vectors[i]})
	}
	dump["ids"] = ids
	if text, err = json.Marshal(dump); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(request.Out, "dump.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := saveTensors(filepath.Join(request.Out, "dump.safetensors"), tensors); err != nil {
		t.Fatal(err)
	}
}
