package nvrtc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Resources is what one function of a module takes on one architecture.
type Resources struct {
	Function  string
	Entry     bool // a kernel; else a function that kernels call
	Registers int  // of each thread
	Shared    int  // bytes of shared memory of fixed size, of each block
	Barriers  int  // named barriers
	Stack     int  // bytes of local memory, of each thread: arrays that are no registers, calls
	Stores    int  // bytes of registers that did not fit, written
	Loads     int  // and read again
}

// assembleLimit is how long the assembler may take for one module.
const assembleLimit = 5 * time.Minute

// Assemble turns PTX into machine code of an architecture ("sm_90a") and returns what each kernel takes, in the order of
// the source, and the machine code (a cubin). name is the file's name in messages.
func (t *Tools) Assemble(ctx context.Context, name string, ptx []byte, arch string) (functions []Resources, cubin []byte, err error) {
	dir, err := os.MkdirTemp("", "ptxas-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, out := filepath.Join(dir, filepath.Base(name)), filepath.Join(dir, "out.cubin")
	if err := os.WriteFile(in, ptx, 0o666); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, assembleLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.Assembler, "-v", "-arch="+arch, "-o", out, in)
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.CombinedOutput()
	said = bytes.ReplaceAll(said, []byte(in), []byte(name))
	if err != nil {
		return nil, nil, fmt.Errorf("assemble %s for %s: %w\n%s", name, arch, err, bytes.TrimSpace(said))
	}
	if functions, err = parseReport(string(said)); err != nil {
		return nil, nil, fmt.Errorf("assemble %s for %s: %w", name, arch, err)
	}
	if cubin, err = os.ReadFile(out); err != nil {
		return nil, nil, err
	}
	barriers, err := barriersOf(cubin)
	if err != nil {
		return nil, nil, fmt.Errorf("the machine code of %s for %s: %w", name, arch, err)
	}
	for i := range functions {
		functions[i].Barriers = barriers[functions[i].Function]
	}
	return functions, cubin, nil
}

var (
	reportEntry  = regexp.MustCompile(`Compiling entry function '([^']+)' for '`)
	reportName   = regexp.MustCompile(`Function properties for (\S+)`)
	reportMemory = regexp.MustCompile(`^\s+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	reportUsed   = regexp.MustCompile(`Used (\d+) registers`)
	reportShared = regexp.MustCompile(`(\d+) bytes smem`)
)

// parseReport reads what ptxas -v says: for each kernel a line "Compiling entry function", then for it and for each
// function that it calls a line with the name, one with the memory, and for the kernel one with the registers.
func parseReport(report string) ([]Resources, error) {
	var list []Resources
	at := map[string]int{}
	place := func(name string) int {
		i, ok := at[name]
		if !ok {
			i = len(list)
			at[name] = i
			list = append(list, Resources{Function: name})
		}
		return i
	}
	current := -1
	for line := range strings.Lines(report) {
		var numbers []string
		switch {
		case reportEntry.MatchString(line):
			current = place(reportEntry.FindStringSubmatch(line)[1])
			list[current].Entry = true
		case reportName.MatchString(line):
			current = place(reportName.FindStringSubmatch(line)[1])
		case reportMemory.MatchString(line):
			numbers = reportMemory.FindStringSubmatch(line)[1:]
			if current < 0 {
				return nil, fmt.Errorf("a line about no function: %q", line)
			}
			f := &list[current]
			for i, to := range []*int{&f.Stack, &f.Stores, &f.Loads} {
				n, err := strconv.Atoi(numbers[i])
				if err != nil {
					return nil, fmt.Errorf("%q: %w", line, err)
				}
				*to = max(*to, n)
			}
		case reportUsed.MatchString(line):
			if current < 0 {
				return nil, fmt.Errorf("a line about no function: %q", line)
			}
			f := &list[current]
			for _, p := range []struct {
				re *regexp.Regexp
				to *int
			}{{reportUsed, &f.Registers}, {reportShared, &f.Shared}} {
				if m := p.re.FindStringSubmatch(line); m != nil {
					n, err := strconv.Atoi(m[1])
					if err != nil {
						return nil, fmt.Errorf("%q: %w", line, err)
					}
					*p.to = n
				}
			}
		}
	}
	for _, f := range list {
		if f.Entry && f.Registers == 0 {
			return nil, fmt.Errorf("it does not say how many registers %s takes:\n%s", f.Function, report)
		}
	}
	return list, nil
}

// barriersOf returns the number of named barriers of each kernel: the report of this release does not give it, the flags
// of the kernel's section do (bits 20 to 26). A cubin is an ELF file of 64 bits, but its version is that of the toolkit,
// which debug/elf refuses.
func barriersOf(cubin []byte) (map[string]int, error) {
	const headerSize, sectionSize = 64, 64
	if len(cubin) < headerSize || string(cubin[:5]) != "\x7fELF\x02" {
		return nil, fmt.Errorf("it is no ELF file of 64 bits (%d bytes)", len(cubin))
	}
	little := binary.LittleEndian
	// part returns bytes of the file, nil where it ends before.
	part := func(from, n uint64) []byte {
		if size := uint64(len(cubin)); from > size || n > size-from {
			return nil
		}
		return cubin[from : from+n]
	}
	number, named := uint64(little.Uint16(cubin[60:])), uint64(little.Uint16(cubin[62:]))
	sections := part(little.Uint64(cubin[40:]), number*sectionSize)
	if sections == nil || named >= number {
		return nil, fmt.Errorf("it ends before its %d sections", number)
	}
	of := func(i uint64) []byte { return sections[i*sectionSize:][:sectionSize] }
	names := part(little.Uint64(of(named)[24:]), little.Uint64(of(named)[32:]))
	barriers := map[string]int{}
	for i := range number {
		at := uint64(little.Uint32(of(i)))
		if at >= uint64(len(names)) {
			return nil, fmt.Errorf("the name of section %d is outside of it", i)
		}
		name, _, _ := bytes.Cut(names[at:], []byte{0})
		if kernel, ok := strings.CutPrefix(string(name), ".text."); ok {
			barriers[kernel] = int(little.Uint64(of(i)[8:])>>20) & 0x7f
		}
	}
	return barriers, nil
}
