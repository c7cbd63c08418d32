package synth

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hostile matches the addresses that only attackers have.
var hostile = regexp.MustCompile(`\b203\.0\.113\.2(0[5-9]|[1-4][0-9]|5[0-4])\b`)

// Every line with an attacker's address is labelled as an attack, and nothing benign has one.
func TestLabelsPointToTheRightLines(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 8_000_000, Seed: 4})
	scenarios := map[string]map[string]bool{}
	for kind, lines := range c.lines {
		for i, l := range lines {
			label, ok := c.labels[kind][i+1]
			if hostile.MatchString(l) != (label.Label == "attack" && hostile.MatchString(l)) {
				t.Fatalf("%s: line %d has an attacker's address and the label %+v: %s", kind, i+1, label, l)
			}
			if !ok {
				for _, word := range []string{"mimikatz", "vssadmin", "svchelp", "perch", "StopLogging", "comsvcs", `"EventID":1102`, "svc-backup@", "UmbrinScan"} {
					if strings.Contains(l, word) {
						t.Errorf("%s: line %d has %q but no label: %s", kind, i+1, word, l)
					}
				}
				continue
			}
			if label.Label != "attack" && label.Label != "benign" || label.Phase == "" || (label.Technique == "") == (label.Label == "attack") ||
				!strings.HasPrefix(label.Campaign, label.Scenario+"-") {
				t.Fatalf("%s: line %d: label %+v", kind, i+1, label)
			}
			if scenarios[label.Scenario] == nil {
				scenarios[label.Scenario] = map[string]bool{}
			}
			scenarios[label.Scenario][kind] = true
		}
	}
	if len(scenarios) != 10 || len(c.report.Campaigns) < 10 {
		t.Errorf("%d scenarios in the labels, %d campaigns in the report", len(scenarios), len(c.report.Campaigns))
	}
	for scenario, want := range map[string]string{
		"brute-force": "auth auditd windows entra iptables vpcflow vpn", "lateral-movement": "auth auditd windows iptables vpcflow vpn",
		"exfiltration": "cloudtrail entra vpcflow iptables", "log-clearing": "windows auth auditd cloudtrail", "mass-file-access": "windows iptables",
		"leaver-at-night": "vpn windows entra iptables", "password-rollover": "windows entra", "backup-job": "windows cloudtrail vpcflow iptables",
		"admin-at-night": "vpn entra auth auditd windows vpcflow iptables", "vulnerability-scan": "nginx iptables vpcflow auth",
	} {
		for _, kind := range strings.Fields(want) {
			if kind == "vpcflow" && scenario == "admin-at-night" {
				continue // only when a host in the cloud was chosen
			}
			if !scenarios[scenario][kind] {
				t.Errorf("%s does not show in %s", scenario, kind)
			}
		}
	}
}

type event struct {
	EventTime, Hostname, TargetUserName, SubjectUserName, IpAddress, IpPort, ObjectName string
	EventID, LogonType                                                                  int
}

func events(t *testing.T, c *corpus) []event {
	t.Helper()
	var out []event
	for _, l := range c.lines["windows"] {
		var e event
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func when(t *testing.T, e event) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.000", e.EventTime)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The scenarios do what their names say, by the thresholds that analysts use.
func TestScenarios(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 8_000_000, Seed: 6})
	all := events(t, c)
	in := func(scenario string) (out []event) {
		for i, e := range all {
			if c.labels["windows"][i+1].Scenario == scenario {
				out = append(out, e)
			}
		}
		return out
	}
	has := func(es []event, id int) (n int) {
		for _, e := range es {
			n += map[bool]int{true: 1}[e.EventID == id]
		}
		return n
	}
	// A hundred files and more in five seconds, in the attack and in the look-alike.
	for _, scenario := range []string{"mass-file-access", "backup-job"} {
		var times []time.Time
		for _, e := range in(scenario) {
			if e.EventID == 4663 {
				times = append(times, when(t, e))
			}
		}
		most := 0
		for i := range times {
			n := 0
			for _, x := range times {
				if d := x.Sub(times[i]); d >= 0 && d <= 5*time.Second {
					n++
				}
			}
			most = max(most, n)
		}
		if most < 100 {
			t.Errorf("%s: at most %d files in five seconds", scenario, most)
		}
	}
	if cleared := in("log-clearing"); has(cleared, 1102) == 0 || has(cleared, 104) == 0 || has(cleared, 5001) == 0 || has(in("admin-at-night"), 104) == 0 {
		t.Error("logs are not cleared")
	}
	if moved := in("lateral-movement"); has(moved, 7045) == 0 || has(moved, 5140) < 10 || has(moved, 4672) == 0 {
		t.Error("nobody moved")
	}
	if b := in("brute-force"); has(b, 4720) == 0 || has(b, 4732) == 0 || has(b, 4625) < 3 {
		t.Error("brute force leaves no account")
	}

	// Brute force: ten failures a minute and more, over all logs, and then one success from the same address.
	failures := map[int]int{}
	address := ""
	success := 0
	for i, l := range c.lines["auth"] {
		if c.labels["auth"][i+1].Scenario != "brute-force" {
			continue
		}
		if strings.Contains(l, "Failed password") {
			failures[c.minuteOf(l)]++
		}
		if m := regexp.MustCompile(`Accepted password for (\S+) from (\S+) port`).FindStringSubmatch(l); m != nil {
			address, success = m[2], success+1
		}
	}
	for i, l := range c.lines["vpn"] {
		if c.labels["vpn"][i+1].Scenario == "brute-force" && strings.Contains(l, "result=failure") {
			failures[c.minuteOf(l)]++
		}
	}
	for i, l := range c.lines["entra"] {
		if c.labels["entra"][i+1].Scenario == "brute-force" && strings.Contains(l, `"errorCode":5`) {
			at, err := time.Parse(time.RFC3339Nano, l[9:36])
			if err != nil {
				t.Fatal(err)
			}
			failures[at.Hour()*60+at.Minute()]++
		}
	}
	for _, e := range in("brute-force") {
		if at := when(t, e); e.EventID == 4625 {
			failures[at.Hour()*60+at.Minute()]++
		}
	}
	most := 0
	for _, n := range failures {
		most = max(most, n)
	}
	if most < 10 || success != 1 || !hostile.MatchString(address) {
		t.Errorf("at most %d failures a minute, %d successes from %q", most, success, address)
	}
	for _, kind := range []string{"auth", "auditd", "windows", "entra", "iptables", "vpcflow", "vpn"} {
		if !strings.Contains(strings.Join(c.lines[kind], "\n"), address) {
			t.Errorf("the attacker's address %s is not in %s", address, kind)
		}
	}

	// The leaver and the admin come at night, whatever the seed.
	for seed := range uint64(30) {
		o := Options{Bytes: 1_000_000, Seed: seed, Start: c.report.Start.Add(time.Duration(seed%24) * time.Hour)}
		enabled, err := o.resolve()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range newPlan(o, enabled).campaigns {
			at := time.UnixMicro(k.start).UTC().Add(time.Hour)
			if s := k.scenario; (s == leaverAtNight || s == adminAtNight || s == bruteForce) && at.Hour() > 5 && at.Hour() < 21 || k.start < o.Start.UnixMicro() {
				t.Errorf("seed %d: %s starts at %s local time", seed, k.name, at)
			}
		}
	}
}

// minuteOf reads the minute of the day of a syslog line.
func (c *corpus) minuteOf(l string) int {
	h, _ := strconv.Atoi(l[7:9])
	m, _ := strconv.Atoi(l[10:12])
	return h*60 + m
}

// One login is one login: address and port agree between sshd, auditd, firewall and flow records.
func TestKindsAgree(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 8_000_000, Seed: 8})
	flows, packets := map[string]bool{}, map[string]bool{}
	for _, l := range c.lines["vpcflow"] {
		if f := strings.Fields(l); f[3] != "-" {
			flows[f[3]+" "+f[5]+" "+f[4]+" "+f[6]] = true
		}
	}
	packet := regexp.MustCompile(`SRC=(\S+) DST=(\S+) .*SPT=(\d+) DPT=(\d+)`)
	for _, l := range c.lines["iptables"] {
		if m := packet.FindStringSubmatch(l); m != nil {
			packets[m[1]+" "+m[3]+" "+m[2]+" "+m[4]] = true
		}
	}
	audited := map[string]bool{}
	login := regexp.MustCompile(`node=(\S+) type=USER_ACCT .*acct="(\S+)" exe="/usr/sbin/sshd" hostname=(\S+) `)
	for _, l := range c.lines["auditd"] {
		if m := login.FindStringSubmatch(l); m != nil {
			audited[m[1]+" "+m[2]+" "+m[3]] = true
		}
	}
	hostIP := map[string]string{}
	connection := regexp.MustCompile(`^.{15} (\S+) sshd\[\d+\]: Connection from (\S+) port (\d+) on (\S+) port 22`)
	accepted := regexp.MustCompile(`^.{15} (\S+) sshd\[\d+\]: Accepted \S+ for (\S+) from (\S+) port (\d+)`)
	n := 0
	for _, l := range c.lines["auth"] {
		if m := connection.FindStringSubmatch(l); m != nil {
			hostIP[m[1]] = m[4]
		}
		m := accepted.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		n++
		if !audited[m[1]+" "+m[2]+" "+m[3]] {
			t.Errorf("auditd knows no login of %s from %s on %s", m[2], m[3], m[1])
		}
		key := m[3] + " " + m[4] + " " + hostIP[m[1]] + " 22"
		if !packets[key] {
			t.Errorf("the firewall saw no packet %s", key)
		}
		if strings.HasPrefix(hostIP[m[1]], "10.40.") && !flows[key] {
			t.Errorf("there is no flow %s", key)
		}
	}
	if n < 20 {
		t.Fatalf("%d logins by SSH show too little", n)
	}

	// People at home: the VPN's tunnel and the directory's sign-in have one public address, and the pool's address is the
	// one that the domain controller sees.
	tunnels := map[string][2]string{} // user: public, pool
	atHome := map[string]string{}     // user and day of the month: pool
	up := regexp.MustCompile(`event=tunnel-up user="(\S+)" src=(\S+) sport=\d+ pool=(\S+)`)
	for i, l := range c.lines["vpn"] {
		if _, labelled := c.labels["vpn"][i+1]; labelled {
			continue
		}
		if m := up.FindStringSubmatch(l); m != nil {
			tunnels[m[1]] = [2]string{m[2], m[3]}
			atHome[m[1]+" "+strings.TrimSpace(l[4:6])] = m[3]
		}
	}
	signedIn := map[string]bool{}
	for _, l := range c.lines["entra"] {
		var e struct {
			Properties struct{ UserPrincipalName, IPAddress string }
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		signedIn[strings.TrimSuffix(e.Properties.UserPrincipalName, "@umbrin.example")+" "+e.Properties.IPAddress] = true
	}
	atDC := map[string]bool{}
	for _, e := range events(t, c) {
		if e.EventID == 4768 {
			atDC[e.TargetUserName+" "+strings.TrimPrefix(e.IpAddress, "::ffff:")] = true
		}
	}
	remote := 0
	for i, e := range events(t, c) {
		pool, ok := atHome[e.SubjectUserName+" "+strconv.Itoa(when(t, e).Day())]
		if _, labelled := c.labels["windows"][i+1]; !ok || labelled || e.EventID != 5145 && e.EventID != 5140 {
			continue
		}
		remote++
		if e.IpAddress != pool {
			t.Errorf("%s works at home as %s, but the file server sees %s", e.SubjectUserName, pool, e.IpAddress)
		}
	}
	if remote == 0 {
		t.Error("nobody opens a file from home")
	}
	if len(tunnels) < 3 {
		t.Fatalf("%d people worked at home", len(tunnels))
	}
	for user, a := range tunnels {
		if !signedIn[user+" "+a[0]] || !atDC[user+" "+a[1]] {
			t.Errorf("%s has a tunnel from %s to %s: signed in %v, seen by the domain %v", user, a[0], a[1], signedIn[user+" "+a[0]], atDC[user+" "+a[1]])
		}
	}

	// Requests to the portal come over connections that firewall and flow records have.
	portal := 0
	for _, l := range c.lines["nginx"] {
		f := strings.Fields(l)
		if f[2] == "-" || !strings.HasPrefix(f[0], "10.") {
			continue
		}
		portal++
		found := false
		for k := range flows {
			if strings.HasPrefix(k, f[0]+" ") && strings.HasSuffix(k, " 443") && packets[k] {
				found = true
				break
			}
		}
		if !found {
			t.Errorf("no connection for %s", l)
		}
	}
	if portal < 50 {
		t.Errorf("%d requests to the portal", portal)
	}
}

// Work has its hours and its days, shops their evenings, scanners neither.
func TestRhythm(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 12_000_000, Seed: 1})
	var hours [24]int
	var days [7]int
	for i, e := range events(t, c) {
		if _, labelled := c.labels["windows"][i+1]; labelled || e.EventID != 4663 && e.EventID != 4688 {
			continue
		}
		at := when(t, e)
		hours[at.Hour()]++
		days[at.Weekday()]++
	}
	work, night := hours[8]+hours[9]+hours[13]+hours[14], hours[0]+hours[1]+hours[2]+hours[3]
	if work < 10*night || night*20 > work*10 {
		t.Errorf("%d events in four hours of work, %d in four of the night", work, night)
	}
	if weekend := days[0] + days[6]; weekend*5 > days[1]+days[2] {
		t.Errorf("%d events at the weekend, %d on Monday and Tuesday", weekend, days[1]+days[2])
	}
	var visits, scans [24]int
	for _, l := range c.lines["nginx"] {
		h, err := strconv.Atoi(strings.SplitN(l, ":", 3)[1][:2])
		if m := strings.Index(l, "/Mar/2025:"); m > 0 {
			h, err = strconv.Atoi(l[m+10 : m+12])
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(l, "shop.umbrin.example") {
			visits[h]++
		}
	}
	for _, l := range c.lines["iptables"] {
		if strings.Contains(l, "FW-DROP") {
			scans[c.minuteOf(l)/60]++
		}
	}
	if evening, dead := visits[17]+visits[18]+visits[19], visits[1]+visits[2]+visits[3]; evening < 3*dead {
		t.Errorf("%d shop requests in the evening, %d in the small hours", evening, dead)
	}
	if a, b := scans[0]+scans[1]+scans[2]+scans[3], scans[12]+scans[13]+scans[14]+scans[15]; a*2 < b || b*2 < a {
		t.Errorf("%d scans at night, %d by day", a, b)
	}
	// Few users do much (Zipf): the busiest tenth of those who act at all makes a quarter of the events and more.
	byUser := map[string]int{}
	total := 0
	for _, e := range events(t, c) {
		if e.EventID == 5145 {
			byUser[e.SubjectUserName]++
			total++
		}
	}
	top := 0
	for range max(1, len(byUser)/10) {
		best := ""
		for u, n := range byUser {
			if n > byUser[best] {
				best = u
			}
		}
		top += byUser[best]
		delete(byUser, best)
	}
	if top*4 < total {
		t.Errorf("the busiest tenth makes %d of %d share accesses", top, total)
	}
}

// Records are in the order of their arrival: time stamps go back by no more than the usual delays, and the time is covered.
func TestOrder(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 5_000_000, Seed: 3})
	last, back := time.Time{}, 0
	all := events(t, c)
	for _, e := range all {
		at := when(t, e)
		if at.Before(last.Add(-10 * time.Second)) {
			t.Fatalf("%s comes after %s", e.EventTime, last)
		}
		if at.Before(last) {
			back++
		} else {
			last = at
		}
		if at.Before(c.report.Start.Add(-time.Minute)) {
			t.Fatalf("%s lies before the start", e.EventTime)
		}
	}
	if back == 0 {
		t.Error("no record is late")
	}
	if first, end := when(t, all[0]), when(t, all[len(all)-1]); first.Sub(c.report.Start) > 2*time.Hour || c.report.End.Sub(end) > 2*time.Hour || end.Sub(c.report.End) > 2*time.Hour {
		t.Errorf("records from %s to %s, want %s to %s", first, end, c.report.Start, c.report.End)
	}
}

// The records of an executed command stand together, and its title spells its arguments.
func TestAuditEvents(t *testing.T) {
	c := newCorpus(t, Options{Bytes: 5_000_000, Seed: 3, Kinds: []string{"auditd"}})
	record := regexp.MustCompile(`^node=(\S+) type=(\S+) msg=audit\(([^)]+)\): (.*)$`)
	commands, enriched := 0, 0
	lines := c.lines["auditd"]
	for i, l := range lines {
		m := record.FindStringSubmatch(l)
		if strings.Contains(l, "\x1d") {
			enriched++
		}
		if m[2] != "SYSCALL" || !strings.Contains(l, "syscall=59") || i+5 >= len(lines) {
			continue
		}
		commands++
		var types []string
		for _, next := range lines[i : i+6] {
			n := record.FindStringSubmatch(next)
			if n[1] != m[1] || n[3] != m[3] {
				t.Fatalf("event %s of %s is interrupted by %q", m[3], m[1], next)
			}
			types = append(types, n[2])
		}
		if got := strings.Join(types, " "); got != "SYSCALL EXECVE CWD PATH PATH PROCTITLE" {
			t.Fatalf("records %s", got)
		}
		title := strings.SplitN(lines[i+5], "proctitle=", 2)[1]
		if title[0] != '"' {
			raw, err := hex.DecodeString(title)
			if err != nil {
				t.Fatal(err)
			}
			title = string(raw)
		} else {
			title = title[1 : len(title)-1]
		}
		var args []string
		for j, a := range strings.Fields(record.FindStringSubmatch(lines[i+1])[4]) {
			value := a[strings.IndexByte(a, '=')+1:]
			if j == 0 {
				continue // argc
			}
			if value[0] == '"' {
				value = value[1 : len(value)-1]
			} else if raw, err := hex.DecodeString(value); err == nil {
				value = string(raw)
			}
			args = append(args, value)
		}
		if got := strings.Join(args, "\x00"); got != title {
			t.Fatalf("arguments %q, title %q", got, title)
		}
	}
	if commands < 50 || enriched == 0 || enriched == len(lines) {
		t.Errorf("%d commands, %d of %d lines enriched", commands, enriched, len(lines))
	}
}
