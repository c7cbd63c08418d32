package build_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/shard"
)

func Example() {
	dir, err := os.MkdirTemp("", "build")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	var log strings.Builder
	for i := range 200 {
		fmt.Fprintf(&log, "web1 sshd[%d]: session opened for user alice\n", 1000+i/2)
	}
	in := filepath.Join(dir, "auth.log")
	if err := os.WriteFile(in, []byte(log.String()), 0o666); err != nil {
		panic(err)
	}

	report, err := build.Run(context.Background(), build.Options{In: []string{in}, Out: filepath.Join(dir, "data"), Tokenizer: "train:300"})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Total.Records, "records,", report.Total.Duplicates, "duplicates")

	d, err := shard.OpenData(report.Dir)
	if err != nil {
		panic(err)
	}
	defer d.Close()
	tokens, meta, err := d.Sets[data.Train].Document(0, nil)
	if err != nil {
		panic(err)
	}
	fmt.Printf("record %d of %s: %s\n", meta.Record, d.Report.Sources[meta.Source].Name, d.Tokenizer.AppendDecode(nil, tokens))
	// Output:
	// 200 records, 100 duplicates
	// record 0 of auth: web1 sshd[1000]: session opened for user alice
}
