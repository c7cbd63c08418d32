package synth

import (
	"bufio"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/secencoder/secencoder/internal/atomicfile"
)

// generate makes all windows on several threads and gives them to sink in their order. At most 2·threads are in memory.
func generate(ctx context.Context, p *plan, threads int, sink func(*window) error) error {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type job struct {
		w    *window
		done chan struct{}
	}
	todo, order := make(chan job), make(chan job, 2*threads)
	pool := sync.Pool{New: func() any { return new(window) }}
	var wg sync.WaitGroup
	for range threads {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range todo {
				j.w.make()
				close(j.done)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(todo)
		for n := range p.windows {
			w := pool.Get().(*window)
			buf, lines := w.buf[:0], w.lines[:0]
			*w = *p.window(n)
			w.buf, w.lines = buf, lines
			j := job{w, make(chan struct{})}
			select {
			case order <- j:
			case <-ctx.Done():
				return
			}
			todo <- j
		}
	}()
	var err error
	for j := range order {
		<-j.done
		if err == nil {
			if err = ctx.Err(); err == nil {
				err = sink(j.w)
			}
			if err != nil {
				cancel()
			}
		}
		pool.Put(j.w)
	}
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// merger writes windows into the files: lines in the order of their arrival, those that arrive after their window's end
// with the later windows.
type merger struct {
	p     *plan
	files [nKinds]output
	late  []lateLine // by arrival
	spare []lateLine
	bytes int64
	label []byte
}

type lateLine struct {
	line
	text []byte
}

type output struct {
	log, labels   *bufio.Writer
	logF, labelsF *os.File
	report        KindReport
}

func newMerger(p *plan, out *atomicfile.Dir) (*merger, error) {
	m := &merger{p: p}
	for k := range m.files {
		if !p.enabled[k] {
			continue
		}
		f := &m.files[k]
		name := kinds[k].name + ".jsonl"
		f.report = KindReport{Kind: kinds[k].name, Log: "logs/" + kinds[k].file, Labels: "labels/" + name}
		var err error
		if f.logF, err = os.Create(out.Path("logs", kinds[k].file)); err == nil {
			f.labelsF, err = os.Create(out.Path("labels", name))
		}
		if err != nil {
			return nil, errors.Join(err, m.close(false))
		}
		f.log, f.labels = bufio.NewWriterSize(f.logF, 1<<18), bufio.NewWriterSize(f.labelsF, 1<<16)
	}
	return m, nil
}

// add writes what has arrived before the window's end; w must be sorted. After the last window nothing is held back.
func (m *merger) add(w *window) error {
	end := w.to
	if w.number == m.p.windows-1 {
		end = 1 << 62
	}
	late := m.late
	i := 0
	for _, l := range w.lines {
		if l.arrival >= end {
			break
		}
		for len(late) > 0 && late[0].arrival <= l.arrival {
			if err := m.write(&late[0].line, late[0].text); err != nil {
				return err
			}
			late = late[1:]
		}
		if err := m.write(&l, w.buf[l.off:l.end]); err != nil {
			return err
		}
		i++
	}
	for len(late) > 0 && late[0].arrival < end {
		if err := m.write(&late[0].line, late[0].text); err != nil {
			return err
		}
		late = late[1:]
	}
	// What is left of both is sorted: merge it.
	next := m.spare[:0]
	for _, l := range w.lines[i:] {
		for len(late) > 0 && late[0].arrival <= l.arrival {
			next = append(next, late[0])
			late = late[1:]
		}
		next = append(next, lateLine{l, append([]byte(nil), w.buf[l.off:l.end]...)})
	}
	next = append(next, late...)
	m.late, m.spare = next, m.late[:0]
	return nil
}

// write writes a line and, when it has one, its label.
func (m *merger) write(l *line, text []byte) error {
	f := &m.files[l.kind]
	if _, err := f.log.Write(text); err != nil {
		return err
	}
	if err := f.log.WriteByte('\n'); err != nil {
		return err
	}
	f.report.Lines++
	f.report.Bytes += int64(len(text)) + 1
	m.bytes += int64(len(text)) + 1
	if l.label == 0 {
		return nil
	}
	if m.p.campaigns[l.label>>8-1].scenario.attack {
		f.report.Attack++
	} else {
		f.report.Benign++
	}
	m.label = m.p.appendLabel(m.label[:0], f.report.Lines, l.label)
	_, err := f.labels.Write(m.label)
	return err
}

// close closes the files; flush writes out what is buffered first. It returns the first error.
func (m *merger) close(flush bool) (err error) {
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	for k := range m.files {
		f := &m.files[k]
		if flush && f.log != nil {
			keep(f.log.Flush())
			keep(f.labels.Flush())
		}
		for _, file := range []*os.File{f.logF, f.labelsF} {
			if file != nil {
				keep(file.Close())
			}
		}
	}
	return err
}
