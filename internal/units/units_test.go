package units

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
	}{
		{"0", 0}, {"4096", 4096}, {"100MB", 100e6}, {"32MiB", 32 << 20}, {"10GiB", 10 << 30}, {"1.5 GB", 15e8}, {"1.5kib", 1536},
		{" 7 b ", 7}, {"9223372036854775807", math.MaxInt64}, {"0.5MiB", 1 << 19}, {"2TB", 2e12}, {"1PiB", 1 << 50},
	} {
		got, err := ParseSize(c.text)
		if err != nil || got != c.want {
			t.Errorf("%q: got %d, %v; want %d", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "1.2.3MB", ".", "32M", "1XB", "0.3B", "9223372036854775808", "9000PB0", "1e3", strings.Repeat("9", 50)} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	if _, err := ParseSize("32m"); err == nil || !strings.Contains(err.Error(), "32MB") || !strings.Contains(err.Error(), "32MiB") {
		t.Errorf("bare M: got %v, want both spellings", err)
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 KB", 999_949: "999.9 KB", 999_951: "1.0 MB", 35_200_000: "35.2 MB", 1_603_100_000: "1.6 GB",
		-1500: "-1.5 KB", math.MaxInt64: "9223.4 PB", math.MinInt64: "-9223.4 PB",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2h": 2 * time.Hour, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "0": 0, "2d": 48 * time.Hour, "1d6h": 30 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "90", "1.5", "-2h", "2x", "d", "999999999999d", "106751d48h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 18204: "18,204", 1622577: "1,622,577", -1234: "-1,234", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	if got := Count(uint32(1e6)); got != "1,000,000" {
		t.Errorf("uint32: got %q", got)
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"100MB", "1.5 GiB", "-1", "..", "32M", "999999999999PB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err == nil && n < 0 {
			t.Fatalf("%q: got %d", s, n)
		}
	})
}
