package cuda

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// ptxHeader is what the first lines of a PTX text ask for.
type ptxHeader struct {
	major, minor int  // .version
	target       int  // .target: 80 for sm_80
	only         bool // sm_90a: that compute capability and no other
}

// readPTX reads the directives .version and .target, which stand before all code.
func readPTX(text []byte) (ptxHeader, error) {
	var h ptxHeader
	for line := range bytes.Lines(text) {
		code, _, _ := strings.Cut(string(line), "//")
		f := strings.Fields(strings.ReplaceAll(code, ",", " "))
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case ".version":
			major, minor, ok := strings.Cut(f[1], ".")
			var err1, err2 error
			h.major, err1 = strconv.Atoi(major)
			h.minor, err2 = strconv.Atoi(minor)
			if !ok || err1 != nil || err2 != nil {
				return h, fmt.Errorf("%w: PTX says .version %s, want MAJOR.MINOR", ErrBadModule, f[1])
			}
		case ".target":
			arch, _ := strings.CutPrefix(f[1], "sm_")
			digits := strings.TrimRight(arch, "af")
			n, err := strconv.Atoi(digits)
			if err != nil {
				return h, fmt.Errorf("%w: PTX says .target %s, want sm_NUMBER", ErrBadModule, f[1])
			}
			h.target, h.only = n, strings.HasSuffix(arch, "a")
			if h.major == 0 {
				return h, fmt.Errorf("%w: PTX has .target before .version", ErrBadModule)
			}
			return h, nil
		}
	}
	return h, fmt.Errorf("%w: neither PTX (no .version and .target) nor a cubin", ErrBadModule)
}

// driverFor returns the CUDA version that brings a PTX version, as cuDriverGetVersion counts, and the first driver of
// it (0: not known). Source: PTX ISA 9.x, "Release notes", and the CUDA Toolkit release notes, table of driver
// versions.
func driverFor(major, minor int) (version, driver int) {
	known := map[[2]int][2]int{
		{6, 0}: {9000, 384}, {6, 1}: {9010, 390}, {6, 2}: {9020, 396}, {6, 3}: {10000, 410}, {6, 4}: {10010, 418}, {6, 5}: {10020, 440},
		{7, 0}: {11000, 450}, {7, 1}: {11010, 455}, {7, 2}: {11020, 460}, {7, 3}: {11030, 465}, {7, 4}: {11040, 470},
		{7, 5}: {11050, 495}, {7, 6}: {11060, 510}, {7, 7}: {11070, 515}, {7, 8}: {11080, 520},
		{8, 0}: {12000, 525}, {8, 1}: {12010, 530}, {8, 2}: {12020, 535}, {8, 3}: {12030, 545}, {8, 4}: {12040, 550},
		{8, 5}: {12050, 555}, {8, 6}: {12070, 565}, {8, 7}: {12080, 570}, {8, 8}: {12090, 575}, {9, 0}: {13000, 580},
	}
	if v, ok := known[[2]int{major, minor}]; ok {
		return v[0], v[1]
	}
	switch {
	case major < 6:
		return 9000, 384
	case major == 9: // 9.x came with 13.x so far
		return 13000 + 10*minor, 0
	}
	return 1000 * (major + 4), 0 // a guess that only ever says "newer than you have"
}

// suits says whether a driver and a device can take the PTX; the error says what is needed and what is there.
func (h ptxHeader) suits(version int, info *Info) error {
	needed, driver := driverFor(h.major, h.minor)
	if version < needed {
		from := "a newer one"
		if driver > 0 {
			from = fmt.Sprintf("driver %d or later", driver)
		}
		return fmt.Errorf("%w: the kernels are PTX %d.%d, which needs a driver for CUDA %s (%s); this one is for CUDA %s",
			ErrDriverTooOld, h.major, h.minor, versionName(needed), from, versionName(version))
	}
	has := 10*info.Major + info.Minor
	if has < h.target || h.only && has != h.target {
		which := "or later"
		if h.only {
			which = "and no other"
		}
		return fmt.Errorf("%w: the kernels need compute capability %d.%d %s; GPU %d (%s) has %d.%d",
			ErrBadModule, h.target/10, h.target%10, which, info.Index, info.Name, info.Major, info.Minor)
	}
	return nil
}

// parameters returns the sizes in bytes of the parameters of each entry of a PTX text, in order.
func parameters(text []byte) map[string][]uint8 {
	entries := map[string][]uint8{}
	rest := string(text)
	for {
		_, after, ok := strings.Cut(rest, ".entry")
		if !ok {
			return entries
		}
		head, body, ok := strings.Cut(after, "(")
		list, tail, closed := strings.Cut(body, ")")
		name := strings.TrimSpace(head)
		if before, _, braced := strings.Cut(after, "{"); braced && len(before) < len(head) {
			name, list, tail = strings.TrimSpace(before), "", after // an entry without parameters has no brackets
		} else if !ok || !closed {
			return entries
		}
		sizes := []uint8{}
		for p := range strings.SplitSeq(list, ",") {
			if size, ok := parameterSize(p); ok {
				sizes = append(sizes, size)
			}
		}
		entries[name] = sizes
		rest = tail
	}
}

// parameterSize returns the bytes of one parameter: ".param .u64 .ptr .align 8 name" or ".param .align 4 .b8 name[12]".
// One of more than 255 bytes is given as 255, which no argument of ours has.
func parameterSize(p string) (uint8, bool) {
	size := 0
	for f := range strings.FieldsSeq(p) {
		switch f {
		case ".b8", ".u8", ".s8":
			size = 1
		case ".b16", ".u16", ".s16", ".f16":
			size = 2
		case ".b32", ".u32", ".s32", ".f32":
			size = 4
		case ".b64", ".u64", ".s64", ".f64":
			size = 8
		}
		if _, count, ok := strings.Cut(f, "["); ok {
			if n, err := strconv.Atoi(strings.TrimSuffix(count, "]")); err == nil {
				size *= n
			}
		}
	}
	return uint8(min(size, 255)), size > 0
}
