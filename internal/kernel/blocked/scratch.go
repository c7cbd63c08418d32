package blocked

import "unsafe"

// Scratch grows when a part needs more than its worker has, and which worker makes which part is chance. So whatever one
// worker has got by the end of a call, all get: a call of sizes that were seen takes no memory, whoever makes its parts, and
// how much there is follows from the calls alone.

// buffers lists the scratch of a worker.
type buffers struct {
	floats []*[]float32
	pages  []*pages
	bytes  *[]byte
	ints   *[]int32
	words  *[]uint64
}

// buffers returns pointers into w.
func (w *worker) buffers() buffers {
	a := &w.att
	b := buffers{
		floats: []*[]float32{
			&w.x, &a.qa, &a.qc, &a.oa, &a.oc, &a.kb, &a.ka, &a.kc, &a.vb, &a.s, &a.dp, &a.tq, &a.tk, &a.hk, &a.tqs, &a.pack,
			&a.o, &a.dq, &a.dk, &a.dv, &a.m, &a.l, &a.alpha, &a.sub, &a.row,
		},
		pages: []*pages{&w.a, &w.b, &w.c, &w.z, &w.mlm},
		bytes: &w.keep, ints: &w.own, words: &a.keep,
	}
	for _, pair := range []*[2][]float32{&a.farQuery, &a.farKey, &a.sumQuery, &a.sumKey, &a.sums, &a.wide} {
		b.floats = append(b.floats, &pair[0], &pair[1])
	}
	return b
}

// size returns the bytes of a worker's scratch.
func (b *buffers) size() int {
	n := cap(*b.bytes) + 4*cap(*b.ints) + 8*cap(*b.words)
	for _, f := range b.floats {
		n += 4 * cap(*f)
	}
	for _, p := range b.pages {
		n += 4 * cap(p.f)
	}
	return n
}

// level gives every worker as much scratch as any has, when a call has made one grow.
func (k *Kernels) level() {
	total := 0
	for i := range k.scratch {
		total += k.scratch[i].size()
	}
	if total == k.scratchBytes || len(k.scratch) == 1 {
		k.scratchBytes = total
		return
	}
	first := &k.scratch[0]
	for turn := range 2 { // the first gets the most of all, then the others what it has
		for i := range k.scratch[1:] {
			from, to := &k.scratch[1+i], first
			if turn == 1 {
				from, to = to, from
			}
			to.raise(k.mapped, from)
		}
	}
	k.scratchBytes = len(k.scratch) * first.size()
}

// raise makes every buffer at least as large as the other's.
func (b *buffers) raise(m *mapped, other *buffers) {
	for i, f := range b.floats {
		raise(f, cap(*other.floats[i]))
	}
	for i, p := range b.pages {
		p.grow(m, max(cap(p.f), cap(other.pages[i].f)))
	}
	raise(b.bytes, cap(*other.bytes))
	raise(b.ints, cap(*other.ints))
	raise(b.words, cap(*other.words))
}

// raise is grow that leaves a slice as it is where it is large enough.
func raise[T any](s *[]T, n int) {
	if cap(*s) < n {
		*s = make([]T, n)
	}
}

// ScratchBytes returns the memory that the kernels keep between calls: every worker's, and what parts fill together.
func (k *Kernels) ScratchBytes() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &k.s
	return int64(k.scratchBytes + 4*cap(s.b.f) + 4*cap(s.partial) + 8*cap(s.sums) + cap(s.items)*int(unsafe.Sizeof(attentionItem{})) +
		cap(s.tiles)*int(unsafe.Sizeof(keyTile{})) + 4*cap(s.starts) + 2*cap(s.reversed))
}
