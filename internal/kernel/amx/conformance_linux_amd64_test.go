//go:build !noasm

package amx

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/device/devicetest"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

func family(p kernel.Pool) kernel.Kernels { return blocked.New(Prims(), p) }

// products are the methods of the suite that multiply matrices.
var products = []string{"Linear", "LinearGrad", "LinearGradAdd", "Attention", "AttentionGrad", "ConvNorm", "ConvNormGrad", "MLMLoss", "MLMLossGrad", "NotANumber"}

// The suite of all families in the arithmetic of BF16: all problems where the processor has tiles or where
// SECENCODER_REQUIRE_KERNELS names amx (2.6 million emulated instructions, a minute), else every fifth.
func TestConformance(t *testing.T) {
	var flags []string
	if !slices.Contains(strings.Split(os.Getenv("SECENCODER_REQUIRE_KERNELS"), ","), "amx") {
		flags = append(flags, "-test.short")
	}
	if tiles(t, flags...) {
		devicetest.RunHalf(t, family, products...)
	}
}

// Products of float32 are package avx512's: the same bits, without a tile.
func TestSingleIsAVX512(t *testing.T) {
	vectors(t)
	const rows, in, out = 37, 70, 45
	random := rand.New(rand.NewPCG(20, 20))
	buf := func(n int) kernel.Buf {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		return kernel.FromF32(x)
	}
	x, w, b := buf(rows*in), buf(out*in), buf(out)
	header := make([]int32, kernel.HeaderWords(rows))
	(&kernel.Pack{Offsets: []int32{0, rows}}).Fill(header, rows)
	y := func(p blocked.Prims) []float32 {
		y := make([]float32, rows*out)
		blocked.New(p, serial{}).Linear(0, &kernel.LinearArgs{
			Header: kernel.FromI32(header), X: x, W: w, B: b, Y: kernel.FromF32(y), Rows: kernel.RowsTokens, N: rows, In: in, Out: out,
		})
		return y
	}
	if !equalBits(y(Prims()), y(avx512.Prims())) {
		t.Error("a float32 product has other bits than avx512's")
	}
}

// serial is a pool of one worker.
type serial struct{}

func (serial) Workers() int { return 1 }

func (serial) Run(n int, task kernel.Task) {
	for i := range n {
		task.Part(i, 0)
	}
}
