package synth

import (
	"fmt"
	"strconv"
)

// A campaign is one instance of a scenario: an attack, or a harmless job that looks like one. Its course is drawn from
// its own stream and walked anew in every window that it touches.
type campaign struct {
	scenario   *scenario
	number     int // of the instance, from 0
	start, end int64
	name       string
	cast       cast
}

type scenario struct {
	name   string
	attack bool
	length int64 // longest time from the first to the last line
	run    func(*window, *campaign)
}

// cast are those who take part; attacks of the same number have the same, so that they make one story.
type cast struct {
	victim  *user
	address string // of the attacker
	town    town
	rds     *host // the Windows host from which the attacker goes on
	insider *user
}

// phase is a part of a scenario: its name, and the ATT&CK technique of attacks.
type phase struct{ name, technique string }

// Phases, by the number that a line's label carries.
const (
	phReconnaissance = iota
	phBruteForce
	phValidAccount
	phCreateAccount
	phRemoteTool
	phCredentials
	phLateral
	phLateralSSH
	phDisableTools
	phClearLogs
	phDeleteBackups
	phEncrypt
	phDiscovery
	phAccessKey
	phCollection
	phExfiltration
	phPasswordChange
	phBackup
	phMaintenance
	phScan
)

var phases = []phase{
	phReconnaissance: {"reconnaissance", "T1595"},
	phBruteForce:     {"initial-access", "T1110"},
	phValidAccount:   {"initial-access", "T1078"},
	phCreateAccount:  {"persistence", "T1136"},
	phRemoteTool:     {"persistence", "T1219"},
	phCredentials:    {"privilege-escalation", "T1003"},
	phLateral:        {"lateral-movement", "T1021.002"},
	phLateralSSH:     {"lateral-movement", "T1021.004"},
	phDisableTools:   {"defense-evasion", "T1562"},
	phClearLogs:      {"defense-evasion", "T1070"},
	phDeleteBackups:  {"impact", "T1490"},
	phEncrypt:        {"impact", "T1486"},
	phDiscovery:      {"discovery", "T1087"},
	phAccessKey:      {"persistence", "T1098"},
	phCollection:     {"collection", "T1039"},
	phExfiltration:   {"exfiltration", "T1567"},
	phPasswordChange: {"password-change", ""},
	phBackup:         {"backup", ""},
	phMaintenance:    {"maintenance", ""},
	phScan:           {"scan", ""},
}

var (
	bruteForce       = &scenario{"brute-force", true, 2 * hour, (*window).bruteForce}
	lateralMovement  = &scenario{"lateral-movement", true, 2 * hour, (*window).lateralMovement}
	logClearing      = &scenario{"log-clearing", true, hour, (*window).logClearing}
	massFileAccess   = &scenario{"mass-file-access", true, hour, (*window).massFileAccess}
	exfiltration     = &scenario{"exfiltration", true, 2 * hour, (*window).exfiltration}
	leaverAtNight    = &scenario{"leaver-at-night", true, 3 * hour, (*window).leaverAtNight}
	passwordRollover = &scenario{"password-rollover", false, 4 * hour, (*window).passwordRollover}
	backupJob        = &scenario{"backup-job", false, hour, (*window).backupJob}
	adminAtNight     = &scenario{"admin-at-night", false, 3 * hour, (*window).adminAtNight}
	vulnerabilityRun = &scenario{"vulnerability-scan", false, hour, (*window).vulnerabilityScan}
)

// newCampaigns places n instances of each scenario: a chain of attacks from the break-in to the cleared logs, a leaver,
// and the look-alikes at times like those of the attacks.
func newCampaigns(p *plan, n int) []campaign {
	t := p.tenant
	var out []campaign
	add := func(s *scenario, i int, at int64, c cast) {
		for at < p.start+10*minute {
			at += day
		}
		at = max(p.start+10*minute, min(at, p.end-s.length-10*minute))
		out = append(out, campaign{scenario: s, number: i, start: at, end: at + s.length, name: fmt.Sprintf("%s-%d", s.name, i+1), cast: c})
	}
	for i := range n {
		r := newRandom(t.seed, siteCampaign, 1_000_000+i, 0)
		c := cast{victim: t.admins[r.n(len(t.admins))], address: hostileAddress(i), town: farCities[r.n(len(farCities))], rds: t.members[3]}
		for c.insider == nil || c.insider.dept == "IT" || c.insider == c.victim {
			c.insider = t.users[r.n(len(t.users))]
		}
		// night is a time between two local hours of a day, counted from midnight.
		night := func(d int, lo, hi float64) int64 {
			return floorDiv(p.start, day)*day + int64(d)*day + r.micros(lo*3600, hi*3600) - hour
		}
		weekday := func(d int) int {
			for localTime(p.start+int64(d)*day+day/2, hour).weekend() && d > 0 {
				d--
			}
			return d
		}
		first := r.n(max(1, p.days-3)) // day of the break-in
		add(bruteForce, i, night(first, 1, 4.5), c)
		add(lateralMovement, i, night(first+1, 0.5, 4), c)
		add(exfiltration, i, night(first+2, 0, 3), c)
		last := night(first+2, 3.2, 4.5)
		add(massFileAccess, i, last, c)
		add(logClearing, i, last+5*minute+r.micros(0, 300), c)
		add(leaverAtNight, i, night(r.n(max(1, p.days-1)), 23, 25.5), c)
		add(passwordRollover, i, night(weekday(r.n(p.days)), 7.3, 8), c)
		add(backupJob, i, night(r.n(p.days), 1, 3.5), c)
		add(adminAtNight, i, night(r.n(max(1, p.days-1)), 22, 25), c)
		add(vulnerabilityRun, i, night(weekday(r.n(p.days)), 11, 16), c)
	}
	return out
}

// campaigns makes the lines of campaigns that fall into the window.
func (w *window) campaigns() {
	w.inside = true
	for i := range w.p.campaigns {
		// Some lines are dated a little before the start or after the end of a step, such as the flow of a connection.
		if c := &w.p.campaigns[i]; c.start-hour < w.to && c.end+hour > w.from {
			w.campaign(i)
		}
	}
	w.inside = false
}

// campaign walks through one campaign.
func (w *window) campaign(i int) {
	r := newRandom(w.p.tenant.seed, siteCampaign, i, 0)
	w.r = &r
	w.v = vars{}
	c := &w.p.campaigns[i]
	w.label = uint32(i+1) << 8
	c.scenario.run(w, c)
	w.label = 0
}

// phase labels the lines that follow.
func (w *window) phase(n int) { w.label = w.label&^0xff | uint32(n) }

// appendLabel appends the line of the label file for line number n of a log file.
func (p *plan) appendLabel(b []byte, n int64, label uint32) []byte {
	c, ph := &p.campaigns[label>>8-1], &phases[label&0xff]
	kind := "benign"
	if c.scenario.attack {
		kind = "attack"
	}
	b = append(b, `{"line":`...)
	b = strconv.AppendInt(b, n, 10)
	b = append(append(b, `,"label":"`...), kind...)
	b = append(append(b, `","scenario":"`...), c.scenario.name...)
	b = append(append(b, `","phase":"`...), ph.name...)
	b = append(append(b, `","technique":"`...), ph.technique...)
	b = append(append(b, `","campaign":"`...), c.name...)
	return append(b, "\"}\n"...)
}

// some draws a count in [lo, hi] and scales it to the size of the set; at least 2.
func (w *window) some(lo, hi int) int {
	return max(2, int(float64(w.r.between(lo, hi))*w.p.intensity))
}
