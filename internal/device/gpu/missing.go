package gpu

import (
	"fmt"
	"slices"

	"github.com/secencoder/secencoder/internal/kernel"
)

// notBuilt lists the methods of the table that have no kernel.
var notBuilt = []string{
	"Attention", "AttentionGrad", "ConvNorm", "ConvNormGrad", "MLMLoss", "MLMLossGrad",
	"ClassifyLoss", "ClassifyLossGrad", "SpanLoss", "SpanLossGrad",
}

// Has reports whether a method of kernel.Kernels is built. Those that are not leave an error to Sync, and write nothing.
func (t *Table) Has(method string) bool { return !slices.Contains(notBuilt, method) }

// missing puts down that a method was called that has no kernel.
func (t *Table) missing(method string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(fmt.Errorf("%s is %w: run this model on the CPU", method, ErrNotBuilt))
}

func (t *Table) Attention(kernel.Stream, *kernel.AttentionArgs)         { t.missing("Attention") }
func (t *Table) AttentionGrad(kernel.Stream, *kernel.AttentionGradArgs) { t.missing("AttentionGrad") }
func (t *Table) ConvNorm(kernel.Stream, *kernel.ConvNormArgs)           { t.missing("ConvNorm") }
func (t *Table) ConvNormGrad(kernel.Stream, *kernel.ConvNormGradArgs)   { t.missing("ConvNormGrad") }
func (t *Table) MLMLoss(kernel.Stream, *kernel.MLMLossArgs)             { t.missing("MLMLoss") }
func (t *Table) MLMLossGrad(kernel.Stream, *kernel.MLMLossGradArgs)     { t.missing("MLMLossGrad") }
func (t *Table) ClassifyLoss(kernel.Stream, *kernel.ClassifyLossArgs)   { t.missing("ClassifyLoss") }
func (t *Table) ClassifyLossGrad(kernel.Stream, *kernel.ClassifyLossGradArgs) {
	t.missing("ClassifyLossGrad")
}
func (t *Table) SpanLoss(kernel.Stream, *kernel.SpanLossArgs)         { t.missing("SpanLoss") }
func (t *Table) SpanLossGrad(kernel.Stream, *kernel.SpanLossGradArgs) { t.missing("SpanLossGrad") }
