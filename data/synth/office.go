package synth

import (
	"strings"
)

// What the people of the company do: working days, and in them actions by the habits of their departments. The same
// action shows in every log that would see it, with the same user, address and port.

// workday is one user's day: who is where, and when.
type workday struct {
	number     int   // local day
	start, end int64 // first logon and last logoff
	remote     bool  // at home, through the VPN
}

// workday returns a user's day; ok is false on days off. It is a pure function, so any window may ask.
func (p *plan) workday(u *user, number int) (d workday, ok bool) {
	r := newRandom(p.tenant.seed, siteDay, u.id, number)
	midnight := int64(number)*day - u.offset
	works := 0.93
	if localTime(midnight, u.offset).weekend() {
		works = 0.03
		if u.dept == "Operations" {
			works = 0.12
		}
	}
	if !r.chance(works) {
		return d, false
	}
	start := u.start + 0.3*r.s.Norm()
	d = workday{number: number, remote: r.chance(u.remote)}
	d.start = midnight + int64(start*float64(hour))
	d.end = d.start + int64(max(1, u.length+0.5*r.s.Norm())*float64(hour))
	return d, true
}

// address returns where the user's machine is on that day: its place in the office, or in the VPN's pool.
func (u *user) address(d workday) string {
	if d.remote {
		return u.poolIP
	}
	return u.ws.ip
}

// public returns the address that the internet sees.
func (u *user) public(d workday) string {
	if d.remote {
		return u.homeIP
	}
	return egressIP
}

// office makes what the users do in the window.
func (w *window) office() {
	for _, u := range w.p.tenant.users {
		first, last := int(floorDiv(w.from+u.offset, day)), int(floorDiv(w.to-1+u.offset, day))
		for number := first; number <= last; number++ {
			d, ok := w.p.workday(u, number)
			if !ok {
				continue
			}
			w.arriveAndLeave(u, d)
			from, to := max(w.from, d.start), min(w.to, d.end)
			if from >= to {
				continue
			}
			r := newRandom(w.p.tenant.seed, siteWork, u.id, w.number)
			w.r = &r
			l := localTime(from+(to-from)/2, u.offset)
			mean := w.p.rate * u.weight * float64(to-from) / float64(hour) * max(0.15, curve(&officeCurve, l.hour))
			for range r.poisson(mean) {
				w.as(u, u.address(d))
				w.act(u, d, from+int64(r.float()*float64(to-from)))
			}
		}
	}
}

func (w *window) has(t int64) bool { return t >= w.from && t < w.to }

// arriveAndLeave writes the logon, the lunch break and the logoff as far as they fall into the window.
func (w *window) arriveAndLeave(u *user, d workday) {
	r := newRandom(w.p.tenant.seed, siteDay, u.id, 100_000+d.number)
	w.r = &r
	id := w.logonID(u, u.ws, d.number, 0)
	session := string(r.hex(nil, 16, "0123456789abcdef"))
	forgets, lunch, pause := r.chance(0.07), d.start+r.micros(3.5*3600, 5*3600), r.micros(1200, 4200)
	received, sent := r.logUniform(2e7, 3e9), r.logUniform(5e6, 4e8)
	failures := 0
	if forgets {
		failures = r.between(1, 2)
	}
	w.as(u, u.address(d))
	if w.has(d.start) {
		t := d.start
		if d.remote {
			t = w.vpnConnect(t, u, session, failures)
		}
		for range failures {
			if !d.remote {
				w.v.port = w.port()
				w.windows(t-r.micros(6, 14), w.p.tenant.dcs[u.id%2], winPreAuth)
			}
		}
		w.v.port = w.port()
		w.windows(t, w.p.tenant.dcs[u.id%2], winTGT)
		w.v.s[7], w.v.n[0] = id, 2
		if d.remote {
			w.v.n[0] = 11
		}
		w.v.ip = "127.0.0.1"
		w.windows(t+40_000, u.ws, winLogonLocal)
		w.v.ip = u.address(d)
		if u.dept == "IT" {
			w.windows(t+41_000, u.ws, winSpecial)
		}
		w.process(t+r.micros(1, 3), u.ws, id, programs[10][0], programs[10][1], programs[10][2], false)
		w.v.ip = u.public(d)
		w.entra(t+r.micros(4, 40), &apps[2], signIn{code: "0", interactive: true, client: "Browser", town: u.town, policy: "success", risk: "none", managed: true})
	}
	if w.has(lunch) {
		w.v.s[7] = id
		w.windows(lunch, u.ws, winLocked)
	}
	if back := lunch + pause; w.has(back) && back < d.end {
		w.v.s[7] = id
		w.windows(back, u.ws, winUnlocked)
	}
	if w.has(d.end) {
		w.as(u, u.address(d))
		w.v.s[7] = id
		w.windows(d.end, u.ws, winUserLogoff)
		w.logoff(d.end+r.micros(0.1, 2), u.ws, 2, id)
		if d.remote {
			w.v.ip, w.v.ip2 = u.homeIP, u.poolIP
			w.v.s = [8]string{session, "user request"}
			w.v.n[0], w.v.n[1], w.v.n[2] = (d.end-d.start)/second, received, sent
			w.vpn(d.end+r.micros(2, 20), &vpnDown)
		}
	}
}

// vpnConnect writes a user's way in from outside, failures wrong passwords first, and returns the time of the tunnel.
func (w *window) vpnConnect(t int64, u *user, session string, failures int) int64 {
	r, fw := w.r, w.p.tenant.firewall
	w.as(u, u.homeIP)
	for range failures + 1 {
		w.v.port = w.port()
		w.iptables(t, fw, "eth0", "eth2", "FW-ACCEPT ", &flow{from: w.v.ip, to: vpnIP, fromPort: w.v.port, toPort: 1194, proto: 17})
		w.vpn(t+r.micros(0.05, 0.4), &vpnStart)
		t += r.micros(3, 9)
		if failures > 0 {
			failures--
			w.v.s = [8]string{u.login, "invalid credentials"}
			w.vpn(t, &vpnAuthBad)
			t += r.micros(4, 12)
			continue
		}
		w.vpn(t, &vpnAuthOK)
	}
	w.v.ip2, w.v.s[0] = u.poolIP, session
	w.vpn(t+r.micros(0.1, 0.3), &vpnPosture)
	t += r.micros(0.4, 1)
	w.vpn(t, &vpnUp)
	w.v.ip = u.poolIP
	return t + r.micros(4, 20)
}

// act does one thing that the user's department does.
func (w *window) act(u *user, d workday, t int64) {
	habits := &departments[u.deptID].habits
	total := 0
	for _, n := range habits {
		total += n
	}
	x, action := w.r.n(total), 0
	for x >= habits[action] {
		x -= habits[action]
		action++
	}
	switch action {
	case 0:
		w.browse(u, d, t)
	case 1:
		w.share(u, d, t)
	case 2:
		w.programs(u, d, t)
	case 3:
		w.saas(u, d, t)
	case 4:
		w.intranet(u, d, t)
	case 5:
		w.shell(u, t, w.p.tenant.shellHost(w.r))
	case 6:
		w.console(u, d, t)
	default:
		w.print(u, d, t)
	}
}

// browse opens connections to web sites.
func (w *window) browse(u *user, d workday, t int64) {
	for range w.r.between(1, 5) {
		site := w.r.zipf(len(webNames))
		f := flow{from: u.address(d), to: siteAddress(site, w.r.n(3)), fromPort: w.port(), toPort: 443, proto: 6}
		if w.r.chance(0.12) {
			f.toPort, f.proto = 53, 17
			f.to = "10.10.0.10"
		} else if w.r.chance(0.15) {
			f.proto = 17 // QUIC
		}
		w.iptables(t, w.p.tenant.firewall, "eth1", "eth0", "FW-ACCEPT ", &f)
		t += w.r.micros(0.01, 20)
	}
}

// siteAddress is one of the addresses of a web site.
func siteAddress(site, n int) string {
	return "198.18." + string(appendInt(nil, 200+site)) + "." + string(appendInt(nil, 10+n))
}

// share opens files on a file server.
func (w *window) share(u *user, d workday, t int64) {
	r := w.r
	fs := w.p.tenant.files[(u.deptID+r.n(2)*r.n(2))%len(w.p.tenant.files)]
	id := w.logonID(u, fs, d.number, r.n(3))
	w.networkLogon(t, fs, r.chance(0.05), id)
	port := w.v.port
	w.shareOpen(t+r.micros(0.01, 0.1), fs, `\\*\share`, `\??\D:\share`, id, port)
	t += r.micros(0.2, 2)
	for range r.between(1, 4) {
		path := sharePath(r, u.deptID)
		w.v.s = [8]string{`\\*\share`, `\??\D:\share`, path, 7: id}
		w.v.port = port
		w.windows(t, fs, winShareFile)
		w.fileAccess(t+3000, fs, id, `D:\share\`+path, r.n(4) == 0)
		t += r.micros(0.5, 60)
	}
	w.logoff(t+r.micros(10, 900), fs, 3, id)
}

func (w *window) shareOpen(t int64, fs *host, name, local, id string, port int) {
	w.v.s = [8]string{name, local, 7: id}
	w.v.port = port
	w.windows(t, fs, winShare)
}

// fileAccess writes a 4663: reading, or writing.
func (w *window) fileAccess(t int64, fs *host, id, path string, write bool) {
	w.v.s = [8]string{path, "%%4416", "0x1", "", 4: "", 7: id}
	if write {
		w.v.s[1], w.v.s[2] = "%%4417", "0x2"
	}
	w.windows(t, fs, winFile)
}

// sharePath is a file of a department; some files are opened far more often than others.
func sharePath(r *random, dept int) string {
	n := r.zipf(400)
	folder := shareFolders[dept][n%len(shareFolders[dept])]
	return departments[dept].name + `\` + folder + `\` + fileName(n)
}

func fileName(n int) string {
	name := fileStems[n*7%len(fileStems)]
	if n%3 == 0 {
		name += " " + string(appendInt(nil, 2021+n%5))
	} else if n > 40 {
		name += "-" + string(appendInt(nil, n))
	}
	return name + "." + fileTypes[n*5%len(fileTypes)%len(fileTypes)]
}

// programs starts programs on the workstation.
func (w *window) programs(u *user, d workday, t int64) {
	id := w.logonID(u, u.ws, d.number, 0)
	for range w.r.between(1, 3) {
		p := programs[w.r.zipf(len(programs))]
		command := strings.ReplaceAll(p[1], "%", u.login)
		w.process(t, u.ws, id, p[0], command, p[2], false)
		if w.r.chance(0.3) {
			w.v.s[0] = p[0]
			w.windows(t+w.r.micros(1, 600), u.ws, winProcessEnd)
		}
		t += w.r.micros(0.05, 5)
	}
	switch w.r.n(60) {
	case 0:
		w.windows(t, u.ws, winCrash)
	case 1, 2:
		w.v.s[0], w.v.s[1] = `Get-CimInstance Win32_OperatingSystem | Select-Object Caption, Version`, `C:\ProgramData\IT\inventory.ps1`
		w.windows(t, u.ws, winPowerShell)
	}
}

// saas signs in to an application.
func (w *window) saas(u *user, d workday, t int64) {
	r := w.r
	w.v.ip = u.public(d)
	a := &apps[r.zipf(len(apps))]
	s := signIn{code: "0", interactive: r.chance(0.3), client: "Browser", town: u.town, policy: "success", risk: "none", managed: true}
	if r.chance(0.4) {
		s.client = "Mobile Apps and Desktop clients"
	}
	if r.chance(0.5) {
		s.policy = "notApplied"
	}
	if s.interactive && r.chance(0.12) {
		bad := s
		bad.code = []string{"50126", "50074", "50140", "50126", "50055", "65001"}[r.n(6)]
		bad.policy = "notApplied"
		w.entra(t, a, bad)
		t += r.micros(6, 30)
	}
	w.entra(t, a, s)
	w.v.ip = u.address(d)
	f := flow{from: w.v.ip, to: "198.18.199." + string(appendInt(nil, 10+r.n(4))), fromPort: w.port(), toPort: 443, proto: 6}
	w.iptables(t-r.micros(0.1, 1), w.p.tenant.firewall, "eth1", "eth0", "FW-ACCEPT ", &f)
}

// intranet reads pages of the company's own portal in the cloud.
func (w *window) intranet(u *user, d workday, t int64) {
	r := w.r
	web := w.p.tenant.webs[u.id%len(w.p.tenant.webs)]
	f := flow{from: u.address(d), to: web.ip, fromPort: w.port(), toPort: 443, proto: 6, eni: web.eni}
	w.iptables(t, w.p.tenant.firewall, "eth1", "tun0", "FW-ACCEPT ", &f)
	begin := t
	referer := "https://portal.umbrin.example/"
	for i := range r.between(1, 6) {
		page := portalPages[r.zipf(len(portalPages))]
		q := request{client: f.from, user: u.login, method: "GET", status: 200, bytes: r.logUniform(400, 90_000), referer: referer,
			agent: u.agent, proto: "HTTP/2.0", host: "portal.umbrin.example", seconds: 0.004 + r.float()*r.float()*0.6}
		q.target = strings.Replace(page, "#", string(appendInt(nil, r.between(100, 9999))), 1)
		switch {
		case strings.HasPrefix(page, "POST "):
			q.method, q.target, q.status = "POST", q.target[5:], []int{200, 302, 201}[r.n(3)]
		case r.chance(0.03):
			q.status, q.bytes = []int{404, 403, 500}[r.zipf(3)], 153
		case r.chance(0.2):
			q.status, q.bytes = 304, 0
		}
		if i == 0 {
			q.referer = "-"
		}
		f.packets += 6 + q.bytes/1400
		f.bytes += 900 + q.bytes
		w.nginx(t, web, &q)
		referer = "https://portal.umbrin.example" + q.target
		t += r.micros(0.2, 40)
	}
	f.duration = t - begin
	w.vpcFlow(begin, &f)
}

var portalPages = []string{
	"/", "/news", "/assets/app.6f2c.js", "/api/v1/me", "/people/search?q=team", "/tickets", "/tickets/#", "/assets/logo.svg", "/wiki/page/#",
	"/api/v1/notifications?unread=true", "POST /api/v1/time-entries", "/calendar", "/cases/#/history", "/reports/monthly?year=2025&month=3", "POST /tickets/#/comments",
	"/wiki/search?q=vpn+setup", "/forms/travel", "POST /forms/travel", "/files/download/#", "/admin/users", "POST /login", "/logout", "/favicon.ico",
}

// console calls the cloud's interface after a sign-in.
func (w *window) console(u *user, d workday, t int64) {
	r := w.r
	t0 := w.p.tenant
	w.v.ip = u.public(d)
	agent := cloudAgents[u.id%len(cloudAgents)]
	if r.chance(0.3) {
		w.entra(t, &apps[4], signIn{code: "0", interactive: r.chance(0.5), client: "Browser", town: u.town, policy: "success", risk: "none", managed: true})
		w.v.s[0] = r.pick(t0.buckets)
		w.cloud(t+r.micros(1, 3), callAssumeSAML, "aws-internal/3", "")
		if r.chance(0.3) {
			w.cloud(t+r.micros(3, 5), callLogin, u.agent, "")
		}
		t += r.micros(5, 20)
	}
	for range r.between(2, 7) {
		c := cloudCalls[r.zipf(len(cloudCalls))]
		w.v.s[0] = r.pick(t0.buckets)
		errorCode := ""
		if r.chance(0.03) {
			errorCode = "AccessDenied"
		}
		w.cloud(t, c, strings.Replace(agent, "%", strings.ToLower(c.source+"."+c.name), 1), errorCode)
		t += r.micros(0.3, 60)
	}
}

// print sends a document to a printer.
func (w *window) print(u *user, d workday, t int64) {
	h := w.p.tenant.members[2]
	id := w.logonID(u, h, d.number, 1)
	w.networkLogon(t, h, false, id)
	w.shareOpen(t+w.r.micros(0.01, 0.2), h, `\\*\print$`, `\??\C:\Windows\system32\spool\drivers`, id, w.v.port)
	w.logoff(t+w.r.micros(5, 60), h, 3, id)
}
