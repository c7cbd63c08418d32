package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// maxConfigBytes bounds config.json: HF's largest ones list a thousand labels in some 50 kB.
const maxConfigBytes = 4 << 20

// field is one key of config.json and where its value goes.
type field struct {
	key string
	to  any // *int, *float64, *bool or *string
}

// fields lists the keys that are read and written as plain values, in the order of DebertaV2Config.
func (c *Config) fields() []field {
	return []field{
		{"vocab_size", &c.VocabSize}, {"hidden_size", &c.HiddenSize}, {"num_hidden_layers", &c.NumHiddenLayers},
		{"num_attention_heads", &c.NumAttentionHeads}, {"intermediate_size", &c.IntermediateSize},
		{"hidden_act", &c.HiddenAct}, {"hidden_dropout_prob", &c.HiddenDropoutProb},
		{"attention_probs_dropout_prob", &c.AttentionProbsDropoutProb},
		{"max_position_embeddings", &c.MaxPositionEmbeddings}, {"type_vocab_size", &c.TypeVocabSize},
		{"initializer_range", &c.InitializerRange}, {"layer_norm_eps", &c.LayerNormEps},
		{"relative_attention", &c.RelativeAttention}, {"max_relative_positions", &c.MaxRelativePositions},
		{"pad_token_id", &c.PadTokenID}, {"position_biased_input", &c.PositionBiasedInput},
		{"pooler_dropout", &c.PoolerDropout}, {"pooler_hidden_act", &c.PoolerHiddenAct},
		{"pooler_hidden_size", &c.PoolerHiddenSize}, {"legacy", &c.Legacy},
		{"tie_word_embeddings", &c.TieWordEmbeddings}, {"embedding_size", &c.EmbeddingSize},
		{"attention_head_size", &c.AttentionHeadSize}, {"position_buckets", &c.PositionBuckets},
		{"share_att_key", &c.ShareAttKey}, {"norm_rel_ebd", &c.NormRelEbd}, {"conv_kernel_size", &c.ConvKernelSize},
		{"conv_groups", &c.ConvGroups}, {"conv_act", &c.ConvAct}, {"cls_dropout", &c.ClsDropout},
		{"problem_type", &c.ProblemType}, {"num_labels", &c.NumLabels},
	}
}

// otherKeys are keys of HF configurations that do not change the arithmetic here. ParseConfig passes over every key it
// does not know; the strict form only over these.
var otherKeys = []string{
	"architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "dtype", "eos_token_id", "id2label",
	"is_encoder_decoder", "label2id", "model_type", "name_or_path", "_name_or_path", "output_attentions",
	"output_hidden_states", "pos_att_type", "return_dict", "secencoder", "summary_activation", "summary_last_dropout",
	"summary_type", "summary_use_proj", "torch_dtype", "transformers_version", "use_cache",
}

// ReadConfig reads config.json as ParseConfig does; errors name the file.
func ReadConfig(path string) (*Config, error) { return readConfig(path, ParseConfig) }

// ReadConfigStrict reads a configuration that a person wrote, as ParseConfigStrict does; errors name the file.
func ReadConfigStrict(path string) (*Config, error) { return readConfig(path, ParseConfigStrict) }

func readConfig(path string, parse func([]byte) (*Config, error)) (*Config, error) {
	data, err := readBounded(path, maxConfigBytes)
	if err != nil {
		return nil, err
	}
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// readBounded reads a small file whole; one above limit bytes is an error, so that no file can fill the memory.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// ParseConfig reads a config.json of HF or of this tool: absent keys take HF's defaults, null is absent, pos_att_type is
// a list or a string with "|", num_labels is the length of id2label, keys it does not know are passed over. The result
// has passed Validate. Errors name the key and the value, and the line where the JSON itself is broken.
func ParseConfig(data []byte) (*Config, error) { return parseConfig(data, false) }

// ParseConfigStrict is ParseConfig for a file that a person wrote: a key that is neither a field of this model nor one
// of HF's general keys is an error that names the nearest known one.
func ParseConfigStrict(data []byte) (*Config, error) { return parseConfig(data, true) }

func parseConfig(data []byte, strict bool) (*Config, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		var at *json.SyntaxError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(data[:min(int(at.Offset), len(data))], []byte("\n")), err)
		}
		return nil, err
	}
	if raw == nil {
		return nil, errors.New("want a JSON object, got null")
	}
	c := DefaultConfig()
	known := map[string]bool{}
	for _, key := range otherKeys {
		known[key] = true
	}
	for _, f := range c.fields() {
		known[f.key] = true
		v, ok := raw[f.key]
		if !ok {
			continue
		}
		if string(v) == "null" {
			if f.key == "pad_token_id" {
				c.PadTokenID = -1
			}
			continue
		}
		if err := json.Unmarshal(v, f.to); err != nil {
			return nil, fmt.Errorf("config: %s is %s: %w", f.key, shorten(v), err)
		}
	}
	if strict {
		for key := range raw {
			if !known[key] {
				return nil, fmt.Errorf("config: unknown key %q, the nearest known one is %q", key, nearest(key, known))
			}
		}
	}
	if err := c.parseOther(raw); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// parseOther reads the keys whose form is not one plain value.
func (c *Config) parseOther(raw map[string]json.RawMessage) error {
	get := func(key string, to any) error {
		v, ok := raw[key]
		if !ok || string(v) == "null" {
			return nil
		}
		if err := json.Unmarshal(v, to); err != nil {
			return fmt.Errorf("config: %s is %s: %w", key, shorten(v), err)
		}
		return nil
	}
	var kind string
	if err := get("model_type", &kind); err != nil {
		return err
	}
	if kind != "" && kind != "deberta-v2" {
		return fmt.Errorf("config: model_type is %q, want \"deberta-v2\"", kind)
	}
	if err := get("architectures", &c.Architectures); err != nil {
		return err
	}
	var labels map[string]json.RawMessage
	if err := get("id2label", &labels); err != nil {
		return err
	}
	if labels != nil {
		c.NumLabels = len(labels)
	}
	if v, ok := raw["secencoder"]; ok && string(v) != "null" {
		c.SecEncoder = v
	}
	var types []string
	if v := raw["pos_att_type"]; len(v) > 0 && v[0] == '"' {
		var joined string
		if err := get("pos_att_type", &joined); err != nil {
			return err
		}
		types = strings.Split(joined, "|")
	} else if err := get("pos_att_type", &types); err != nil {
		return err
	}
	for _, t := range types {
		if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
			c.PosAttType = append(c.PosAttType, t)
		}
	}
	return nil
}

func shorten(v []byte) string {
	if len(v) > 40 {
		return string(v[:40]) + "…"
	}
	return string(v)
}

// JSON returns config.json as this tool writes it: keys sorted, two spaces, every field of the arithmetic spelled out,
// what is absent in HF's class only where it is used, dtype under both of its names. Equal configurations give equal
// bytes, and ParseConfig gives the configuration back.
func (c *Config) JSON() []byte {
	out := map[string]any{
		"architectures": c.Architectures, "model_type": "deberta-v2", "dtype": "float32", "torch_dtype": "float32",
		"pos_att_type": c.PosAttType, "bos_token_id": nil, "eos_token_id": nil,
	}
	if len(c.Architectures) == 0 {
		out["architectures"] = []string{"DebertaV2ForMaskedLM"}
	}
	if c.PosAttType == nil {
		out["pos_att_type"] = []string{}
	}
	for _, f := range c.fields() {
		switch to := f.to.(type) {
		case *int:
			out[f.key] = *to
		case *float64:
			out[f.key] = json.RawMessage(formatFloat(*to))
		case *bool:
			out[f.key] = *to
		case *string:
			out[f.key] = *to
		}
	}
	drop := func(unused bool, keys ...string) {
		if unused {
			for _, k := range keys {
				delete(out, k)
			}
		}
	}
	drop(c.Embedding() == c.HiddenSize, "embedding_size")
	drop(c.AttentionHeadSize == 0, "attention_head_size")
	drop(c.ConvKernelSize == 0, "conv_kernel_size", "conv_groups", "conv_act")
	drop(c.ClsDropout < 0, "cls_dropout")
	drop(c.ProblemType == "", "problem_type")
	delete(out, "num_labels")
	if c.NumLabels != 2 {
		to, from := map[string]string{}, map[string]int{}
		for i := range c.NumLabels {
			label := fmt.Sprintf("LABEL_%d", i)
			to[fmt.Sprint(i)], from[label] = label, i
		}
		out["id2label"], out["label2id"] = to, from
	}
	if c.PadTokenID < 0 {
		out["pad_token_id"] = nil
	}
	out["pooler_hidden_size"] = c.HiddenSize
	if c.SecEncoder != nil {
		out["secencoder"] = c.SecEncoder
	}
	return marshal(out)
}

// formatFloat writes a float so that it reads as one: HF's class checks types, and 1 is an int there.
func formatFloat(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// marshal writes v as HF writes its files: two spaces, no HTML escapes, a line feed at the end.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic("internal error: " + err.Error())
	}
	return b.Bytes()
}

// nearest returns the known key with the smallest edit distance to key.
func nearest(key string, known map[string]bool) string {
	best, least := "", 1<<30
	for k := range known {
		if d := editDistance(key, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes; a is cut at 100 so that a hostile key costs nothing.
func editDistance(a, b string) int {
	a = a[:min(len(a), 100)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := left
			if a[i] != b[j] {
				d++
			}
			left = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
