package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secencoder/secencoder/internal/progress"
)

// KernelTime is what the calls of one kernel took in all measured steps.
type KernelTime struct {
	Name    string  `json:"name"`
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"` // of the seconds of all kernels
}

// kernelTimes adds up time by name.
type kernelTimes map[string]*KernelTime

func (k kernelTimes) add(name string, elapsed time.Duration) {
	one := k[name]
	if one == nil {
		one = &KernelTime{Name: name}
		k[name] = one
	}
	one.Calls++
	one.Seconds += elapsed.Seconds()
}

// list returns all kernels, the longest first.
func (k kernelTimes) list() []KernelTime {
	var list []KernelTime
	var sum float64
	for _, one := range k {
		list = append(list, *one)
		sum += one.Seconds
	}
	for i := range list {
		list[i].Share = list[i].Seconds / sum
	}
	slices.SortFunc(list, func(a, b KernelTime) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Name, b.Name))
	})
	return list
}

// journey shows how far a long step is: which kernel call of how many runs, and for how long already. Calls differ in
// length by orders of magnitude, so the time left follows from their operations: work done so far, at the speed so far.
type journey struct {
	mu     sync.Mutex
	report func(done, total int64, note string)
	calls  []string
	work   []float64 // of each call
	total  float64
	at     int     // call in progress
	done   float64 // work of the calls before it
	begun  time.Time
	since  time.Time // of the call in progress
	stop   chan struct{}
	once   sync.Once
	ended  sync.WaitGroup
}

// reportEvery is how often a journey says where it is; a test shortens it.
var reportEvery = time.Second

// begin reports until end is called. work estimates the operations of a call.
func begin(report func(done, total int64, note string), calls []string, work func(name string) float64) *journey {
	j := &journey{report: report, calls: calls, begun: time.Now(), stop: make(chan struct{})}
	j.since = j.begun
	for _, name := range calls {
		j.work = append(j.work, work(name))
		j.total += j.work[len(j.work)-1]
	}
	if report == nil || j.total == 0 {
		return j
	}
	report(j.state(j.begun))
	j.ended.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-j.stop:
				return
			case now := <-tick.C:
				j.report(j.state(now))
			}
		}
	})
	return j
}

// state returns the progress in thousandths of the work and what is running.
func (j *journey) state(now time.Time) (done, total int64, note string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	work := j.done
	if j.at == len(j.calls) {
		return int64(1e6 * work / j.total), 1e6, "update"
	}
	in := now.Sub(j.since)
	if before := j.since.Sub(j.begun).Seconds(); before > 0 { // at the speed so far, but never finished
		work += min(0.95*j.work[j.at], in.Seconds()*j.done/before)
	}
	note = fmt.Sprintf("%s, call %d of %d", j.calls[j.at], j.at+1, len(j.calls))
	if in > 2*time.Second {
		note += ", for " + progress.Duration(in)
	}
	return int64(1e6 * work / j.total), 1e6, note
}

// next says that a call has ended.
func (j *journey) next() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.at < len(j.calls) {
		j.done += j.work[j.at]
		j.at++
		j.since = time.Now()
	}
}

// end stops the reports; a second call does nothing.
func (j *journey) end() {
	j.once.Do(func() { close(j.stop) })
	j.ended.Wait()
}
