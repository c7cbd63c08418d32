// Package synth makes security logs: one invented company seen for a week by nine kinds of log, with labelled attacks and
// harmless look-alikes. It is the default corpus of the demonstration and of tests.
//
// Begin with Write. A tenant (users, hosts, addresses) follows from the seed; its life is made window by window of time:
// working days, actions by the habits of departments, jobs of machines, strangers from the internet, campaigns. One
// action is written into every log that would see it, with the same user, address and port.
//
// All random numbers come from a counter (internal/rng), keyed by what draws and in which window, so windows are made by
// any number of threads and the bytes are the same. The rate of events follows from the wanted size; the company grows
// with its square root.
//
// Nothing in it is real: names are made up, domains end in .example, addresses are from RFC 1918, 2544 and 5737. It is no
// benchmark of detection, and no replacement for real logs. docs/formats/synthetic-logs.md describes kinds and scenarios.
package synth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/secencoder/secencoder/internal/atomicfile"
)

var kinds = [nKinds]struct{ name, file string }{
	kAuth:       {"auth", "auth.log"},
	kAuditd:     {"auditd", "auditd.log"},
	kWindows:    {"windows", "windows.jsonl"},
	kCloudTrail: {"cloudtrail", "cloudtrail.jsonl"},
	kEntra:      {"entra", "entra.jsonl"},
	kNginx:      {"nginx", "nginx.log"},
	kIptables:   {"iptables", "iptables.log"},
	kVPCFlow:    {"vpcflow", "vpcflow.log"},
	kVPN:        {"vpn", "vpn.log"},
}

// Kinds returns the names of the log kinds, in a fixed order.
func Kinds() []string {
	names := make([]string, nKinds)
	for k := range kinds {
		names[k] = kinds[k].name
	}
	return names
}

// ODTSKinds returns the two kinds that suit a test set of another distribution: they share people and addresses with the
// rest, but no wording.
func ODTSKinds() []string { return []string{kinds[kEntra].name, kinds[kVPCFlow].name} }

// Options says what Write makes. The zero value of each field but Bytes is its default.
type Options struct {
	Bytes    int64     // wanted size of all logs together; at least MinBytes. Reached within about 5 % above 2 MB
	Kinds    []string  // of Kinds; none means all
	Seed     uint64    // of everything
	Start    time.Time // first moment; zero means Monday 2025-03-03 00:00 UTC. Rounded down to the hour
	Days     int       // generated time; 0 means 7, or 3 when Bytes is below 3 MB; at most 366
	Threads  int       // goroutines that make windows; 0 means all processors. Does not change the bytes
	Progress func(done, total int64)
}

// MinBytes is the smallest size that Write takes. Campaigns and working days alone come to more than half a megabyte with
// all kinds, so sizes below about 1 MB are exceeded.
const MinBytes = 100_000

// smallBytes is the size below which a week would be nothing but logons and logoffs.
const smallBytes = 3_000_000

// ErrUsage says that an option makes no sense; the error names it.
var ErrUsage = errors.New("wrong use")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUsage, fmt.Errorf(format, args...))
}

// Report says what was written.
type Report struct {
	Bytes     int64            `json:"bytes"`
	Lines     int64            `json:"lines"`
	Start     time.Time        `json:"start"`
	End       time.Time        `json:"end"`
	Users     int              `json:"users"`
	Hosts     int              `json:"hosts"`
	Kinds     []KindReport     `json:"kinds"`
	Campaigns []CampaignReport `json:"campaigns"`
}

// KindReport counts one kind.
type KindReport struct {
	Kind   string `json:"kind"`
	Log    string `json:"log"`    // path below the folder, with slashes
	Labels string `json:"labels"` // likewise
	Bytes  int64  `json:"bytes"`
	Lines  int64  `json:"lines"`
	Attack int64  `json:"attack"` // lines labelled attack
	Benign int64  `json:"benign"` // lines labelled benign: look-alikes
}

// CampaignReport describes one instance of a scenario.
type CampaignReport struct {
	Campaign string    `json:"campaign"`
	Scenario string    `json:"scenario"`
	Attack   bool      `json:"attack"`
	Start    time.Time `json:"start"`
}

// Write makes logs in a new folder: dir/logs/KIND.log or .jsonl, and dir/labels/KIND.jsonl. The folder appears whole or
// not at all; what Write returns when it exists already wraps atomicfile.ErrExists, and ErrUsage for options. It stops between windows when ctx
// ends. The same options give the same bytes, whatever Threads is.
func Write(ctx context.Context, dir string, o Options) (Report, error) {
	enabled, err := o.resolve()
	if err != nil {
		return Report{}, err
	}
	out, err := atomicfile.CreateDir(dir)
	if err != nil {
		return Report{}, err
	}
	report, err := write(ctx, out, o, enabled)
	if err != nil {
		if abort := out.Abort(); abort != nil {
			err = fmt.Errorf("%w (and the unfinished folder could not be removed: %w)", err, abort)
		}
		return Report{}, err
	}
	return report, out.Commit()
}

// resolve fills in defaults and checks.
func (o *Options) resolve() (enabled [nKinds]bool, err error) {
	if o.Bytes < MinBytes {
		return enabled, usagef("%d bytes are less than the least, %d", o.Bytes, MinBytes)
	}
	if o.Days == 0 {
		if o.Days = 7; o.Bytes < smallBytes {
			o.Days = 3
		}
	}
	if o.Days < 1 || o.Days > 366 {
		return enabled, usagef("%d days are outside 1 … 366", o.Days)
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2025, 3, 3, 0, 0, 0, 0, time.UTC)
	}
	o.Start = o.Start.UTC().Truncate(time.Hour)
	if y := o.Start.Year(); y < 1971 || y > 2200 {
		return enabled, usagef("start %s is outside the years 1971 … 2200", o.Start.Format(time.DateOnly))
	}
	if len(o.Kinds) == 0 {
		o.Kinds = Kinds()
	}
	for _, name := range o.Kinds {
		k := slices.Index(Kinds(), name)
		if k < 0 {
			return enabled, usagef("unknown kind %q: want one of %s", name, strings.Join(Kinds(), ", "))
		}
		enabled[k] = true
	}
	return enabled, nil
}

func write(ctx context.Context, out *atomicfile.Dir, o Options, enabled [nKinds]bool) (r Report, err error) {
	for _, sub := range []string{"logs", "labels"} {
		if err := os.Mkdir(out.Path(sub), 0o777); err != nil {
			return r, err
		}
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	p := newPlan(o, enabled)
	m, err := newMerger(p, out)
	if err != nil {
		return r, err
	}
	err = generate(ctx, p, o.Threads, func(w *window) error {
		if err := m.add(w); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(m.bytes, o.Bytes)
		}
		return nil
	})
	if closed := m.close(err == nil); err == nil {
		err = closed
	}
	if err != nil {
		return r, err
	}
	r = Report{Start: o.Start, End: time.UnixMicro(p.end).UTC(), Users: len(p.tenant.users), Hosts: p.tenant.hosts}
	for k := range m.files {
		if f := &m.files[k]; enabled[k] {
			r.Kinds = append(r.Kinds, f.report)
			r.Bytes += f.report.Bytes
			r.Lines += f.report.Lines
		}
	}
	for i := range p.campaigns {
		c := &p.campaigns[i]
		r.Campaigns = append(r.Campaigns, CampaignReport{c.name, c.scenario.name, c.scenario.attack, time.UnixMicro(c.start).UTC()})
	}
	return r, nil
}
