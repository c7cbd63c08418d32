package model

import (
	"github.com/google/go-cmp/cmp"
	"math"
	"strings"
	"testing"
)

// Parameter counts at V = 29,952 with head: the design's table, and the encoder alone as counted with HuggingFace's own
// classes (transformers 5.23.0, meta device).
func TestPresetParameterCounts(t *testing.T) {
	for _, tc := range []struct {
		name              string
		encoder, withHead int
		learningRate      float64
		perStep, context  int
	}{
		{"tiny", 4296448, 4343168, 1e-3, 512, 128},
		{"mini", 10958848, 11055104, 1e-3, 2048, 512},
		{"small", 22346496, 22525056, 7e-4, 8192, 512},
		{"base", 108453888, 109075968, 5e-4, 8192, 512},
		{"large", 333508608, 334590208, 3e-4, 8192, 512},
		{"xlarge", 733837824, 736231680, 2e-4, 8192, 512},
		{"xxlarge", 1073816064, 1076209920, 1e-4, 8192, 512},
	} {
		c, train, err := Preset(tc.name, DefaultVocabSize)
		if err != nil {
			t.Fatal(err)
		}
		count := func(h Heads) int {
			ts, err := Layout(c, h)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, x := range ts {
				if x.Offset != n {
					t.Errorf("%s: %s starts at %d, want %d: a gap", tc.name, x.Name, x.Offset, n)
				}
				n += x.Size()
			}
			return n
		}
		if got := count(Heads{}); got != tc.encoder {
			t.Errorf("%s: encoder has %d parameters, want %d", tc.name, got, tc.encoder)
		}
		if got := count(Heads{MLM: true}); got != tc.withHead {
			t.Errorf("%s: with head %d parameters, want %d", tc.name, got, tc.withHead)
		}
		if train != (TrainingDefaults{tc.learningRate, tc.perStep, tc.context}) {
			t.Errorf("%s: training defaults %+v", tc.name, train)
		}
	}
	if _, _, err := Preset("huge", 100); err == nil || !strings.Contains(err.Error(), "xxlarge") {
		t.Errorf("unknown size: %v", err)
	}
}

func TestSigma(t *testing.T) {
	c, _, err := Preset("base", DefaultVocabSize)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Sigma(), float32(math.Sqrt(192)); got != want {
		t.Errorf("sigma = %v, want %v", got, want)
	}
	c.RelativeAttention = false // HF still counts pos_att_type
	if got, want := c.Sigma(), float32(math.Sqrt(192)); got != want {
		t.Errorf("sigma without relative attention = %v, want %v", got, want)
	}
	c.PosAttType = []string{"p2p"}
	if got, want := c.Sigma(), float32(8); got != want {
		t.Errorf("sigma of p2p alone = %v, want %v", got, want)
	}
}

func TestConfigDefaultsAndConventions(t *testing.T) {
	c, err := ParseConfig([]byte(`{"model_type":"deberta-v2"}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), c); diff != "" {
		t.Errorf("an empty configuration is not HF's default: %s", diff)
	}
	c, err = ParseConfig([]byte(`{"pos_att_type":" C2P | p2c","max_relative_positions":-1,"max_position_embeddings":77,
		"relative_attention":true,"id2label":{"0":"a","1":"b","2":"c"},"pad_token_id":null,"norm_rel_ebd":"none | Layer_Norm",
		"layer_norm_eps":1e-07,"unknown":{"x":[1]},"attention_head_size":64,"bos_token_id":null,"cls_dropout":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if !c.C2P() || !c.P2C() || c.MaxRelative() != 77 || c.AttentionSpan() != 77 || c.NumLabels != 3 || c.PadTokenID != -1 || !c.NormRel() || c.ClassifierDropout() != 0.1 {
		t.Errorf("conventions: %+v", c)
	}
	if !strings.Contains(string(c.JSON()), `"pad_token_id": null`) {
		t.Errorf("no padding token is not written as null: %s", c.JSON())
	}
}

func TestConfigRoundTrip(t *testing.T) {
	for _, name := range PresetNames() {
		c, _, err := Preset(name, 1000)
		if err != nil {
			t.Fatal(err)
		}
		c.EmbeddingSize, c.NumLabels, c.ClsDropout = 48, 4, 0.25
		c.SecEncoder = []byte(`{"slot0_trained":false}`)
		d, err := ParseConfigStrict(c.JSON())
		if err != nil {
			t.Fatal(err)
		}
		if string(c.JSON()) != string(d.JSON()) {
			t.Errorf("%s: %s\nthen %s", name, c.JSON(), d.JSON())
		}
	}
}

func TestConfigRejects(t *testing.T) {
	for _, tc := range []struct{ json, why string }{
		{``, "end of JSON"},
		{"{\n\"vocab_size\": 3,\n]}", "line 3"},
		{`null`, "object"},
		{`[1]`, "array"},
		{`{"model_type":"bert"}`, "deberta-v2"},
		{`{"vocab_size":"many"}`, "vocab_size"},
		{`{"vocab_size":0}`, "vocab_size is 0"},
		{`{"vocab_size":1e18}`, "vocab_size"},
		{`{"hidden_size":9223372036854775807}`, "hidden_size"},
		{`{"hidden_size":100,"num_attention_heads":3}`, "multiple"},
		{`{"attention_head_size":32}`, "attention_head_size is 32, want"},
		{`{"conv_kernel_size":4}`, "odd"},
		{`{"conv_kernel_size":3,"conv_groups":7}`, "conv_groups"},
		{`{"hidden_act":"elu"}`, "elu"},
		{`{"hidden_dropout_prob":1.0}`, "hidden_dropout_prob"},
		{`{"layer_norm_eps":-1}`, "layer_norm_eps"},
		{`{"pos_att_type":["x2y"]}`, "x2y"},
		{`{"pos_att_type":{"a":1}}`, "pos_att_type"},
		{`{"relative_attention":true,"max_relative_positions":48000}`, "span"},
		{`{"relative_attention":true,"position_buckets":1}`, "position_buckets"},
		{`{"relative_attention":true,"position_buckets":256,"max_relative_positions":100}`, "max_relative_positions"},
		{`{"pad_token_id":128100}`, "pad_token_id"},
		{`{"pooler_hidden_size":3}`, "pooler_hidden_size"},
		{`{"num_hidden_layers":1000000}`, "num_hidden_layers"},
	} {
		if _, err := ParseConfig([]byte(tc.json)); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want an error with %q", tc.json, err, tc.why)
		}
	}
	if _, err := ParseConfigStrict([]byte(`{"hiden_size":64}`)); err == nil || !strings.Contains(err.Error(), `"hidden_size"`) {
		t.Errorf("a misspelt key: %v", err)
	}
	if _, err := ParseConfig([]byte(`{"hiden_size":64}`)); err != nil {
		t.Errorf("HF's files may have other keys: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	c, _, err := Preset("tiny", 1000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.JSON())
	f.Add([]byte(`{"pos_att_type":"c2p|p2c","relative_attention":true,"position_buckets":16,"max_position_embeddings":64}`))
	f.Add([]byte(`{"vocab_size":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		d, err := ParseConfig(c.JSON())
		if err != nil {
			t.Fatalf("%s: what was written is not read: %v", c.JSON(), err)
		}
		if string(d.JSON()) != string(c.JSON()) {
			t.Fatalf("%s\nis read as\n%s", c.JSON(), d.JSON())
		}
	})
}
