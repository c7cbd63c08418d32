package model

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/secencoder/secencoder/tokenizer"
)

// tokenizerFiles returns tokenizer_config.json and special_tokens_map.json for HF's AutoTokenizer. The class must be
// PreTrainedTokenizerFast: DebertaV2Tokenizer would build a Unigram model of the vocabulary (transformers 5.23.0), and
// without the names of the special tokens fill-mask has no mask. model_input_names leaves out token types, which the
// presets do not have.
func tokenizerFiles(c *Config, t *tokenizer.Tokenizer) map[string][]byte {
	names, decoder := map[string]any{}, map[string]any{}
	s := t.Special()
	for _, x := range []struct {
		key string
		id  uint32
	}{{"pad_token", s.PAD}, {"cls_token", s.CLS}, {"sep_token", s.SEP}, {"unk_token", s.UNK}, {"mask_token", s.MASK}} {
		if x.id == tokenizer.NoToken {
			continue
		}
		content := t.Token(x.id)
		names[x.key] = content
		decoder[fmt.Sprint(x.id)] = map[string]any{
			"content": content, "lstrip": x.id == s.MASK, "rstrip": false, "normalized": false, "single_word": false, "special": true,
		}
	}
	config := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.MaxPositionEmbeddings,
		"clean_up_tokenization_spaces": false, "model_input_names": []string{"input_ids", "attention_mask"},
		"added_tokens_decoder": decoder,
	}
	if c.TypeVocabSize > 0 {
		config["model_input_names"] = []string{"input_ids", "token_type_ids", "attention_mask"}
	}
	for k, v := range names {
		config[k] = v
	}
	return map[string][]byte{"tokenizer_config.json": marshal(config), "special_tokens_map.json": marshal(names)}
}

// modulesJSON is sentence-transformers' list of modules: the encoder, then pooling.
func modulesJSON() []byte {
	type module struct {
		Index int    `json:"idx"`
		Name  string `json:"name"`
		Path  string `json:"path"`
		Type  string `json:"type"`
	}
	return marshal([]module{
		{0, "0", "", "sentence_transformers.models.Transformer"},
		{1, "1", "1_Pooling", "sentence_transformers.models.Pooling"},
	})
}

// poolingJSON asks for the mean over all tokens, [CLS] and [SEP] included, which is what Encoder.Embed computes.
func poolingJSON(c *Config) []byte {
	return marshal(map[string]any{
		"word_embedding_dimension": c.HiddenSize, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true,
		"pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
		"pooling_mode_weightedmean_tokens": false, "pooling_mode_lasttoken": false, "include_prompt": true,
	})
}

// modelCard writes README.md from what is known of the model: nothing stands there that no manifest holds.
func modelCard(c *Config, o WriteOptions) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p := o.Provenance
	task := "feature-extraction"
	if o.Params.Heads().MLM {
		task = "fill-mask"
	}
	line("---\nlibrary_name: transformers\npipeline_tag: %s\ntags:\n- deberta-v2\n- security-logs\n- sentence-transformers\n---\n", task)
	line("# An encoder of security logs\n")
	line("A DeBERTa-v2 encoder. `AutoModel.from_pretrained` and `sentence-transformers` load this folder.\n")
	line("| | |\n|---|---|")
	row := func(name string, value any) { line("| %s | %v |", name, value) }
	size := fmt.Sprintf("%d layers × %d hidden, %d heads, %d intermediate", c.NumHiddenLayers, c.HiddenSize, c.NumAttentionHeads, c.IntermediateSize)
	if p.Size != "" {
		size = p.Size + ": " + size
	}
	row("size", size)
	row("parameters", fmt.Sprint(o.Params.Elements()))
	row("vocabulary", fmt.Sprintf("%d tokens, byte-level BPE", o.Tokenizer.VocabSize()))
	row("tokenizer", "`"+p.Tokenizer+"`")
	if p.Steps > 0 {
		row("training", fmt.Sprintf("%d steps, %d tokens, context %d, seed %d", p.Steps, p.Tokens, p.Context, p.Seed))
	}
	if p.Mask != "" {
		row("objective", fmt.Sprintf("masked tokens, rate %v, drawn from: %s", p.MaskRate, p.Mask))
	}
	if p.Data != "" {
		row("data, manifest", "`"+p.Data+"`")
	}
	if p.ImportedFrom != "" {
		row("imported from", p.ImportedFrom)
	}
	row("written by", p.Tool)
	line("")
	if p.Delimiters != "" { // not in the table, where a bar would end the cell
		line("Tokens of these bytes, white space and control characters alone are delimiters, and never masked:\n\n    %s\n", p.Delimiters)
	}
	if !p.Slot0Trained && c.RelativeAttention {
		line("No piece of the training was longer than %d tokens, so the outermost row of the position table was never "+
			"trained. In an exported folder it holds a copy of its neighbour: inputs up to %d tokens are not affected, "+
			"and longer ones see a distance of %d or more as the nearest trained one.\n", c.MaxRelative(), c.MaxRelative(), c.MaxRelative())
	}
	if len(p.Evaluation) > 0 {
		var e bytes.Buffer
		if err := json.Indent(&e, p.Evaluation, "", "  "); err == nil {
			line("Evaluation at the end of the training:\n\n```json\n%s\n```\n", e.String())
		}
	}
	line("The sentence vector is the mean of the last hidden states over all tokens, [CLS] and [SEP] included. The " +
		"enhanced mask decoder of the DeBERTa paper is not part of it: masked tokens are predicted from the last layer.")
	return b.Bytes()
}
