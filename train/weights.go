package train

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

// openModel reads or makes the configuration of the model and its parameters.
func (s *session) openModel() error {
	heads := model.Heads{MLM: true}
	switch {
	case s.saved > 0:
		f, err := model.ReadFolder(s.folder(s.saved), model.ReadOptions{Training: true, Heads: &heads})
		if err != nil {
			return &CheckpointError{s.folder(s.saved), err}
		}
		s.params, s.modelConfig, s.initSlot0 = f.Params, f.Config, f.Provenance.Slot0Trained
		if f.Manifest == nil || f.Manifest.Kind != "checkpoint" {
			return fmt.Errorf("%s: has no manifest of a checkpoint", f.Path)
		}
		return s.sameTokenizer(f)
	case s.given.Init != nil || s.run.begun && s.c.Init != "":
		return s.openInit(heads)
	}
	return s.freshConfig()
}

// openInit takes weights and configuration from a model folder.
func (s *session) openInit(heads model.Heads) (err error) {
	path := s.c.Init
	if s.given.Init != nil {
		path = *s.given.Init
	}
	f, err := model.ReadFolder(path, model.ReadOptions{Training: true, Heads: &heads})
	if err != nil {
		return fmt.Errorf("--init: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.modelConfig, s.initSlot0 = f.Config, f.Provenance.Slot0Trained
	s.modelConfig.SecEncoder = nil // says where the weights come from, which is about to change
	if err := s.sameTokenizer(f); err != nil {
		return err
	}
	if s.given.Size != nil && !s.run.begun {
		asked, _, err := s.sizeConfig(*s.given.Size)
		if err != nil {
			return err
		}
		if !sameModel(asked, f.Config) {
			return usagef("--size %s is another model than that of --init %s; --init brings the size, leave --size out", *s.given.Size, path)
		}
	}
	if f.Manifest != nil {
		if s.parents["init"], err = manifest.Hash(f.Path); err != nil {
			return err
		}
	}
	s.defaultsFor(f.Config, f.Provenance.Size)
	if err := s.applyDropout(); err != nil {
		return err
	}
	if s.params, err = model.NewParams(s.modelConfig, heads); err != nil {
		return err
	}
	copy(s.params.Weights(), f.Params.Weights())
	return nil
}

func (s *session) sameTokenizer(f *model.Folder) error {
	if f.Tokenizer.Fingerprint() != s.data.tokenizer.Fingerprint() {
		return fmt.Errorf("%s: its tokenizer is not the one of %s: fingerprints %.16s and %.16s", f.Path, s.data.dir,
			fingerprint(f.Tokenizer), fingerprint(s.data.tokenizer))
	}
	return nil
}

func fingerprint(t *tokenizer.Tokenizer) string {
	f := t.Fingerprint()
	return hex.EncodeToString(f[:])
}

// freshConfig makes the configuration of a model that is initialised by the seed.
func (s *session) freshConfig() (err error) {
	if s.run.begun {
		s.modelConfig, err = model.ReadConfig(s.path(modelConfigName))
		return err
	}
	size := defaultSize
	if s.given.Size != nil {
		size = *s.given.Size
	}
	c, d, err := s.sizeConfig(size)
	if err != nil {
		return err
	}
	s.modelConfig = c
	if d == nil {
		s.defaultsFor(c, "")
	} else {
		s.c = defaults(*d, c)
	}
	s.c.Size = size
	return s.applyDropout()
}

// sizeConfig returns the configuration that --size asks for, with the vocabulary of the data, and a preset's defaults.
func (s *session) sizeConfig(size string) (*model.Config, *model.TrainingDefaults, error) {
	vocabulary, pad := s.data.tokenizer.VocabSize(), int(s.data.tokenizer.Special().PAD)
	if !isConfigFile(size) {
		c, d, err := model.Preset(size, vocabulary)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("--size: %w", err)}
		}
		c.PadTokenID = pad
		return c, &d, nil
	}
	c, err := model.ReadConfigStrict(size)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("--size: %w", err)}
	}
	c.VocabSize, c.PadTokenID = vocabulary, pad
	if err := c.Validate(); err != nil {
		return nil, nil, usageError{fmt.Errorf("--size %s: %w", size, err)}
	}
	return c, nil, nil
}

// sameModel tells whether two configurations compute the same, dropout, which is a setting of the run, aside.
func sameModel(a, b *model.Config) bool {
	text := func(c *model.Config) string {
		c = c.Clone()
		c.SecEncoder, c.Architectures = nil, nil
		c.HiddenDropoutProb, c.AttentionProbsDropoutProb = 0, 0
		return string(c.JSON())
	}
	return text(a) == text(b)
}

// defaultsFor takes the training defaults of the preset named, or of the smallest one that is at least as wide.
func (s *session) defaultsFor(c *model.Config, size string) {
	if s.run.begun {
		return
	}
	var d model.TrainingDefaults
	for _, name := range model.PresetNames() {
		preset, training, err := model.Preset(name, model.DefaultVocabSize)
		if err != nil {
			continue // the table of presets is held by a test of its package
		}
		d = training
		if name == size || size == "" && preset.HiddenSize >= c.HiddenSize {
			break
		}
	}
	s.c = defaults(d, c)
	s.c.Size = size
}

// applyDropout puts the dropout that was asked for into the configuration, which the checkpoints carry.
func (s *session) applyDropout() error {
	hidden, attention := s.given.Dropout, s.given.AttentionDropout
	if s.run.begun {
		hidden, attention = &s.c.Dropout, &s.c.AttentionDropout
	}
	if hidden != nil {
		s.modelConfig.HiddenDropoutProb = *hidden
	}
	if attention != nil {
		s.modelConfig.AttentionProbsDropoutProb = *attention
	}
	if err := s.modelConfig.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}
