package synth

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	r := newRandom(1, siteInk, 0, 0)
	u := &user{login: "anna", uid: 1001, name: "Anna \"A\"", ws: &host{name: "WS1"}}
	v := &vars{u: u, h: &host{name: "web01"}, ip: "10.0.0.1", port: 22, pid: 7, s: [8]string{0: `C:\x "y"`}, n: [6]int64{1: 42}}
	for _, c := range []struct {
		text string
		json bool
		want string // regular expression
	}{
		{"{u}({uid}) on {h} from {ip}:{port} [{pid}] {ws} {#1}", false, `^anna\(1001\) on web01 from 10\.0\.0\.1:22 \[7\] WS1 42$`},
		{`{0}`, false, `^C:\\x "y"$`},
		{`{"a":"{0}"}`, true, `^\{"a":"C:\\\\x \\"y\\""\}$`},
		{`{n:5-7}|{x:10}|{X:3}|{b64:4}|{guid}`, false, `^[567]\|[0-9a-f]{10}\|[0-9A-F]{3}\|[A-Za-z0-9+/]{4}\|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
		{`{yes|no|may be}`, false, `^(yes|no|may be)$`},
		{`{{guid}} {} {unknown} { {"k":{"l":{n:1-1}}}`, true, `^\{[0-9a-f-]{36}\} \{\} \{unknown\} \{ \{"k":\{"l":1\}\}$`},
	} {
		m := compile(c.text, c.json)
		for range 20 {
			if got := string(m.expand(nil, v, &r)); !regexp.MustCompile(c.want).MatchString(got) {
				t.Fatalf("%s gives %q, want %s", c.text, got, c.want)
			}
		}
	}
}

func TestAppendJSON(t *testing.T) {
	var all strings.Builder
	for c := range 128 {
		all.WriteByte(byte(c))
	}
	for _, s := range []string{all.String(), `\??\D:\share`, "Zoë \u2028 日本", ""} {
		var got string
		if err := json.Unmarshal(append(appendJSON([]byte{'"'}, s), '"'), &got); err != nil || got != s {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	}
}

func TestAuditStrings(t *testing.T) {
	for s, want := range map[string]string{"ls": `"ls"`, "a b": "612062", `q"`: "7122", "é": "C3A9", "": `""`} {
		if got := string(appendAuditString(nil, s)); got != want {
			t.Errorf("%q is written as %s, want %s", s, got, want)
		}
	}
}

// Whoever asks gets the same day; weekdays are for work.
func TestWorkdays(t *testing.T) {
	o := Options{Bytes: 3_000_000}
	enabled, err := o.resolve()
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{tenant: newTenant(0, 300), enabled: enabled, start: o.Start.UnixMicro(), days: 7}
	first := int(p.start / day)
	var at [7]int
	logins := map[string]bool{}
	for _, u := range p.tenant.users {
		if logins[u.login] || strings.Trim(u.login, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("login %q is taken or odd", u.login)
		}
		logins[u.login] = true
		for n := range 7 {
			d, ok := p.workday(u, first+n)
			again, okAgain := p.workday(u, first+n)
			if ok != okAgain || d != again {
				t.Fatal("a day changes")
			}
			if !ok {
				continue
			}
			at[n]++
			if l := localTime(d.start, u.offset); l.hour < 5.5 || l.hour > 11.5 || d.end <= d.start {
				t.Errorf("%s starts at %.1f", u.login, l.hour)
			}
		}
	}
	homes := map[string]bool{}
	for i := range 4000 {
		if a := homeAddress(i); homes[a] || hostile.MatchString(a) {
			t.Errorf("home %d has the address %s of somebody else", i, a)
		}
		homes[homeAddress(i)] = true
	}
	for k := range 50 {
		if !hostile.MatchString(hostileAddress(k)) {
			t.Errorf("attacker %d has the address %s", k, hostileAddress(k))
		}
	}
	if at[0] < 250 || at[5] > 40 || at[6] > 40 {
		t.Errorf("at work from Monday: %v", at)
	}
}
