package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Ctrl-C ends a read that waits: the other end of this pipe never writes.
func TestInterruptible(t *testing.T) {
	idle, other := io.Pipe()
	defer other.Close()
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{ctx: ctx, streams: &streams{in: idle}, global: &global{}}
	in, err := c.input("-")
	if err != nil {
		t.Fatal(err)
	}
	go cancel()
	err = eachLine(ctx, in, func([]byte) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	all, err := io.ReadAll(interruptible(context.Background(), strings.NewReader("text\n")))
	if err != nil || string(all) != "text\n" {
		t.Errorf("got %q, %v", all, err)
	}
}

// Files below --in that cannot be opened can be passed over; the --in itself, and other files, not.
func TestInHint(t *testing.T) {
	for path, want := range map[string]bool{"logs/a/x.log": true, "/var/log/btmp": true, "logs": false, "out/x": false, "logs2/x": false} {
		err := inHint(&fs.PathError{Op: "open", Path: filepath.FromSlash(path), Err: fs.ErrPermission}, []string{"./logs/", "/var/log"})
		if got := strings.Contains(err.Error(), "--keep-going"); got != want {
			t.Errorf("%v: hint %t, want %t", err, got, want)
		}
	}
}

func TestParseIDs(t *testing.T) {
	for text, want := range map[string][]uint32{"[]": {}, " [ 0 , 9 ] \r": {0, 9}, "[7]": {7}} {
		got, err := parseIDs(nil, []byte(text), 10)
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q: got %v, want %v", text, got, want)
			}
		}
	}
	for _, text := range []string{"", "[", "]", "null", "[null]", "[,]", "[1,]", "[1 2]", "[01]", "[+1]", "[-1]", "[1.0]", "[1e0]", "[10]", "[4294967296]", "[[1]]", "{}", "[1] x"} {
		if got, err := parseIDs(nil, []byte(text), 10); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
