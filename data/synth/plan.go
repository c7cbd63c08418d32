package synth

import (
	"math"
	"runtime"
	"sync"
)

// plan is all that is decided before the first line: the company, the time, the rate, and the campaigns.
type plan struct {
	tenant     *tenant
	enabled    [nKinds]bool
	start, end int64
	days       int
	step       int64 // length of a window
	windows    int
	cronPeriod int64   // between two runs of a machine's job
	rate       float64 // of everything that happens by chance; 1 is a few actions per user and hour
	intensity  float64 // of campaigns: 1, less in small sets
	campaigns  []campaign
}

// referenceBytes is the size for which the company's numbers were chosen: 60 users for 12 MB a week.
const referenceBytes = 12e6

// newPlan fits a company to the wanted size: users, hosts, jobs and campaigns grow with the square root of the bytes, so
// a large set has both more people and busier ones. The rate comes from a rehearsal.
func newPlan(o Options, enabled [nKinds]bool) *plan {
	scale := math.Sqrt(float64(o.Bytes) / referenceBytes)
	users := min(4000, int(60*scale))
	if scale < 1 { // below, what is fixed for each user would be too much
		users = max(10, int(60*scale*scale))
	}
	p := &plan{tenant: newTenant(o.Seed, users), enabled: enabled, start: o.Start.UnixMicro(), days: o.Days}
	p.intensity = min(1, max(0.2, scale*scale))
	p.end = p.start + int64(o.Days)*day
	p.cronPeriod = cronPeriod(scale)
	p.campaigns = newCampaigns(p, min(50, max(1, int(math.Round(scale)))))

	// Bytes at a rate are fixed + rate·slope; campaigns come on top.
	p.step, p.windows = hour, o.Days*24
	fixed := p.rehearse(0, o.Threads)
	slope := p.rehearse(0.25, o.Threads) - fixed
	want := float64(o.Bytes) - fixed - p.campaignBytes()
	if slope > 0 {
		p.rate = max(0.02, want/(slope/0.25))
	}

	// Windows of at most an hour and of about 2 MB.
	for p.step > second && float64(o.Bytes)*float64(p.step)/float64(p.end-p.start) > 2e6 && p.step%2 == 0 {
		p.step /= 2
	}
	p.windows = int((p.end - p.start + p.step - 1) / p.step)
	return p
}

// cronPeriod is the divisor of an hour that is closest to perHour runs an hour; six hours for few.
func cronPeriod(perHour float64) int64 {
	if perHour < 0.6 {
		return 6 * hour
	}
	best := int64(1)
	for _, n := range []int64{1, 2, 3, 4, 6, 12, 30, 60} {
		if math.Abs(math.Log(float64(n)/perHour)) < math.Abs(math.Log(float64(best)/perHour)) {
			best = n
		}
	}
	return hour / best
}

// rehearse estimates the bytes of the whole time at a rate, without campaigns, from every hour of the first week.
func (p *plan) rehearse(rate float64, threads int) float64 {
	p.rate = rate
	days := min(7, p.days)
	sizes := make([]float64, days*24)
	parallel(threads, len(sizes), func(n int) {
		w := p.window(n)
		w.draw()
		w.office()
		w.machines()
		w.internet()
		sizes[n] = w.size()
	})
	var total float64
	for _, s := range sizes {
		total += s
	}
	return total * float64(p.days) / float64(days)
}

// campaignBytes is the size of all campaigns.
func (p *plan) campaignBytes() float64 {
	w := &window{p: p, from: math.MinInt64 / 2, to: math.MaxInt64 / 2}
	w.draw()
	var total float64
	for i := range p.campaigns {
		w.buf, w.lines = w.buf[:0], w.lines[:0]
		w.campaign(i)
		total += w.size()
	}
	return total
}

// size is the number of bytes of the window's lines, with their line feeds.
func (w *window) size() float64 {
	n := 0
	for _, l := range w.lines {
		n += l.end - l.off + 1
	}
	return float64(n)
}

func (p *plan) window(n int) *window {
	from := p.start + int64(n)*p.step
	return &window{p: p, number: n, from: from, to: min(p.end, from+p.step)}
}

// parallel calls f(0) … f(n−1) from several goroutines.
func parallel(threads, n int, f func(int)) {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(threads, n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				f(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
