package train

import (
	"context"
	"io"

	"github.com/secencoder/secencoder/data/batch"
)

// network is the model as the loop sees it: something that turns a micro-batch into gradients in the parameters' arena,
// and that scores masked tokens for an evaluation. It is used by one goroutine.
type network interface {
	// run computes the micro-batch's part of the loss, scale·Σ nats, and its gradients. With accumulate they are added to
	// what the arena holds, else they take its place. Once ctx is cancelled it ends soon, with ctx's error.
	run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (loss float64, err error)
	// Score is eval.Scorer's.
	Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error)
	// bytes is what the plans hold, parameters not counted.
	bytes() int64
	print(w io.Writer) error
	close() error
}
