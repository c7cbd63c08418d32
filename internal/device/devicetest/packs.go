package devicetest

import (
	"fmt"
	"slices"

	"github.com/secencoder/secencoder/internal/kernel"
)

// packs are the piece lengths that kernels over tokens meet: none, single tokens, tile edges, many pieces.
var packs = [][]int{
	nil, {1}, {2}, {3}, {1, 1}, {2, 1, 5}, {15}, {16}, {17}, {31, 33}, {64}, {65}, {1, 2, 64, 65, 3},
	slices.Repeat([]int{2, 3, 1, 4, 7}, 9), {255, 2, 44},
}

// withPack gives the problem a header over pieces of these lengths in a plan of a few tokens more, with about a third
// of the tokens masked. Labels are below vocabulary. Ordinal, step and seed use their upper bits.
func (p *problem) withPack(lengths []int, vocabulary int) {
	offsets := []int32{0}
	for _, n := range lengths {
		offsets = append(offsets, offsets[len(offsets)-1]+int32(n))
	}
	n := int(offsets[len(offsets)-1])
	p.tokens = max(n+p.random.Intn(4), 2*len(lengths)) // a piece needs two tokens of the plan
	p.pack = kernel.Pack{Offsets: offsets, Step: 0x80000007, Seed: 0xdeadbeef01234567, Ordinal: 70_000, Scale: 0.125}
	for t := range n {
		if p.random.Intn(3) == 0 {
			p.pack.Masked = append(p.pack.Masked, int32(t))
			p.pack.Labels = append(p.pack.Labels, int32(p.random.Intn(max(1, vocabulary))))
		}
	}
	p.fill()
}

// withMasked gives the problem a header with exactly n masked rows, in one piece.
func (p *problem) withMasked(n, vocabulary int) {
	p.withPack([]int{max(1, n)}, vocabulary)
	p.pack.Masked, p.pack.Labels = nil, nil
	for t := range n {
		p.pack.Masked = append(p.pack.Masked, int32(t))
		p.pack.Labels = append(p.pack.Labels, int32(p.random.Intn(vocabulary)))
	}
	p.fill()
}

// withRows gives the problem a header in which exactly n rows of the kind are in use, and returns the rows of the shape.
func (p *problem) withRows(kind kernel.RowKind, n int) (shape int) {
	switch kind {
	case kernel.RowsTokens:
		first := 0
		if n > 4 {
			first = p.random.Intn(n - 1)
		}
		lengths := slices.DeleteFunc([]int{first, n - first}, func(l int) bool { return l == 0 })
		p.withPack(lengths, 1)
		return p.tokens
	case kernel.RowsMasked:
		p.withMasked(n, 1)
		return p.tokens
	case kernel.RowsPieces:
		p.withPack(slices.Repeat([]int{2}, n), 1)
		return p.tokens / 2
	}
	p.withPack([]int{3}, 1)
	return n
}

// fill writes the pack into the header operand.
func (p *problem) fill() {
	words := make([]int32, kernel.HeaderWords(p.tokens))
	p.pack.Fill(words, p.tokens)
	if p.header == nil {
		p.header = p.ints("header", nil)
	}
	p.header.i, p.header.used = words, len(words)
}

// view returns the header as kernels see it.
func (p *problem) view() kernel.Header { return kernel.ViewHeader(p.header.i, p.tokens) }

// used returns the number of tokens in use.
func (p *problem) used() int { return int(p.pack.Offsets[len(p.pack.Offsets)-1]) }

// kinds are the row kinds by name.
var kinds = map[kernel.RowKind]string{
	kernel.RowsAll: "all rows", kernel.RowsTokens: "token rows", kernel.RowsMasked: "masked rows", kernel.RowsPieces: "piece rows",
}

// kindOf walks the row kinds with the case number.
func kindOf(i int) kernel.RowKind { return kernel.RowKind(i % 4) }

// dropOf returns a dropout for a problem: off in two of three cases.
func (p *problem) dropOf() kernel.Dropout {
	if p.random.Intn(3) > 0 {
		return kernel.Dropout{}
	}
	return kernel.Dropout{P: 0.3, Site: 8*5 + 2}
}

// betaOf returns 0 or 1.
func (p *problem) betaOf() float32 { return float32(p.random.Intn(2)) }

func nameOf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
