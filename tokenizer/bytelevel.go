package tokenizer

import "unicode/utf8"

// HuggingFace writes a token's bytes as printable characters: the 188 visible Latin-1 bytes as themselves, the other 68 in ascending
// order as U+0100 to U+0143. Source: tokenizers 0.23.3, pre_tokenizers/byte_level.rs, bytes_char.

var (
	byteRune [256]rune         // [byte] its character
	runeByte [0x144]int16      // [character] its byte, -1 where there is none
	byteRank [256]uint32       // [byte] its place in the order of the characters' code points: the order of ids
	rankByte = alphabetOrder() // the inverse; also fills the three tables above
)

func alphabetOrder() [256]byte {
	for i := range runeByte {
		runeByte[i] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(b >= 0x21 && b <= 0x7E || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = next
			next++
		}
		byteRune[b] = r
		runeByte[r] = int16(b)
	}
	var order [256]byte
	rank := uint32(0)
	for _, b := range runeByte {
		if b >= 0 {
			order[rank] = byte(b)
			byteRank[b] = rank
			rank++
		}
	}
	return order
}

// appendMapped appends the characters that stand for raw bytes.
func appendMapped(dst, raw []byte) []byte {
	for _, b := range raw {
		dst = utf8.AppendRune(dst, byteRune[b])
	}
	return dst
}

// appendUnmapped appends the bytes that a token string stands for. A string with a character outside the alphabet is its own UTF-8,
// as in HuggingFace's ByteLevel decoder; mapped is false then.
func appendUnmapped(dst []byte, token string) (raw []byte, mapped bool) {
	start := len(dst)
	for _, r := range token {
		if r < 0 || int(r) >= len(runeByte) || runeByte[r] < 0 {
			return append(dst[:start], token...), false
		}
		dst = append(dst, byte(runeByte[r]))
	}
	return dst, true
}
