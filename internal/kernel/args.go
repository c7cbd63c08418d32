// Package kernel holds what all kernel families share: the operand descriptor Buf, the step header, and one argument
// struct per kernel. The families live below: ref (plain Go, always compiled, the definition of every result), and the
// vectorised ones. package device picks a family and hands out its table.
//
// Axis letters: T tokens of a plan, H hidden, A heads, D head size, I intermediate, E embedding size, V vocabulary,
// K attention span (the position table has 2K rows), N tokens of one piece. All matrices are row-major and contiguous
// unless a stride is given. float32 values, float32 products; sums over rows of many (dW, db, dγ, loss) are float64
// or blocked as the family states; every reduction tree depends on sizes alone, never on the number of threads.
//
// Element types: parameters, their gradients, the optimizer's moments, row statistics (Stats, LSE, NLL, Hit), losses,
// DPos, DLogits, logits, Pool's Out and workspaces are float32. The [T, ·] activations of a call and their gradients (X,
// Res, Out, Y, Pre, QKV, Z, E, V and D… of those), and Pos, are all float32 or all BF16, and the call's arithmetic follows
// from it: with BF16, values are read exactly, both factors of every matrix product are rounded to BF16 (weights too),
// products accumulate in float32, everything else is float32 arithmetic, and each result is rounded once, to nearest even,
// when it is stored. Exceptions: values of RowsAll (the normalised position table, its gradient) are float32, so that
// Linear may have a float32 X and a BF16 Y (arithmetic of BF16), and its gradient then is float32 throughout; the last
// Linear of a classification head has a BF16 X and a float32 Y (arithmetic of BF16, DY float32).
//
// Operands: one is optional only where its comment says so. Destinations must not overlap any other operand, but for
// AddArgs. A destination with beta 0 is overwritten, and what it held does not count; NaN there is harmless. The widths
// E, H, W, In, Out, V, C, A, D are at least 1; the rows in use may be none. A workspace starts on a 64-byte boundary,
// other operands on one of their element size.
package kernel

// Stream orders work on a device; the CPU families ignore it.
type Stream uintptr

// Activation names follow HF's ACT2FN; Gelu is the exact erf form.
type Activation uint8

const (
	Linear Activation = iota // identity
	Gelu
	GeluNew // tanh form with 0.044715; HF gelu_new, gelu_pytorch_tanh, gelu_fast
	QuickGelu
	Relu
	Silu
	Tanh
	Mish
	Sigmoid
)

// Dropout says which counter decides what is dropped: counter = (element low, element high, step, purpose·2^24 + site),
// key = seed. P = 0 is off. Element of row r, column c of a width-W value: ((ordinal·65,536 + place)·W + c) for token
// rows (ordinal of the piece in the step, place of the token in it), (r·W + c) for RowsAll, (ordinal·W + c) for piece
// rows and (ordinal·65,536 + place of the masked token)·W + c for masked rows. Call index = element / 4, word = element
// mod 4; keep ⇔ word ≥ floor(P·2^32); kept values are scaled by 1/(1−P).
type Dropout struct {
	P    float32
	Site uint32
}

// EmbedArgs: out[t] = word[id] (+ position[place or given id]) (+ type[type id]), in HF's order of additions.
type EmbedArgs struct {
	Header               Buf
	IDs                  Buf // I32 [T]
	PositionIDs          Buf // I32 [T], absent: the place in the piece; used only with Position
	TypeIDs              Buf // I32 [T], absent: 0; used only with Type
	Word, Position, Type Buf // [V, E], [P, E] or absent, [S, E] or absent
	Out                  Buf // [T, E]
	E                    int
}

// EmbedGradArgs: scatter-add of dOut into the tables, in token order. The row of PadID gets nothing from the look-up
// (nn.Embedding padding_idx); PadID < 0 switches that off. Each destination d is beta·d + sum; an absent one is skipped.
type EmbedGradArgs struct {
	Header, IDs, PositionIDs, TypeIDs Buf
	DOut                              Buf // [T, E]
	DWord, DPosition, DType           Buf
	Beta                              [3]float32 // word, position, type
	E, PadID                          int
}

// LayerNormArgs: out = dropout(LN(x)·γ + β), biased variance, statistics accumulated in float64 by ref.
type LayerNormArgs struct {
	Header      Buf
	X           Buf // [rows, W]
	Gamma, Beta Buf // [W]
	Out         Buf // [rows, W]
	Stats       Buf // [rows, 2] mean and 1/sqrt(var+eps), or absent
	Rows        RowKind
	N, W        int // rows in the shape, width
	Eps         float32
	Drop        Dropout // applied to the result
}

// LayerNormGradArgs: dX, and dGamma, dBeta with their betas. Absent destinations are skipped.
type LayerNormGradArgs struct {
	Header        Buf
	X, Stats      Buf
	Gamma         Buf
	DOut          Buf
	DX            Buf // absent: not wanted
	DGamma, DBeta Buf
	Beta          [2]float32 // dGamma, dBeta
	Rows          RowKind
	N, W          int
	Drop          Dropout
}

// AddNormArgs: out = LN(dropout(x) + res)·γ + β (DebertaV2SelfOutput, DebertaV2Output). Stats may be absent.
type AddNormArgs struct {
	Header      Buf
	X, Res      Buf // [T, W]
	Gamma, Beta Buf
	Out, Stats  Buf
	Rows        RowKind
	N, W        int
	Eps         float32
	Drop        Dropout // applied to x
}

// AddNormGradArgs: dX (through dropout) and dRes. Nothing is accumulated into them. Absent destinations are skipped.
type AddNormGradArgs struct {
	Header        Buf
	X, Res, Stats Buf
	Gamma         Buf
	DOut          Buf
	DX, DRes      Buf
	DGamma, DBeta Buf
	Beta          [2]float32
	Rows          RowKind
	N, W          int
	Drop          Dropout
}

// LinearArgs: out = act(dropout(x)·Wᵀ + b), W [Out, In] as HF keeps it. Pre receives the pre-activation when present
// (needed by the gradient of every activation but Linear). Bias may be absent.
type LinearArgs struct {
	Header  Buf
	X       Buf // [rows, In]
	W, B    Buf // [Out, In], [Out]
	Y, Pre  Buf // [rows, Out]
	Rows    RowKind
	N       int
	In, Out int
	Act     Activation
	Drop    Dropout // applied to x
	Packed  Buf     // W as PackWeight leaves it, or absent
}

// LinearGradArgs: dZ = dY∘act'(pre); dX = dropout'(dZ·W) + DXAdd; dW = beta·dW + dZᵀ·dropout(x); dB likewise. Absent
// destinations are skipped.
type LinearGradArgs struct {
	Header     Buf
	X, W, Pre  Buf
	DY         Buf // [rows, Out]
	DX, DW, DB Buf
	DXAdd      Buf        // [rows, In], of DX's type, or absent: added in float32 before DX is rounded; may be DX itself
	Beta       [2]float32 // dW, dB
	Rows       RowKind
	N          int
	In, Out    int
	Act        Activation
	Drop       Dropout
	Packed     Buf // W as PackWeight leaves it, Transposed, or absent
	Work       Buf
}

// PackWeightArgs: W [Out, In] in the order in which the family's products read it, for Linear, or for the dX of LinearGrad
// when Transposed. Products with it have the bits of products without.
type PackWeightArgs struct {
	W          Buf // [Out, In]
	Packed     Buf // F32, PackedBytes long, on a 64-byte boundary
	In, Out    int
	X          DType // the arithmetic of the calls that read it, F32 or BF16
	Transposed bool
}

// AttentionArgs: disentangled self-attention over packed pieces, block-diagonal (DisentangledSelfAttention, HF 5.23.0):
// S_ij = (Q_i·K_j + [c2p] Q_i·Pk_{s(i−j)} + [p2c] K_j·Pq_{s(i−j)}) / σ, P = softmax_j S, out = dropout(P)·V.
// Dropout of P: call index ((ordinal·A + head)·65,536 + i)·8,192 + j/8, half-word j mod 8 (word = half/2, low half
// first); keep ⇔ half ≥ round(65,536·P).
type AttentionArgs struct {
	Header   Buf
	QKV      Buf // [T, 3H]: query, key, value
	Pos      Buf // [R, H]: the 2K key rows (when C2P), then the 2K query rows (when P2C); absent when neither
	Slots    Buf // I16 [2·Reach+1]: slot of r = i − j at index r + Reach, for |r| ≤ Reach
	Out      Buf // [T, H]
	LSE      Buf // [T, A] natural log-sum-exp of each row
	Reach    int
	A, D     int // heads, head size; H = A·D
	K        int // attention span: tables have 2K rows
	C2P, P2C bool
	Sigma    float32 // sqrt(D·(1 + [c2p] + [p2c])), by configuration even when relative attention is off
	Drop     Dropout
	T        int
	Work     Buf
}

// AttentionGradArgs: dQKV [T, 3H] and dPos [R, H] (overwritten, rows of unused slots are 0).
type AttentionGradArgs struct {
	Header          Buf
	QKV, Pos, Slots Buf
	Out, LSE, DOut  Buf
	DQKV, DPos      Buf
	Reach, A, D, K  int
	C2P, P2C        bool
	Sigma           float32
	Drop            Dropout
	T               int
	Work            Buf
}

// ConvNormArgs: ConvLayer of HF: c = conv1d(e) inside each piece, zero outside it; out = LN(v + act(dropout(c))). Stats
// may be absent.
type ConvNormArgs struct {
	Header           Buf
	E, V             Buf // embedding output, output of layer 0: [T, H]
	W, B             Buf // [H, H/groups, ks], [H]
	Gamma, Beta      Buf
	Pre              Buf // [T, H] the convolution's result before dropout
	Out, Stats       Buf
	T, H, Groups, KS int
	Act              Activation
	Eps              float32
	Drop             Dropout
	Work             Buf
}

// ConvNormGradArgs: gradients of all six inputs; that of e is without its way through layer 0. Absent destinations are
// skipped.
type ConvNormGradArgs struct {
	Header                Buf
	E, V, W, Pre, Stats   Buf
	Gamma                 Buf
	DOut                  Buf
	DE, DV                Buf
	DW, DB, DGamma, DBeta Buf
	Beta                  [4]float32 // dW, dB, dGamma, dBeta
	T, H, Groups, KS      int
	Act                   Activation
	Drop                  Dropout
	Work                  Buf
}

// GatherArgs: out[m] = x[masked[m]] for the masked rows; the gradient zeroes dX and scatters.
type GatherArgs struct {
	Header Buf
	X, Out Buf // [T, W] both
	T, W   int
}

// GatherGradArgs: dX = 0 except dX[masked[m]] = dOut[m].
type GatherGradArgs struct {
	Header   Buf
	DOut, DX Buf
	T, W     int
}

// MLMLossArgs: logits = z·wordᵀ + bias over the masked rows; nll = logsumexp − logit[label]; hit = 1 where the argmax
// (ties to the lowest id) is the label; Loss (one float32) = scale·Σ nll, summed in float64. Logits never exist whole.
type MLMLossArgs struct {
	Header        Buf
	Z             Buf // [T, E], masked rows filled
	Word, Bias    Buf // [V, E], [V]
	Loss          Buf // [1]
	NLL, Hit, LSE Buf // [T] float32, masked rows filled; natural units
	T, E, V       int
	Work          Buf
}

// MLMLossGradArgs: with g the gradient of the loss: dLogits = g·scale·(softmax − onehot); dZ = dLogits·word;
// dWord = beta·dWord + dLogitsᵀ·z; dBias likewise. Absent destinations are skipped.
type MLMLossGradArgs struct {
	Header             Buf
	Z, Word, Bias, LSE Buf
	DLoss              Buf // [1]
	DZ, DWord, DBias   Buf
	Beta               [2]float32 // dWord, dBias
	T, E, V            int
	Work               Buf
}

// PoolArgs: one row per piece. First: its first token. Otherwise the mean over its tokens, without the first and the
// last one when Inner (pieces of two tokens then give 0).
type PoolArgs struct {
	Header       Buf
	X            Buf // [T, W]
	Out          Buf // [T/2, W]
	T, W         int
	First, Inner bool
}

// PoolGradArgs: the adjoint; every row of dX in use is written.
type PoolGradArgs struct {
	Header       Buf
	DOut, DX     Buf
	T, W         int
	First, Inner bool
}

// LossKind of the classification heads (HF problem_type).
type LossKind uint8

const (
	CrossEntropy     LossKind = iota // integer labels; rows with label < 0 are left out; mean over the others, 0 if none
	SoftCrossEntropy                 // float label matrix: mean over rows of −Σ_c y·log softmax
	MeanSquare                       // one label: mean of (x − y)²
)

// ClassifyLossArgs: loss over [rows, C] logits.
type ClassifyLossArgs struct {
	Header Buf
	Logits Buf // [rows, C]
	Labels Buf // I32 [rows] or F32 [rows, C]
	Loss   Buf // [1]
	Rows   RowKind
	N, C   int
	Kind   LossKind
}

// ClassifyLossGradArgs: dLogits, every row in use written.
type ClassifyLossGradArgs struct {
	Header         Buf
	Logits, Labels Buf
	DLoss          Buf // [1]
	DLogits        Buf
	Rows           RowKind
	N, C           int
	Kind           LossKind
}

// SpanLossArgs: the loss of extractive question answering (HF DebertaV2ForQuestionAnswering). Column 0 of the logits
// scores each token as the first one of the answer, column 1 as the last one; both compete within their piece alone.
// Loss = (L₀ + L₁)/2, L_c the mean over the pieces whose label c is one of their places of
// logsumexp(column c of the piece) − logit[label], 0 if there is none.
type SpanLossArgs struct {
	Header Buf
	Logits Buf // [T, 2]
	Labels Buf // I32 [T/2, 2]: place in the piece of the answer's first and last token; outside of the piece: left out
	Loss   Buf // [1]
	T      int
}

// SpanLossGradArgs: dLogits, every row in use written, 0 in the columns of pieces that are left out.
type SpanLossGradArgs struct {
	Header         Buf
	Logits, Labels Buf
	DLoss          Buf // [1]
	DLogits        Buf // [T, 2]
	T              int
}

// ConvertArgs: out = x in the other type. From F32 to BF16 it is rounded to nearest even, and a NaN becomes a quiet one with
// its sign; from BF16 to F32 it is exact.
type ConvertArgs struct {
	X, Out Buf // one F32, one BF16; apart
	N      int
}

// AddArgs: out = a + b elementwise; out may be a or b.
type AddArgs struct {
	A, B, Out Buf
	N         int
}

// AdamWArgs: one update over arena ranges, torch semantics (research: decay first, then the bias-corrected step):
// w ·= 1 − lr·wd; m += (1−β1)(g·clip − m); v = β2·v + (1−β2)(g·clip)²; w −= (lr/bc1)·m / (sqrt(v)/sqrt(bc2) + eps).
// Scalars are float64 and are rounded where they meet a tensor.
type AdamWArgs struct {
	W, G, M, V                         Buf // [N]
	N                                  int
	LR, Beta1, Beta2, Eps, Decay, Clip float64
	Step                               int // t ≥ 1
}

// SumSquaresArgs: Out (float64, on the host) = Σ g² in fixed blocks of 4,096 elements combined in a fixed tree.
type SumSquaresArgs struct {
	G Buf
	N int
}

// Kernels is the table: one family on one device. Calls may run asynchronously in stream order; Sync waits and returns
// the first error since the last one. Argument structs are read during the call only on the CPU; they must stay
// unchanged until Sync elsewhere. No call allocates after the first with the same sizes.
type Kernels interface {
	Name() string
	Embed(Stream, *EmbedArgs)
	EmbedGrad(Stream, *EmbedGradArgs)
	LayerNorm(Stream, *LayerNormArgs)
	LayerNormGrad(Stream, *LayerNormGradArgs)
	AddNorm(Stream, *AddNormArgs)
	AddNormGrad(Stream, *AddNormGradArgs)
	Linear(Stream, *LinearArgs)
	LinearGrad(Stream, *LinearGradArgs)
	PackWeight(Stream, *PackWeightArgs)
	Attention(Stream, *AttentionArgs)
	AttentionGrad(Stream, *AttentionGradArgs)
	ConvNorm(Stream, *ConvNormArgs)
	ConvNormGrad(Stream, *ConvNormGradArgs)
	Gather(Stream, *GatherArgs)
	GatherGrad(Stream, *GatherGradArgs)
	MLMLoss(Stream, *MLMLossArgs)
	MLMLossGrad(Stream, *MLMLossGradArgs)
	Pool(Stream, *PoolArgs)
	PoolGrad(Stream, *PoolGradArgs)
	ClassifyLoss(Stream, *ClassifyLossArgs)
	ClassifyLossGrad(Stream, *ClassifyLossGradArgs)
	SpanLoss(Stream, *SpanLossArgs)
	SpanLossGrad(Stream, *SpanLossGradArgs)
	Convert(Stream, *ConvertArgs)
	Add(Stream, *AddArgs)
	AdamW(Stream, *AdamWArgs)
	SumSquares(Stream, *SumSquaresArgs) float64
	// WorkBytes returns the workspace that the kernel of these arguments (a pointer to one of the structs above, with sizes,
	// and the DType of X, Z, E or QKV even where the operand itself is not there yet) needs in its Work field; 0 for structs
	// without one. Work need not be zeroed.
	WorkBytes(args any) int
	// PackedBytes returns the bytes of a weight [out, in] as PackWeight leaves it for calls in the arithmetic of x, F32 or
	// BF16; 0: this family has no such form, PackWeight does nothing, and Packed is not read.
	PackedBytes(out, in int, x DType, transposed bool) int
	Sync(Stream) error
}

// Pool runs the parts of a kernel on all cores. Run calls task.Part(i) for every i in [0, n), in any order, on up to
// Workers goroutines, and returns when all are done. worker < Workers is stable during one call of Part: scratch memory
// is indexed by it. Run allocates nothing.
type Pool interface {
	Workers() int
	Run(n int, task Task)
}

// Task is one kernel's work, cut in parts by problem size alone.
type Task interface {
	Part(i, worker int)
}
