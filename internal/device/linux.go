package device

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// This file reads what Linux tells in files. It takes the root of the file system, so that any machine can test it.

// linuxMemory returns MemAvailable of /proc/meminfo, or less where a control group around the process leaves less.
func linuxMemory(root fs.FS) (int64, error) {
	data, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	text, ok := field(data, "MemAvailable:")
	kib, found := strings.CutSuffix(text, " kB")
	n, err := strconv.ParseInt(kib, 10, 64)
	if !ok || !found || err != nil || n < 0 || n > 1<<50 {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	available := n << 10
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return available, nil // a kernel without control groups
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch controllers := parts[1]; {
		case controllers == "":
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				available = min(available, groupMemory(root, mount, parts[2], "memory.max", "memory.current", "inactive_file"))
			}
		case strings.Contains(","+controllers+",", ",memory,"):
			available = min(available, groupMemory(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
		}
	}
	return max(0, available), nil
}

// groupMemory returns what the tightest control group from group up to the mount's root leaves: its limit less its use,
// where cache that can be dropped is not use. Groups that cannot be read (another name space) do not count.
func groupMemory(root fs.FS, mount, group, limitFile, useFile, cacheField string) int64 {
	least := int64(1) << 62
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		at := path.Join(mount, dir)
		limit, err := readNumber(root, path.Join(at, limitFile))
		if err == nil && limit < 1<<60 { // beyond: version 1 writes "no limit" as a large number
			left := limit
			if use, err := readNumber(root, path.Join(at, useFile)); err == nil {
				left -= use
				if stat, err := fs.ReadFile(root, path.Join(at, "memory.stat")); err == nil {
					if text, ok := field(stat, cacheField); ok {
						if cache, err := strconv.ParseInt(text, 10, 64); err == nil {
							left += min(cache, use)
						}
					}
				}
			}
			least = min(least, left)
		}
		if dir == "/" {
			return least
		}
	}
}

// readNumber reads a file that holds one number; "max" (no limit) is an error like any other word.
func readNumber(root fs.FS, name string) (int64, error) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s holds no number", name)
	}
	return n, nil
}

// field returns the rest of the first line that begins with the word name, trimmed.
func field(data []byte, name string) (string, bool) {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok && (rest == "" || strings.HasSuffix(name, ":") || rest[0] == ' ' || rest[0] == '\t') {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// linuxProcessor returns the model name of /proc/cpuinfo, or "".
func linuxProcessor(root fs.FS) string {
	data, err := fs.ReadFile(root, "proc/cpuinfo")
	if err != nil {
		return ""
	}
	name, _ := field(data, "model name")
	return strings.TrimSpace(strings.TrimPrefix(name, ":"))
}

// linuxCores returns how many physical cores lie behind the processors that the process may run on: hardware threads of
// one core count once. 0: not known.
func linuxCores(root fs.FS) int {
	status, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return 0
	}
	list, ok := field(status, "Cpus_allowed_list:")
	if !ok {
		return 0
	}
	cores := map[string]bool{}
	for _, cpu := range processors(list) {
		siblings, err := fs.ReadFile(root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		if err != nil {
			return 0
		}
		cores[strings.TrimSpace(string(siblings))] = true
	}
	return len(cores)
}

// processors reads a list such as 0-3,8; nil when it is none.
func processors(list string) []int {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(from)
		b := a
		if ranged && err == nil {
			b, err = strconv.Atoi(to)
		}
		if err != nil || a < 0 || b < a || b > 1<<16 {
			return nil
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus
}
