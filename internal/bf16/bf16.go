// Package bf16 is the 16-bit floating point number bfloat16: the sign, the eight exponent bits and the upper seven
// fraction bits of a float32. It has eight significant bits, so that rounding to nearest is off by at most 2^-8, relative;
// its range is that of float32, denormals included.
package bf16

import "math"

// BF16 is one bfloat16 by its bits.
type BF16 uint16

// FromFloat32 rounds x to the nearest bfloat16, ties to even. Values beyond the largest finite one become infinite; a
// NaN stays a (quiet) NaN with its sign.
func FromFloat32(x float32) BF16 {
	b := math.Float32bits(x)
	if b&0x7fffffff > 0x7f800000 {
		return BF16(b>>16 | 0x40)
	}
	return BF16((b + 0x7fff + b>>16&1) >> 16)
}

// Float32 returns the same number as a float32, exactly.
func (x BF16) Float32() float32 { return math.Float32frombits(uint32(x) << 16) }
