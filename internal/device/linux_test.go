package device

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

const meminfo = "MemTotal:       24000000 kB\nMemFree:          100 kB\nMemAvailable:    1000000 kB\n"

func TestLinuxMemory(t *testing.T) {
	const all = 1_000_000 << 10
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, all},
		{"version 2 without a limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.stat": "x 1\n",
		}, all},
		{"version 2", map[string]string{
			"proc/self/cgroup":             "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "5\n",
			"sys/fs/cgroup/a/memory.max": "500000000\n", "sys/fs/cgroup/a/memory.current": "200000000\n",
			"sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file_x 9\ninactive_file 50000000\n",
		}, 350_000_000},
		{"limit alone", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "123456789\n",
		}, 123_456_789},
		{"used up", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "100\n", "sys/fs/cgroup/memory.current": "200\n",
		}, 0},
		{"limit above what there is", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "9000000000000\n", "sys/fs/cgroup/memory.current": "1\n",
		}, all},
		{"version 1, group of another name space", map[string]string{
			"proc/self/cgroup":                           "12:cpu,cpuacct:/x\n11:memory:/docker/0123\n0::/y\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "300000000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000\n",
			"sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1000000\n",
		}, 201_000_000},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup":                           "11:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, all},
		{"nonsense in the files", map[string]string{
			"proc/self/cgroup": "nonsense\n0:\n0::../../..\n", "sys/fs/cgroup/memory.max": "-5\n",
		}, all},
	} {
		files := map[string]string{"proc/meminfo": meminfo}
		for k, v := range c.files {
			files[k] = v
		}
		got, err := linuxMemory(tree(files))
		if err != nil || got != c.want {
			t.Errorf("%s: got %d, %v, want %d", c.name, got, err, c.want)
		}
	}
	for _, text := range []string{"", "MemTotal: 5 kB\n", "MemAvailable: many kB\n", "MemAvailable: 5\n", "MemAvailable: 99999999999999999 kB\n"} {
		if got, err := linuxMemory(tree(map[string]string{"proc/meminfo": text})); err == nil {
			t.Errorf("meminfo %q gives %d", text, got)
		}
	}
}

func TestLinuxProcessor(t *testing.T) {
	got := linuxProcessor(tree(map[string]string{"proc/cpuinfo": "processor\t: 0\nmodel\t\t: 2\nmodel name\t: A B 9000\n"}))
	if got != "A B 9000" {
		t.Errorf("got %q", got)
	}
	if got := linuxProcessor(tree(nil)); got != "" {
		t.Errorf("without /proc: %q", got)
	}
}

func TestAvailableMemory(t *testing.T) {
	n, err := AvailableMemory()
	if runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		if err != nil || n < 1<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
	} else if err == nil || !strings.HasPrefix(err.Error(), "available memory: ") {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Whatever the files hold, the answer is an error or a number that is not negative.
func FuzzLinuxMemory(f *testing.F) {
	f.Add(meminfo, "0::/a/b\n", "max\n", "5\n", "inactive_file 3\n")
	f.Add(meminfo, "11:memory:/\n", "9223372036854771712\n", "-1\n", "")
	f.Add("MemAvailable: 1 kB\n", ":::\n0::\x00\n", "100", "9223372036854775807", "inactive_file 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, meminfo, groups, limit, use, stat string) {
		n, err := linuxMemory(tree(map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": groups,
			"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": use, "sys/fs/cgroup/memory.stat": stat,
		}))
		if err == nil && n < 0 {
			t.Errorf("%d bytes are available", n)
		}
	})
}

func TestLinuxCores(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	siblings := func(cpu int) string {
		return fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu)
	}
	root := fstest.MapFS{
		"proc/self/status": file("Name:\tx\nCpus_allowed_list:\t0-3,6\n"),
		siblings(0):        file("0,4\n"), siblings(1): file("1,5\n"), siblings(2): file("2,6\n"), siblings(3): file("3,7\n"), siblings(6): file("2,6\n"),
	}
	if got := linuxCores(root); got != 4 {
		t.Errorf("%d cores, want 4: processors 2 and 6 are one", got)
	}
	delete(root, siblings(3))
	if got := linuxCores(root); got != 0 {
		t.Errorf("%d cores where one processor is not described, want 0", got)
	}
	for _, list := range []string{"", "x", "3-1", "0-x", "-1"} {
		root["proc/self/status"] = file("Cpus_allowed_list:\t" + list + "\n")
		if got := linuxCores(root); got != 0 {
			t.Errorf("%d cores of the list %q, want 0", got, list)
		}
	}
	if n := DefaultThreads(); n < 1 || n > runtime.GOMAXPROCS(0) {
		t.Errorf("%d threads by default", n)
	}
}
