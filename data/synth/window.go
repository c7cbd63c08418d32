package synth

import (
	"cmp"
	"slices"
)

// kind is the number of a log kind; kinds in synth.go has their names.
type kind uint8

const (
	kAuth kind = iota
	kAuditd
	kWindows
	kCloudTrail
	kEntra
	kNginx
	kIptables
	kVPCFlow
	kVPN
	nKinds
)

// line is one rendered line: bytes [off, end) of the window's buffer.
type line struct {
	arrival  int64 // when the collector wrote it down; files are in this order
	off, end int
	kind     kind
	label    uint32 // campaign and phase, 0 for none; see campaign.go
}

// window is a slice of the generated time. It is made by one goroutine, from nothing but the plan and its own number;
// lines that arrive after its end are merged into later windows by the writer.
type window struct {
	p        *plan
	number   int
	from, to int64

	// What happens is drawn from r, how a line looks in detail (serial numbers, lengths, alternatives) from ink. A campaign
	// is walked in every window that it touches and must take the same course each time, while ink is drawn only for
	// lines that are wanted.
	r   *random
	ink random
	v   vars

	label uint32
	// inside, when set, drops lines whose time is outside of [from, to): campaigns are walked whole in each window that
	// they touch, and each of their lines comes from the window that holds its time.
	inside bool

	buf      []byte
	lines    []line
	delivery random
	start    int   // of the current line in buf
	at       int64 // time of the current line
	current  kind
}

// usualDelay is the longest usual time, in seconds, between an event and its arrival in the file.
var usualDelay = [nKinds]float64{
	kAuth: 0.2, kAuditd: 0.01, kWindows: 0.8, kCloudTrail: 90, kEntra: 40, kNginx: 0.05, kIptables: 0.1, kVPCFlow: 20, kVPN: 0.1,
}

// redelivery is the share of lines that a shipper sends twice because it missed the receipt: exact duplicates.
var redelivery = [nKinds]float64{
	kAuth: 0.02, kAuditd: 0, kWindows: 0.012, kCloudTrail: 0.02, kEntra: 0.015, kNginx: 0.02, kIptables: 0.03, kVPCFlow: 0.03, kVPN: 0.02,
}

// begin starts a line of a kind at time t and tells whether it is wanted; b is where to append. Each begin that gives
// true is followed by one finish.
func (w *window) begin(k kind, t int64) (b []byte, ok bool) {
	if !w.p.enabled[k] || w.inside && (t < w.from || t >= w.to) {
		return nil, false
	}
	w.start, w.at, w.current = len(w.buf), t, k
	return w.buf, true
}

// finish ends the line that begin started.
func (w *window) finish(b []byte) { w.finishGroup(b, w.delivery.micros(0, usualDelay[w.current])) }

// finishGroup ends a line with a given delay: lines of one event share it, so that they stay together.
func (w *window) finishGroup(b []byte, delay int64) {
	w.buf = b
	l := line{arrival: w.at + delay, off: w.start, end: len(b), kind: w.current, label: w.label}
	w.lines = append(w.lines, l)
	if p := redelivery[w.current]; p > 0 && w.delivery.chance(p) {
		l.arrival += w.delivery.micros(0.1, 8)
		w.lines = append(w.lines, l)
	}
}

// sort brings the lines into the order of arrival; lines that arrive together keep the order in which they were made.
func (w *window) sort() {
	slices.SortStableFunc(w.lines, func(a, b line) int { return cmp.Compare(a.arrival, b.arrival) })
}

// make fills the window: first the company's own life, then the machines and the internet, then the campaigns.
func (w *window) make() {
	w.draw()
	w.office()
	w.machines()
	w.internet()
	w.campaigns()
	w.sort()
}

// draw begins the window's own random numbers.
func (w *window) draw() {
	w.delivery = newRandom(w.p.tenant.seed, siteDelivery, 0, w.number)
	w.ink = newRandom(w.p.tenant.seed, siteInk, 0, w.number)
}

// as sets the user and the address of the lines that follow.
func (w *window) as(u *user, ip string) { w.v.u, w.v.ip = u, ip }

// port draws a client port.
func (w *window) port() int { return w.r.between(32768, 60999) }

// daysSinceStart is the time since the start in whole days, for what changes slowly, such as the versions of programs.
func (w *window) daysSinceStart(t int64) int { return int((t - w.p.start) / day) }
