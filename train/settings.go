package train

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secencoder/secencoder/internal/units"
)

// Settings are what a run can be told, each under its flag name with underscores in YAML. nil means not given.
// The help texts are those of the flags; Config holds the same fields resolved.
type Settings struct {
	Data            *string   `yaml:"data" placeholder:"DIR" help:"Data folder, as data build writes it."`
	Size            *string   `yaml:"size" placeholder:"SIZE" help:"Preset (tiny, mini, small, base, large, xlarge, xxlarge) or a config.json (default tiny)."`
	Init            *string   `yaml:"init" placeholder:"MODEL" help:"Start from the weights of this model folder (same tokenizer)."`
	Context         *int      `yaml:"context" placeholder:"N" help:"Longest piece of a record in tokens, [CLS] and [SEP] included."`
	TokensPerStep   *int      `yaml:"tokens_per_step" placeholder:"N" help:"Framed tokens of one optimizer step."`
	Accumulate      *int      `yaml:"accumulate" placeholder:"N" help:"Micro-batches a step is cut into (default 1)."`
	Steps           *int      `yaml:"steps" placeholder:"N" help:"Optimizer steps (default 10,000)."`
	Time            *Duration `yaml:"time" placeholder:"2h" help:"Train for about this long: a probe of ten steps fixes the number of steps."`
	Memory          *string   `yaml:"memory" placeholder:"M" help:"auto, none, cheap, layer (what is recomputed), or a limit for the process such as 8GiB (default auto)."`
	LearningRate    *float64  `yaml:"learning_rate" placeholder:"F" help:"Peak learning rate."`
	Warmup          *int      `yaml:"warmup" placeholder:"N" help:"Warm-up steps (default 6 % of the steps)."`
	Schedule        *string   `yaml:"schedule" placeholder:"NAME" help:"linear, cosine or wsd (default linear)."`
	Mask            *string   `yaml:"mask" placeholder:"SET" help:"What is masked: content (no delimiters) or all (default content)."`
	DType           *string   `yaml:"dtype" name:"dtype" placeholder:"D" help:"Type of activations, f32 (default) or bf16."`
	Device          *string   `yaml:"device" placeholder:"D" help:"cpu (default)."`
	EvalEvery       *int      `yaml:"eval_every" placeholder:"N" help:"Steps between evaluations, 0 for none (default: 500, or more so that they take under 10 % of the time)."`
	CheckpointEvery *int      `yaml:"checkpoint_every" placeholder:"N" help:"Steps between checkpoints (default 500)."`
	Keep            *int      `yaml:"keep" placeholder:"N" help:"Checkpoints kept beside last and best (default 2)."`

	MaskRate         *float64 `yaml:"mask_rate" placeholder:"F" help:"Share of the tokens that may be masked which is masked (default 0.15)."`
	MaskShare        *float64 `yaml:"mask_share" placeholder:"F" help:"Share of masked tokens that become [MASK] (default 0.8)."`
	RandomShare      *float64 `yaml:"random_share" placeholder:"F" help:"Share of masked tokens that become a random token (default 0.1)."`
	RateBase         *string  `yaml:"rate_base" placeholder:"BASE" help:"The rate is a share of the mask set, or of the whole piece: set or piece (default set)."`
	RandomFrom       *string  `yaml:"random_from" placeholder:"FROM" help:"Random tokens come from the mask set or from the vocabulary: set or vocabulary (default set)."`
	Draw             *string  `yaml:"draw" placeholder:"DRAW" help:"exact count a piece, or bernoulli (default exact)."`
	MaxNgram         *int     `yaml:"max_ngram" placeholder:"N" help:"Longest run of neighbours masked together (default 1)."`
	Delimiters       *string  `yaml:"delimiters" placeholder:"CHARS" help:"Characters that make a token a delimiter, beside white space and control characters."`
	WeightDecay      *float64 `yaml:"weight_decay" placeholder:"F" help:"Decoupled weight decay, none on biases and LayerNorm (default 0.01)."`
	Beta1            *float64 `yaml:"beta1" name:"beta1" placeholder:"F" help:"AdamW beta 1 (default 0.9)."`
	Beta2            *float64 `yaml:"beta2" name:"beta2" placeholder:"F" help:"AdamW beta 2 (default 0.98)."`
	Epsilon          *float64 `yaml:"epsilon" placeholder:"F" help:"AdamW epsilon (default 1e-6)."`
	Clip             *float64 `yaml:"clip" placeholder:"F" help:"Largest global gradient norm, 0 for no clipping (default 1)."`
	DecaySteps       *int     `yaml:"decay_steps" placeholder:"N" help:"Steps of the final decay of the wsd schedule (default 20 % of the steps)."`
	Dropout          *float64 `yaml:"dropout" placeholder:"F" help:"Dropout of hidden values (default: the configuration's, 0.1 in presets)."`
	AttentionDropout *float64 `yaml:"attention_dropout" placeholder:"F" help:"Dropout of attention probabilities (default: the configuration's, 0 in presets)."`
	EvalPieces       *int     `yaml:"eval_pieces" placeholder:"N" help:"Most pieces of each set in an evaluation during training (default 2,000)."`
	EvalTokens       *int     `yaml:"eval_tokens" placeholder:"N" help:"Most tokens of each set in an evaluation during training (default 100,000)."`

	Threads *int    `yaml:"threads" kong:"-" help:"Worker threads; results do not depend on it (default: one a physical core)."`
	Seed    *uint64 `yaml:"seed" kong:"-" help:"Seed of every random choice (default 0)."`
}

// Config is a resolved Settings: what RUN/config.yaml holds.
type Config struct {
	Data            string   `yaml:"data"`
	Size            string   `yaml:"size"`
	Init            string   `yaml:"init"`
	Context         int      `yaml:"context"`
	TokensPerStep   int      `yaml:"tokens_per_step"`
	Accumulate      int      `yaml:"accumulate"`
	Steps           int      `yaml:"steps"`
	Time            Duration `yaml:"time"` // 0: steps were given
	Memory          string   `yaml:"memory"`
	LearningRate    float64  `yaml:"learning_rate"`
	Warmup          int      `yaml:"warmup"`
	Schedule        string   `yaml:"schedule"`
	Mask            string   `yaml:"mask"`
	DType           string   `yaml:"dtype"`
	Device          string   `yaml:"device"`
	EvalEvery       int      `yaml:"eval_every"`
	CheckpointEvery int      `yaml:"checkpoint_every"`
	Keep            int      `yaml:"keep"`

	MaskRate         float64 `yaml:"mask_rate"`
	MaskShare        float64 `yaml:"mask_share"`
	RandomShare      float64 `yaml:"random_share"`
	RateBase         string  `yaml:"rate_base"`
	RandomFrom       string  `yaml:"random_from"`
	Draw             string  `yaml:"draw"`
	MaxNgram         int     `yaml:"max_ngram"`
	Delimiters       string  `yaml:"delimiters"`
	WeightDecay      float64 `yaml:"weight_decay"`
	Beta1            float64 `yaml:"beta1"`
	Beta2            float64 `yaml:"beta2"`
	Epsilon          float64 `yaml:"epsilon"`
	Clip             float64 `yaml:"clip"`
	DecaySteps       int     `yaml:"decay_steps"`
	Dropout          float64 `yaml:"dropout"`
	AttentionDropout float64 `yaml:"attention_dropout"`
	EvalPieces       int     `yaml:"eval_pieces"`
	EvalTokens       int     `yaml:"eval_tokens"`

	Threads int    `yaml:"threads"` // 0: all cores
	Seed    uint64 `yaml:"seed"`
}

// Duration is a time.Duration whose text has units, such as 2h, 90s, 1h30m.
type Duration time.Duration

// UnmarshalText reads a duration with units.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := units.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// String returns the duration as Go prints it, such as 2h0m0s, which UnmarshalText reads.
func (d Duration) String() string { return time.Duration(d).String() }

// over returns upper's settings, and lower's where upper does not say. Steps and time decide the same thing: the upper
// layer's one takes the place of the lower layer's other.
func (upper Settings) over(lower Settings) Settings {
	if upper.Steps != nil || upper.Time != nil {
		lower.Steps, lower.Time = nil, nil
	}
	merged := lower
	to, from := reflect.ValueOf(&merged).Elem(), reflect.ValueOf(upper)
	for i := range to.NumField() {
		if !from.Field(i).IsNil() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return merged
}

// fill writes the settings that were given into c.
func (s Settings) fill(c *Config) {
	from, to := reflect.ValueOf(s), reflect.ValueOf(c).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsNil() {
			to.FieldByName(from.Type().Field(i).Name).Set(from.Field(i).Elem())
		}
	}
}

// settings returns c as settings that are all given; an empty text and no time mean not given.
func (c *Config) settings() Settings {
	var s Settings
	from, to := reflect.ValueOf(c).Elem(), reflect.ValueOf(&s).Elem()
	for i := range from.NumField() {
		value := from.Field(i)
		name := from.Type().Field(i).Name
		if value.IsZero() && (name == "Init" || name == "Size" || name == "Time" || name == "Threads") {
			continue
		}
		p := reflect.New(value.Type())
		p.Elem().Set(value)
		to.FieldByName(name).Set(p)
	}
	return s
}

// yaml returns the configuration as a flat YAML file, a comment for each key. It reads back as the same values.
func (c *Config) yaml() string {
	var b strings.Builder
	b.WriteString("# Resolved settings of this run. pretrain --config with this file repeats it.\n")
	v := reflect.ValueOf(c).Elem()
	help := reflect.TypeFor[Settings]()
	given := reflect.ValueOf(c.settings())
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if given.FieldByName(field.Name).IsNil() {
			continue
		}
		var text string
		switch value := v.Field(i).Interface().(type) {
		case string:
			text = quoteYAML(value)
		case float64:
			text = formatFloat(value)
		default:
			text = fmt.Sprint(value)
		}
		about, _ := help.FieldByName(field.Name)
		fmt.Fprintf(&b, "# %s\n%s: %s\n", about.Tag.Get("help"), field.Tag.Get("yaml"), text)
	}
	return b.String()
}

// quoteYAML writes a double-quoted YAML scalar of printable ASCII (YAML 1.2, 5.7).
func quoteYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r <= '~' || r > 0xA0 && r < 0xFFF0 && strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// formatFloat writes the shortest decimal that reads back as v and that YAML takes for a number, not a text.
func formatFloat(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if len(s) > 12 {
		s = strconv.FormatFloat(v, 'e', -1, 64)
		if m, e, ok := strings.Cut(s, "e"); ok && !strings.Contains(m, ".") {
			s = m + ".0e" + e // without a point some readers take it for a text
		}
	}
	return s
}

// values returns what results depend on, by key, for manifests: runs that must give equal bits have equal values.
func (c *Config) values() map[string]any {
	values := map[string]any{}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		if slices.Contains(mayDiffer, key) {
			continue
		}
		switch value := v.Field(i).Interface().(type) {
		case Duration:
			values[key] = value.String()
		default:
			values[key] = value
		}
	}
	return values
}
