package build

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/units"
)

// TestRealLogs builds from the folder that SECENCODER_LOGS names, with at most SECENCODER_LOGS_BYTES (default 1MB) of
// each source.
func TestRealLogs(t *testing.T) {
	in := os.Getenv("SECENCODER_LOGS")
	if in == "" {
		t.Skip("SECENCODER_LOGS names no folder of real logs")
	}
	o := Options{In: []string{in}, Out: filepath.Join(t.TempDir(), "data"), SourceDepth: 2, MaxSourceBytes: 1e6, Tokenizer: "train:8192"}
	if s := os.Getenv("SECENCODER_LOGS_BYTES"); s != "" {
		var err error
		if o.MaxSourceBytes, err = units.ParseSize(s); err != nil {
			t.Fatal(err)
		}
	}
	start, stage := time.Now(), ""
	o.Progress = func(s string, done, total int64) {
		if s != stage {
			t.Logf("%6.1f s: %s", time.Since(start).Seconds(), s)
			stage = s
		}
	}
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%6.1f s: done", time.Since(start).Seconds())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%+v", r.Total.Counts)
	t.Logf("%d sources, %d files, %d skipped, %d duplicates, %d moved, formats %v", len(r.Sources), r.Total.Files, r.Total.FilesSkipped,
		r.Total.Duplicates, r.Total.Moved, r.Total.Formats)
	for _, s := range data.Splits() {
		t.Logf("%-5v %+v", s, r.Sets[s.String()])
	}
	for _, n := range r.Skipped {
		t.Logf("skipped %s: %s", n.Path, n.Reason)
	}
	t.Logf("memory from the system: %s", units.FormatSize(int64(m.Sys)))
	if err := shard.Verify(o.Out); err != nil {
		t.Fatal(err)
	}
	var kept int64
	for _, k := range r.Sets {
		kept += k.Records
	}
	if kept+r.Total.Duplicates != r.Total.Records {
		t.Errorf("%d kept + %d duplicates, %d read", kept, r.Total.Duplicates, r.Total.Records)
	}
}
