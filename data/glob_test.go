package data

import "testing"

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		anchored      bool
		want          bool
	}{
		{"labelled/", "labelled/a/b.log", false, true},
		{"labelled", "x/labelled/b.log", false, true},
		{"labelled", "x/labelled/b.log", true, false},
		{"labelled", "labelled2/b.log", false, false},
		{"*.csv", "a/b/c.csv", false, true},
		{"*.csv", "a/b/c.csv.zst", false, true},
		{"*.csv", "a/b/c.csv.gz.zst", false, true},
		{"*.zst", "a/b/c.csv.zst", false, true},
		{"*.csv", "a/b/c.csv.bak", false, false},
		{"loghub/**/*.csv", "loghub/HDFS/x.csv.zst", false, true},
		{"loghub/**/*.csv", "loghub/x.csv", false, true},
		{"loghub/**/*.csv", "loghub/a/b/c/x.csv", false, true},
		{"loghub/**/*.csv", "other/loghub/x.csv", false, false},
		{"loghub/{HDFS,BGL}", "loghub/BGL/x", false, true},
		{"loghub/{HDFS,BGL}", "loghub/BGL2/x", false, false},
		{"{a,b{c,d}}/x", "bd/x", false, true},
		{"a/**", "a/b/c", false, true},
		{"a/**", "b/c", false, false},
		{"**/x", "x", false, true},
		{"a?c", "abc", false, true},
		{"a?c", "a/c", false, false},
		{"[a-c]/x", "b/x", false, true},
		{"/k8s", "k8s/a", true, true},
		{".gz", ".gz", false, true},
	} {
		g, err := CompileGlob(c.pattern, c.anchored)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Match(c.path); got != c.want {
			t.Errorf("%q on %q (anchored %v): got %v, want %v", c.pattern, c.path, c.anchored, got, c.want)
		}
	}
	for _, bad := range []string{"", "/", "[a", "{a", "a}", "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"} {
		if _, err := CompileGlob(bad, false); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("loghub/{a,b}/**/*.csv", "loghub/a/x/y.csv")
	f.Add("**/**/**/*a*a*a", "a/a/a/a/a/b")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		g, err := CompileGlob(pattern, false)
		if err == nil {
			g.Match(path)
		}
	})
}
