package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
)

// eachLine calls f with every line of r, without its LF, in order. Only LF ends a line; a last line without one counts.
// The slice is f's until it returns.
func eachLine(ctx context.Context, r io.Reader, f func(line []byte) error) error {
	buffered := bufio.NewReaderSize(r, 1<<20)
	var long []byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, err := buffered.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case err != nil && err != io.EOF:
			return err
		case err == io.EOF && len(part) == 0 && len(long) == 0:
			return nil
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line = long
		}
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		}
		if failed := f(line); failed != nil {
			return failed
		}
		long = long[:0]
		if err == io.EOF {
			return nil
		}
	}
}

// interruptible makes a reader whose Read returns when ctx ends, although the Read of in may wait for ever: on a
// terminal, or a pipe in which nothing comes. The waiting goroutine then stays until the program ends.
func interruptible(ctx context.Context, in io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, 1<<18))
		w.CloseWithError(err) // nil gives io.EOF; a pipe's CloseWithError never fails
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return r
}

// mapLines writes to w what each worker's function appends for each line of r, in the order of the lines. newWorker is
// called once per goroutine; its function must append a whole result (line end included) to dst.
func mapLines(ctx context.Context, r io.Reader, w io.Writer, threads int, newWorker func() func(dst, line []byte, number int) ([]byte, error)) error {
	type batch struct {
		text  []byte
		ends  []int
		first int
		out   []byte
		err   error
		done  chan struct{}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, order := make(chan *batch, threads), make(chan *batch, 2*threads)
	var workers sync.WaitGroup
	for range threads {
		workers.Go(func() {
			f := newWorker()
			for b := range work {
				start := 0
				for i, end := range b.ends {
					if b.out, b.err = f(b.out, b.text[start:end], b.first+i); b.err != nil {
						break
					}
					start = end
				}
				close(b.done)
			}
		})
	}
	read := make(chan error, 1)
	go func() {
		defer close(order)
		defer close(work)
		number := 1
		b := &batch{first: number, done: make(chan struct{})}
		send := func() error {
			select {
			case work <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case order <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
			b = &batch{first: number, done: make(chan struct{})}
			return nil
		}
		err := eachLine(ctx, r, func(line []byte) error {
			b.text = append(b.text, line...)
			b.ends = append(b.ends, len(b.text))
			number++
			if len(b.text) >= 1<<18 || len(b.ends) >= 4096 {
				return send()
			}
			return nil
		})
		if err == nil && len(b.ends) > 0 {
			err = send()
		}
		read <- err
	}()
	var failed error
	for b := range order {
		if failed != nil {
			continue
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			failed = ctx.Err()
			continue
		}
		if failed = b.err; failed == nil {
			_, failed = w.Write(b.out)
		}
		if failed != nil {
			cancel()
		}
	}
	workers.Wait()
	if err := <-read; failed == nil {
		failed = err
	}
	return failed
}
