package train

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func durationOf(n int64) time.Duration { return time.Duration(n) }

// exotic is a configuration whose every field differs from its zero value, texts being hostile to YAML.
func exotic() Config {
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("a: \"b\"\n\t# - \\ 'é' \u0085\u2028 🙂 " + v.Type().Field(i).Name)
		case reflect.Float64:
			f.SetFloat(math.Nextafter(0.1, float64(i)) * math.Pow(10, float64(-i)))
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(i + 1))
		case reflect.Uint64:
			f.SetUint(math.MaxUint64)
		}
	}
	return c
}

func TestConfigReadsBackAsItWas(t *testing.T) {
	want := exotic()
	f, err := parseConfig([]byte(want.yaml()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, want.yaml())
	}
	var got Config
	f.fill(&got)
	if got != want {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if n := strings.Count(want.yaml(), "\n"); n != 1+2*reflect.TypeFor[Config]().NumField() {
		t.Errorf("%d lines", n)
	}
}

func TestConfigAndSettingsHaveTheSameFields(t *testing.T) {
	s, c := reflect.TypeFor[Settings](), reflect.TypeFor[Config]()
	if s.NumField() != c.NumField() {
		t.Fatalf("%d and %d fields", s.NumField(), c.NumField())
	}
	for i := range s.NumField() {
		a, b := s.Field(i), c.Field(i)
		if a.Name != b.Name || a.Type.Elem() != b.Type || a.Tag.Get("yaml") != b.Tag.Get("yaml") || a.Tag.Get("help") == "" {
			t.Errorf("%s %s and %s %s differ, or the help is missing", a.Name, a.Type, b.Name, b.Type)
		}
	}
}

func TestConfigErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"steps: 10\nlerning_rate: 0.1\n":   "line 2: unknown key \"lerning_rate\" (did you mean learning_rate?)",
		"quux: 1\n":                        "line 1: unknown key \"quux\"",
		"steps: ten\n":                     "line 1: \"ten\" is no value of this key, which takes a whole number",
		"seed: 1\nclip: [a\n":              "line ",
		"seed: 1\nclip: high\n":            "line 2: \"high\" is no value of this key, which takes a number",
		"steps: 10\nmask: [content]\n":     "line 2: ",
		"steps: 1\n\nsteps: 2\n":           "line 3: ",
		"steps: 10\n  context: : :\n":      "line ",
		"time: soon\n":                     "soon",
		"- a\n- b\n":                       "line 1: ",
		"steps: 99999999999999999999999\n": "line 1: ",
	} {
		_, err := parseConfig([]byte(text))
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"", "\n", "# nothing\n", "{}"} {
		if f, err := parseConfig([]byte(text)); err != nil || f != (configFile{}) {
			t.Errorf("%q: got %+v, %v", text, f, err)
		}
	}
	if _, err := parseConfig([]byte(strings.Repeat("#", maxConfigBytes+1))); !errors.Is(err, ErrUsage) {
		t.Errorf("a large file: got %v", err)
	}
	f, err := parseConfig([]byte("time: 1h30m\nseed: 18446744073709551615\nlearning_rate: 1e-3\ndelimiters: \"\\\"',\"\nout: x\n"))
	if err != nil || *f.Time != Duration(90*time.Minute) || *f.Seed != math.MaxUint64 || *f.LearningRate != 1e-3 ||
		*f.Delimiters != `"',` || *f.Out != "x" {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestUpperLayersWin(t *testing.T) {
	lower := Settings{Steps: new(10), Mask: new("all"), Keep: new(1), Time: new(Duration(5))}
	got := Settings{Time: new(Duration(7)), Keep: new(2)}.over(lower)
	if got.Steps != nil || *got.Time != 7 || *got.Keep != 2 || *got.Mask != "all" {
		t.Errorf("got %+v", got)
	}
	if got = (Settings{Steps: new(3)}).over(lower); got.Time != nil || *got.Steps != 3 {
		t.Errorf("got %+v", got)
	}
	if got = (Settings{}).over(lower); *got.Time != 5 || *got.Steps != 10 {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseConfig(f *testing.F) {
	c := exotic()
	for _, seed := range []string{c.yaml(), "steps: 10\n", "a: &a [*a]", "{", "\x00", "? :", "!!binary x", "steps: !!int 3", "%YAML 9\n---\nsteps: 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := parseConfig(text)
		if err != nil {
			if !errors.Is(err, ErrUsage) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		var once, twice Config
		parsed.fill(&once)
		if math.IsNaN(once.LearningRate + once.MaskRate + once.MaskShare + once.RandomShare + once.WeightDecay + once.Beta1 +
			once.Beta2 + once.Epsilon + once.Clip + once.Dropout + once.AttentionDropout) {
			return // check refuses it
		}
		if once.check() != nil {
			return
		}
		again, err := parseConfig([]byte(once.yaml()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, once.yaml())
		}
		if again.fill(&twice); once != twice {
			t.Fatalf("%+v is read back as %+v", once, twice)
		}
	})
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"schema":1,"step":3,"steps":9,"updates":2,"bad":1,"best":{"step":2}}`))
	f.Add([]byte(`{"schema":1}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"schema":1,"step":-1}{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseState(text)
		if err != nil {
			return
		}
		if s.Step < 0 || s.Step > s.Steps || s.Updates+s.skipped() != s.Step {
			t.Fatalf("%+v was taken", s)
		}
		var b strings.Builder
		if err := s.write(&b); err != nil {
			t.Fatal(err)
		}
		if again, err := parseState([]byte(b.String())); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v is read back as %+v, %v", s, again, err)
		}
	})
}
