package devicetest

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// The reference against itself: what is left to fail are guards, unused rows, stale scratch, allocations and the suite.
func TestReference(t *testing.T) {
	Run(t, func(kernel.Pool) kernel.Kernels { return ref.New() })
}

func TestReferenceHalf(t *testing.T) {
	RunHalf(t, func(kernel.Pool) kernel.Kernels { return ref.New() })
}

// broken is the reference with one mistake, as families make them.
type broken struct {
	kernel.Kernels
	workers int
	mistake string

	// The argument structs that are passed on; kept here because the suite counts allocations.
	linear     kernel.LinearArgs
	linearGrad kernel.LinearGradArgs
	embed      kernel.EmbedArgs
	embedGrad  kernel.EmbedGradArgs
}

// mistakes names each mistake, the group of the suite that has to find it, and what it then says.
var mistakes = []struct{ name, group, says string }{
	{"one past the end", "Add", "wrote after the last operand"},
	{"input as scratch", "LayerNorm", "changed its input x"},
	{"unused rows", "Pool", "the reference has"},
	{"last column", "Linear", "is NaN"},
	{"approximate gelu", "Linear", "off by"},
	{"rows in bfloat16", "Linear", "off by"},
	{"beta ignored", "LinearGrad", "off by"},
	{"sum by worker", "LinearGrad", "workers"},
	{"order of additions", "Embed", "off by"},
	{"pad row", "EmbedGrad", "off by"},
	{"unbiased variance", "AddNorm", "off by"},
	{"no scale after dropout", "DropoutMasks", "the reference has"},
	{"place in the pack", "DropoutMasks", "the reference has"},
	{"slot off by one", "Attention", "off by"},
	{"slots beyond the map", "AttentionGrad", "off by"},
	{"position gradient left", "AttentionGrad", "NaN"},
	{"piece border", "ConvNorm", "off by"},
	{"mask of the convolution", "ConvNormGrad", "off by"},
	{"last of ties", "MLMLoss", "hit["},
	{"float32 squares", "SumSquares", "Σ g²"},
	{"allocation", "AdamW", ""},
	{"allocation", "Gather", "allocations"},
	{"NaN lost", "NotANumber", "the reference has"},
	{"ties upwards", "Convert", "the reference has"},
	{"NaN without its sign", "Convert", "other bits"},
	{halfMistake + "truncated", "LayerNorm", "off by"},
	{halfMistake + "truncated", "Add", "off by"},
	{halfMistake + "weights not rounded", "Linear", "off by"},
	{halfMistake + "pre-activation rounded", "Linear", "off by"},
	{halfMistake + "addend after rounding", "LinearGradAdd", "off by"},
	{halfMistake + "addend forgotten", "LinearGradAdd", "off by"},
	{halfMistake + "unused rows", "GatherGrad", "changed"},
}

// halfMistake begins the names of mistakes that RunHalf has to find.
const halfMistake = "half: "

// TestSuiteFindsMistakes runs this test program on broken families and wants it to fail.
func TestSuiteFindsMistakes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each mistake")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mistakes {
		cmd := exec.Command(self, "-test.run=^TestBroken$/^"+m.group+"$")
		cmd.Env = append(os.Environ(), "DEVICETEST_MISTAKE="+m.name)
		out, err := cmd.CombinedOutput()
		switch text := string(out); {
		case m.says == "": // a group that must not mind
			if err != nil {
				t.Errorf("%s: %s fails:\n%s", m.name, m.group, text)
			}
		case err == nil:
			t.Errorf("%s: %s finds nothing", m.name, m.group)
		case !strings.Contains(text, m.says) || strings.Contains(text, "panic"):
			t.Errorf("%s: want a message with %q, got\n%s", m.name, m.says, text)
		}
	}
}

// TestBroken is run by TestSuiteFindsMistakes in a process of its own.
func TestBroken(t *testing.T) {
	mistake := os.Getenv("DEVICETEST_MISTAKE")
	if mistake == "" {
		t.Skip("run by TestSuiteFindsMistakes")
	}
	open := func(p kernel.Pool) kernel.Kernels {
		return &broken{Kernels: ref.New(), workers: p.Workers(), mistake: mistake}
	}
	if strings.HasPrefix(mistake, halfMistake) {
		RunHalf(t, open)
		return
	}
	Run(t, open)
}

func (b *broken) is(mistake string) bool { return b.mistake == mistake }

func (b *broken) Add(s kernel.Stream, a *kernel.AddArgs) {
	if b.is("one past the end") && a.N == 17 {
		longer := *a
		longer.A.Bytes, longer.B.Bytes, longer.Out.Bytes, longer.N = a.A.Bytes+4, a.B.Bytes+4, a.Out.Bytes+4, a.N+1
		a = &longer
	}
	b.Kernels.Add(s, a)
	if x, y := a.A, a.B; b.is(halfMistake+"truncated") && a.Out != x && a.Out != y {
		for i := range a.N {
			a.Out.BF16()[i] = truncated(x.BF16()[i].Float32() + y.BF16()[i].Float32())
		}
	}
}

func (b *broken) Convert(s kernel.Stream, a *kernel.ConvertArgs) {
	b.Kernels.Convert(s, a)
	if a.Out.DType != kernel.BF16 {
		return
	}
	for i, x := range a.X.F32()[:a.N] {
		out := &a.Out.BF16()[i]
		switch {
		case b.is("ties upwards") && x == x:
			*out = bf16.BF16((math.Float32bits(x) + 0x8000) >> 16)
		case b.is("NaN without its sign") && x != x:
			*out &= 0x7fff
		}
	}
}

func truncated(x float32) bf16.BF16 { return bf16.BF16(math.Float32bits(x) >> 16) }

// single returns an operand of BF16 as float32.
func single(b kernel.Buf) kernel.Buf {
	if b.Absent() || b.DType != kernel.BF16 {
		return b
	}
	wide := make([]float32, b.Len())
	for i, v := range b.BF16() {
		wide[i] = v.Float32()
	}
	return kernel.FromF32(wide)
}

// narrow rounds a float32 operand into one of BF16.
func narrow(to, from kernel.Buf, round func(float32) bf16.BF16) {
	if !to.Absent() && to.DType == kernel.BF16 {
		for i, v := range from.F32() {
			to.BF16()[i] = round(v)
		}
	}
}

func (b *broken) LayerNorm(s kernel.Stream, a *kernel.LayerNormArgs) {
	b.Kernels.LayerNorm(s, a)
	if b.is("input as scratch") && a.W > 30 {
		a.X.F32()[3]++
	}
	if b.is(halfMistake + "truncated") {
		change := *a
		change.Out = single(a.Out)
		b.Kernels.LayerNorm(s, &change)
		narrow(a.Out, change.Out, truncated)
	}
}

func (b *broken) AddNorm(s kernel.Stream, a *kernel.AddNormArgs) {
	b.Kernels.AddNorm(s, a)
	if b.is("unbiased variance") {
		out, beta := a.Out.F32(), a.Beta.F32()
		for i, y := range out {
			out[i] = (y-beta[i%a.W])*float32(math.Sqrt(float64(a.W-1)/float64(a.W))) + beta[i%a.W]
		}
	}
}

func (b *broken) Pool(s kernel.Stream, a *kernel.PoolArgs) {
	b.Kernels.Pool(s, a)
	if !b.is("unused rows") {
		return
	}
	if x, out := a.X.F32(), a.Out.F32(); len(out) > 0 && len(x) > 0 {
		out[0] += 0 * x[len(x)-1]
	}
}

func (b *broken) GatherGrad(s kernel.Stream, a *kernel.GatherGradArgs) {
	b.Kernels.GatherGrad(s, a)
	if b.is(halfMistake+"unused rows") && a.DOut.Len() > 0 {
		a.DOut.BF16()[a.DOut.Len()-1] = 0
	}
}

func (b *broken) Linear(s kernel.Stream, a *kernel.LinearArgs) {
	b.linear = *a
	change := &b.linear
	switch {
	case b.is("approximate gelu") && a.Act == kernel.Gelu:
		change.Act = kernel.GeluNew
	case b.is("no scale after dropout") && a.Drop.On():
		change.X = kernel.FromF32(scaled(a.X.F32(), 1/a.Drop.Scale()))
	case b.is("place in the pack") && a.Rows == kernel.RowsTokens:
		change.Rows, change.N = kernel.RowsAll, b.header(a.Header).Tokens()
	case b.is("rows in bfloat16"):
		x := scaled(a.X.F32(), 1)
		for i, v := range x {
			x[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
		}
		change.X = kernel.FromF32(x)
	case b.is("NaN lost"):
		x := scaled(a.X.F32(), 1)
		for i, v := range x {
			if v != v {
				x[i] = 0
			}
		}
		change.X = kernel.FromF32(x)
	}
	switch {
	case b.is(halfMistake + "weights not rounded"):
		change.X, change.Y, change.Pre = single(a.X), single(a.Y), single(a.Pre)
	case b.is(halfMistake+"pre-activation rounded") && a.Act != kernel.Linear:
		change.Act = kernel.Linear
	}
	b.Kernels.Linear(s, change)
	switch {
	case b.is(halfMistake + "weights not rounded"):
		narrow(a.Y, change.Y, bf16.FromFloat32)
		narrow(a.Pre, change.Pre, bf16.FromFloat32)
	case b.is(halfMistake+"pre-activation rounded") && a.Act != kernel.Linear && a.Y.DType == kernel.BF16:
		for i, v := range a.Y.BF16() {
			a.Y.BF16()[i] = bf16.FromFloat32(float32(a.Act.Value(float64(v.Float32()))))
		}
	case b.is("last column") && a.Out%16 == 1 && len(a.Y.F32()) >= a.Out:
		a.Y.F32()[a.Out-1] = nan
	}
}

func (b *broken) header(words kernel.Buf) kernel.Header {
	return kernel.ViewHeader(words.I32(), kernel.TokensOfHeader(len(words.I32())))
}

func scaled(x []float32, a float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = a * v
	}
	return y
}

func (b *broken) LinearGrad(s kernel.Stream, a *kernel.LinearGradArgs) {
	b.linearGrad = *a
	change := &b.linearGrad
	if b.is("beta ignored") {
		change.Beta[0] = 1
		if a.Beta[0] == 0 && !a.DW.Absent() {
			clear(a.DW.F32())
		}
		if a.Beta[0] == 1 {
			change.Beta[0] = 0
		}
	}
	if b.is(halfMistake+"addend forgotten") || b.is(halfMistake+"addend after rounding") {
		change.DXAdd = kernel.Buf{}
	}
	addend := single(a.DXAdd)
	b.Kernels.LinearGrad(s, change)
	if b.is(halfMistake+"addend after rounding") && !a.DX.Absent() && a.DX.DType == kernel.BF16 && !addend.Absent() {
		for i, v := range addend.F32() {
			a.DX.BF16()[i] = bf16.FromFloat32(a.DX.BF16()[i].Float32() + v)
		}
	}
	if b.is("sum by worker") && b.workers > 2 && !a.DW.Absent() {
		dW := a.DW.F32()
		dW[len(dW)/2] = math.Nextafter32(dW[len(dW)/2], 9)
	}
}

func (b *broken) Embed(s kernel.Stream, a *kernel.EmbedArgs) {
	b.embed = *a
	change := &b.embed
	if b.is("order of additions") && !a.Position.Absent() && !a.Type.Absent() {
		change.Position, change.Type, change.PositionIDs, change.TypeIDs = a.Type, a.Position, a.TypeIDs, a.PositionIDs
		if a.PositionIDs.Absent() || a.TypeIDs.Absent() {
			*change = *a
		}
	}
	b.Kernels.Embed(s, change)
}

func (b *broken) EmbedGrad(s kernel.Stream, a *kernel.EmbedGradArgs) {
	b.embedGrad = *a
	change := &b.embedGrad
	if b.is("pad row") {
		change.PadID = -1
	}
	b.Kernels.EmbedGrad(s, change)
}

func (b *broken) Attention(s kernel.Stream, a *kernel.AttentionArgs) {
	change := *a
	if b.is("slot off by one") && a.Slots.Len() > 80 {
		slots := append([]int16(nil), a.Slots.I16()...)
		slots[a.Reach+40] ^= 1
		change.Slots = kernel.FromI16(slots)
	}
	b.Kernels.Attention(s, &change)
}

func (b *broken) AttentionGrad(s kernel.Stream, a *kernel.AttentionGradArgs) {
	change := *a
	if b.is("slots beyond the map") && !a.Slots.Absent() {
		slots := append([]int16(nil), a.Slots.I16()...)
		for i := range slots {
			slots[i] = max(slots[i], 1)
		}
		change.Slots = kernel.FromI16(slots)
	}
	var keep []float32
	if b.is("position gradient left") && !a.DPos.Absent() {
		keep = append(keep, a.DPos.F32()...)
	}
	b.Kernels.AttentionGrad(s, &change)
	for i, v := range keep {
		if d := a.DPos.F32(); d[i] == 0 {
			d[i] = v
		}
	}
}

func (b *broken) ConvNorm(s kernel.Stream, a *kernel.ConvNormArgs) {
	change := *a
	if b.is("piece border") {
		change.Header = kernel.FromI32(append([]int32(nil), a.Header.I32()...))
		h := b.header(change.Header)
		for i := range h.Pieces() {
			h.Offsets[i] = 0
		}
	}
	b.Kernels.ConvNorm(s, &change)
}

func (b *broken) ConvNormGrad(s kernel.Stream, a *kernel.ConvNormGradArgs) {
	change := *a
	if b.is("mask of the convolution") {
		change.Drop.Site++
	}
	b.Kernels.ConvNormGrad(s, &change)
}

func (b *broken) MLMLoss(s kernel.Stream, a *kernel.MLMLossArgs) {
	b.Kernels.MLMLoss(s, a)
	if b.is("last of ties") && a.V == 16 && a.E == 3 {
		a.Hit.F32()[0] = 1 - a.Hit.F32()[0]
	}
}

func (b *broken) SumSquares(s kernel.Stream, a *kernel.SumSquaresArgs) float64 {
	if !b.is("float32 squares") {
		return b.Kernels.SumSquares(s, a)
	}
	var sum float64
	for _, v := range a.G.F32()[:a.N] {
		sum += float64(v * v)
	}
	return sum
}

var sink []byte

func (b *broken) Gather(s kernel.Stream, a *kernel.GatherArgs) {
	b.Kernels.Gather(s, a)
	if b.is("allocation") {
		sink = make([]byte, 10)
	}
}
