package source

import (
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// utf16Mark returns the byte order that a UTF-16 byte order mark at the beginning of b says, nil without one.
func utf16Mark(b []byte) binary.ByteOrder {
	if len(b) < 2 {
		return nil
	}
	switch {
	case b[0] == 0xff && b[1] == 0xfe && !(len(b) >= 4 && b[2] == 0 && b[3] == 0): // that would be UTF-32
		return binary.LittleEndian
	case b[0] == 0xfe && b[1] == 0xff:
		return binary.BigEndian
	}
	return nil
}

// utf16Reader turns UTF-16 into UTF-8. A surrogate without its other half becomes the three bytes that UTF-8 would have
// for it, which are no UTF-8 and are counted as such; a single byte at the end stays.
type utf16Reader struct {
	in    io.Reader
	order binary.ByteOrder
	raw   [8192]byte
	have  int // bytes of raw that are not yet turned
	out   []byte
	sent  int
	err   error
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for u.sent == len(u.out) {
		if u.err != nil {
			return 0, u.err
		}
		u.fill()
	}
	n := copy(p, u.out[u.sent:])
	u.sent += n
	return n, nil
}

func (u *utf16Reader) fill() {
	n, err := u.in.Read(u.raw[u.have:])
	u.have += n
	u.err = err
	u.out, u.sent = u.out[:0], 0
	i := 0
	for ; i+1 < u.have; i += 2 {
		r := rune(u.order.Uint16(u.raw[i:]))
		if !utf16.IsSurrogate(r) {
			u.out = utf8.AppendRune(u.out, r)
			continue
		}
		if i+3 >= u.have && err == nil {
			break // the other half is still to come
		}
		if i+3 < u.have {
			if both := utf16.DecodeRune(r, rune(u.order.Uint16(u.raw[i+2:]))); both != utf8.RuneError {
				u.out = utf8.AppendRune(u.out, both)
				i += 2
				continue
			}
		}
		u.out = append(u.out, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0xbf, 0x80|byte(r)&0xbf)
	}
	if err != nil && i < u.have {
		u.out = append(u.out, u.raw[i:u.have]...)
		i = u.have
	}
	u.have = copy(u.raw[:], u.raw[i:u.have])
}
