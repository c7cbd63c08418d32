package main

import (
	"fmt"
	"strings"

	"github.com/secencoder/secencoder/model"
)

// toolName is what manifests say wrote a folder.
func toolName() string { return "secencoder " + buildVersion() }

type exportCmd struct {
	Model  string `required:"" placeholder:"DIR" help:"A run, a checkpoint or a model folder."`
	Format string `required:"" enum:"hf" placeholder:"hf" help:"hf: a folder that HuggingFace transformers loads."`
	Out    string `required:"" placeholder:"DIR" help:"Folder to write; must not hold anything."`
	Head   string `enum:"legacy,new" default:"legacy" placeholder:"NAMES" help:"Names of the masked-LM head: legacy, which every version of transformers loads, or new."`
}

func (*exportCmd) Help() string {
	return examples(
		"secencoder export --model out/run --format hf --out out/hf",
		"secencoder export --model out/run/checkpoints/step-500 --format hf --out out/step-500")
}

func (cmd *exportCmd) Run(c *call) error {
	f, err := model.Export(model.TransferOptions{In: cmd.Model, Out: cmd.Out, Tool: toolName(), NewHead: cmd.Head == "new"})
	if err != nil {
		return outHint(err)
	}
	return c.transferred(f, cmd.Out)
}

type importCmd struct {
	In  string `required:"" placeholder:"DIR" help:"A HuggingFace folder with config.json, model.safetensors and tokenizer.json."`
	Out string `required:"" placeholder:"DIR" help:"Folder to write; must not hold anything."`
}

func (*importCmd) Help() string {
	return examples(
		"secencoder import --in deberta-v3 --out imported",
		"secencoder pretrain --data out/data --init imported --size imported/config.json --out continued")
}

func (cmd *importCmd) Run(c *call) error {
	f, err := model.Import(model.TransferOptions{In: cmd.In, Out: cmd.Out, Tool: toolName()})
	if err != nil {
		return outHint(err)
	}
	return c.transferred(f, cmd.Out)
}

func (c *call) transferred(f *model.Folder, out string) error {
	if len(f.Ignored) > 0 {
		c.remark("left out, the model does not read them: %s", strings.Join(f.Ignored, ", "))
	}
	cfg := f.Config
	_, err := fmt.Fprintf(c.out, "%s: %d layers × %d, vocabulary %d, from %s\n", out, cfg.NumHiddenLayers, cfg.HiddenSize, cfg.VocabSize, f.Path)
	return err
}
