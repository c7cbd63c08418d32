package train

import (
	"path/filepath"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// A step of several micro-batches packs its weights once, one of a single micro-batch does not; the weights that come out
// have the same bits.
func TestWeightsArePackedOnceAStep(t *testing.T) {
	for _, dtype := range []string{"f32", "bf16"} {
		run := func(name string, change func(*Options), packs func(*session)) string {
			out := filepath.Join(t.TempDir(), name)
			o := half(t, out, 5)
			o.DType = &dtype
			o.hooks.network = func(s *session) (network, error) {
				packs(s)
				return compiled(s)
			}
			if change != nil {
				change(&o)
			}
			mustRun(t, o)
			return filepath.Join(out, checkpointsName)
		}
		var with, without int64
		once := run("once", nil, func(s *session) {
			if with = s.packed; s.kernels.PackedBytes(16, 16, kernel.F32, false) > 0 && with == 0 {
				t.Errorf("%s: nothing is packed", dtype)
			}
		})
		each := run("each", nil, func(s *session) { s.packed = 0 })
		sameFolder(t, once, each, nil)
		run("alone", func(o *Options) { o.Accumulate = new(1) }, func(s *session) { without = s.packed })
		if without != 0 {
			t.Errorf("%s: a step of one micro-batch has %d bytes of packed weights", dtype, without)
		}
	}
}
