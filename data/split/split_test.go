package split

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data"
)

// count returns how many records of each split there are, in all and per source.
func count(sources []Source, l *Labels) (all map[data.Split]int64, per []map[data.Split]int64) {
	all = map[data.Split]int64{}
	for i, s := range sources {
		m := map[data.Split]int64{}
		for f := range s.Files {
			for r := range s.Files[f].Records {
				m[l.Label(i, f, r)]++
			}
		}
		for k, n := range m {
			all[k] += n
		}
		per = append(per, m)
	}
	return all, per
}

func one(name string, records ...int64) Source {
	s := Source{Name: name}
	for i, n := range records {
		s.Files = append(s.Files, File{Rel: fmt.Sprintf("%s/%d", name, i), Records: n})
		s.Bytes += 100 * n
	}
	return s
}

func TestSharesOfALargeSource(t *testing.T) {
	sources := []Source{one("a", 1_000_000, 500_000)}
	all, _ := count(sources, Plan(sources, 0))
	for s, permille := range map[data.Split]int64{data.IDTS: 20, data.Valid: 5, data.Train: 975, data.ODTS: 0} {
		if got, want := all[s], 1_500_000*permille/1000; got < want-256 || got > want+256 {
			t.Errorf("%v: %d records, want %d within a block", s, got, want)
		}
	}
}

func TestLeast(t *testing.T) {
	for _, c := range []struct {
		records int64
		least   int64
	}{{1, 0}, {19, 0}, {20, 1}, {100, 5}, {1000, 50}, {10_240, 512}, {39_999, 1999}, {100_000, 2000}} {
		sources := []Source{one("a", c.records)}
		all, _ := count(sources, Plan(sources, 3))
		for _, s := range []data.Split{data.IDTS, data.Valid} {
			// At most a block over what is needed, or the share of a large source.
			most := max(c.least, c.records/50) + max(1, min(256, c.records/40))
			if all[s] < c.least || all[s] > most {
				t.Errorf("%d records: %d in %v, want %d to %d", c.records, all[s], s, c.least, most)
			}
		}
		if c.records > 2 && all[data.Train] < c.records*85/100 {
			t.Errorf("%d records: %d for training", c.records, all[data.Train])
		}
	}
}

func TestBlocksAreConsecutive(t *testing.T) {
	sources := []Source{one("a", 20_000), one("b", 400)}
	l := Plan(sources, 1)
	for i, size := range []int64{256, 10} {
		for r := range sources[i].Files[0].Records {
			if got, want := l.Label(i, 0, r), l.Label(i, 0, r/size*size); got != want {
				t.Fatalf("source %d record %d: %v in a block of %v", i, r, got, want)
			}
		}
	}
}

// The label of a record does not depend on which other sources there are, once the sets are large enough, nor on the
// order of sources.
func TestPlaceDecides(t *testing.T) {
	a, b := one("a", 300_000), one("b", 300_000)
	l1 := Plan([]Source{a, b}, 5)
	l2 := Plan([]Source{b, one("c", 100_000), a}, 5)
	other := Plan([]Source{a, b}, 6)
	same := true
	for r := range a.Files[0].Records {
		if l1.Label(0, 0, r) != l2.Label(2, 0, r) {
			t.Fatalf("record %d: %v, beside another source %v", r, l1.Label(0, 0, r), l2.Label(2, 0, r))
		}
		same = same && l1.Label(0, 0, r) == other.Label(0, 0, r)
	}
	if same {
		t.Error("another seed gives the same split")
	}
}

func TestAutomaticODTS(t *testing.T) {
	sources := []Source{one("a", 1000), one("b", 1000), one("c", 1000)}
	l := Plan(sources, 0)
	for i := range sources {
		if l.ODTS(i) {
			t.Error("three sources: none is held out")
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for seed := range uint64(50) {
		n := 4 + r.IntN(30)
		sources = sources[:0]
		var all int64
		for i := range n {
			s := one(fmt.Sprint("s", i), int64(1+r.IntN(1000)))
			all += s.Bytes
			sources = append(sources, s)
		}
		l := Plan(sources, seed)
		var sum, largest int64
		held := 0
		for i, s := range sources {
			if l.ODTS(i) {
				held++
				sum += s.Bytes
				largest = max(largest, s.Bytes)
			}
		}
		small := slices.ContainsFunc(sources, func(s Source) bool { return 5*s.Bytes <= all })
		if small != (held > 0) || 5*largest > all || held > 1 && 20*sum >= all {
			t.Fatalf("seed %d: %d of %d sources held out, %d of %d bytes", seed, held, n, sum, all)
		}
	}
}

func TestNamedODTS(t *testing.T) {
	sources := []Source{one("a", 1000), one("b", 1000), one("c", 1000), one("d", 10), one("e", 10)}
	sources[1].ODTS = true
	l := Plan(sources, 0)
	_, per := count(sources, l)
	for i := range sources {
		if l.ODTS(i) != (i == 1) || (per[i][data.ODTS] > 0) != (i == 1) {
			t.Errorf("source %s: held out %v, %v", sources[i].Name, l.ODTS(i), per[i])
		}
	}
}

func TestCarve(t *testing.T) {
	list := func() []data.File {
		var files []data.File
		for _, rel := range []string{"k8s/a", "loghub/Mac/x", "loghub/OpenSSH/x", "loghub/Zoo/x.log.zst", "syslog/plaso/y", "syslog/z"} {
			files = append(files, data.File{Path: "/in/" + rel, Rel: rel, Source: strings.Split(rel, "/")[0]})
		}
		return files
	}
	for _, c := range []struct {
		names []string
		want  string // source of each file, in order
	}{
		{[]string{"k8s"}, "k8s loghub loghub loghub syslog syslog"},
		{[]string{"k8s/"}, "k8s loghub loghub loghub syslog syslog"},
		{[]string{"syslog/plaso"}, "k8s loghub loghub loghub syslog syslog/plaso"},
		{[]string{"syslog/plaso/", "loghub/{Mac,OpenSSH}"}, "k8s loghub loghub/{Mac,OpenSSH} loghub/{Mac,OpenSSH} syslog syslog/plaso"},
		{[]string{"*/*/*.log"}, "*/*/*.log k8s loghub loghub syslog syslog"},
	} {
		files := list()
		odts, err := Carve(files, c.names)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Source)
		}
		if strings.Join(got, " ") != c.want || len(odts) != len(c.names) {
			t.Errorf("%q: got %q, %v; want %q", c.names, got, odts, c.want)
		}
	}
	if _, err := Carve(list(), []string{"loghub/Windows"}); err == nil || !strings.Contains(err.Error(), "k8s, loghub, syslog") {
		t.Errorf("got %v, want the sources", err)
	}
	if _, err := Carve(list(), []string{"a["}); err == nil {
		t.Error("malformed: want an error")
	}
}

func TestNothing(t *testing.T) {
	Plan(nil, 0)
	l := Plan([]Source{{Name: "a"}, {Name: "b", Files: []File{{Rel: "x"}}}}, 0)
	if l.ODTS(0) || l.ODTS(1) {
		t.Error("an empty source was held out")
	}
}
