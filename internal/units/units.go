// Package units reads and writes sizes, durations and counts as people write them.
//
// Sizes are bytes: KB, MB, GB, TB are powers of 1,000, KiB, MiB, GiB, TiB powers of 1,024. A bare M is refused, because
// programs disagree about what it means.
package units

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

var sizes = []struct {
	name  string
	bytes int64
}{
	{"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
}

// ParseSize reads a size such as "100MB", "1.5 GiB" or "4096" (bytes) and returns it in bytes. Upper and lower case are
// the same. A negative size, a fraction of a byte, a unit that it does not know or a size above 2^63-1 is an error that
// quotes the text.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.') {
		end++
	}
	number, unit := text[:end], strings.TrimSpace(text[end:])
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("size %q is negative", s)
	}
	if number == "" || number == "." || strings.Count(number, ".") > 1 || len(number) > 40 {
		return 0, fmt.Errorf("size %q: want a number with a unit, such as 100MB or 32MiB", s)
	}
	factor := int64(0)
	if unit == "" {
		factor = 1
	}
	for _, u := range sizes {
		if strings.EqualFold(unit, u.name) {
			factor = u.bytes
		}
	}
	if factor == 0 {
		switch u := strings.ToUpper(unit); u {
		case "K", "M", "G", "T", "P":
			return 0, fmt.Errorf("size %q: write %s%sB (powers of 1,000) or %s%siB (powers of 1,024)", s, number, u, number, u)
		}
		return 0, fmt.Errorf("size %q: unknown unit %q (want B, KB, MB, GB, TB, PB, KiB, MiB, GiB, TiB or PiB)", s, unit)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("size %q: want a number with a unit, such as 100MB or 32MiB", s)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	if !r.IsInt() {
		return 0, fmt.Errorf("size %q is not a whole number of bytes", s)
	}
	if !r.Num().IsInt64() {
		return 0, fmt.Errorf("size %q is more than 2^63-1 bytes", s)
	}
	return r.Num().Int64(), nil
}

// FormatSize writes a number of bytes for people, with one digit after the point and powers of 1,000: "812 B",
// "35.2 MB". It loses digits; where the exact number matters, write Count(n).
func FormatSize(n int64) string {
	if n < 0 {
		if n == -1<<63 {
			return "-9223.4 PB"
		}
		return "-" + FormatSize(-n)
	}
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/1e3, 0
	names := []string{"KB", "MB", "GB", "TB", "PB"}
	for v >= 999.95 && unit < len(names)-1 { // what would be written as 1000.0
		v /= 1e3
		unit++
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + names[unit]
}

// ParseDuration reads a duration such as "2h", "90s" or "1h30m", with the units of time.ParseDuration and "d" for 24
// hours in front. A negative duration or a number without a unit is an error that quotes the text.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	if _, err := strconv.ParseFloat(text, 64); err == nil && text != "0" {
		return 0, fmt.Errorf("duration %q has no unit (want for example 90s, 30m, 2h or 1h30m)", s)
	}
	var days time.Duration
	if head, rest, ok := strings.Cut(text, "d"); ok && head != "" && strings.Trim(head, "0123456789") == "" {
		n, err := strconv.ParseInt(head, 10, 64)
		if err != nil || n > int64(1<<63-1)/int64(24*time.Hour) {
			return 0, fmt.Errorf("duration %q is too long", s)
		}
		days, text = time.Duration(n)*24*time.Hour, rest
		if text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("duration %q: want for example 90s, 30m, 2h or 1h30m", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("duration %q is negative", s)
	}
	if days+d < days {
		return 0, fmt.Errorf("duration %q is too long", s)
	}
	return days + d, nil
}

// Count writes a whole number with a comma between thousands: 18204 gives "18,204".
func Count[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](n T) string {
	var digits string
	if n < 0 {
		digits = strconv.FormatInt(int64(n), 10)[1:]
	} else {
		digits = strconv.FormatUint(uint64(n), 10)
	}
	var b strings.Builder
	if n < 0 {
		b.WriteByte('-')
	}
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}
