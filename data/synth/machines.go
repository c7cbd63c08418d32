package synth

import "strings"

// What machines do by themselves: jobs on the minute, service starts, machine logons, probes of the load balancer,
// flows between servers, calls of cloud services. It is the noise in which a log is mostly written.

// machines makes the machines' lines of the window.
func (w *window) machines() {
	t := w.p.tenant
	for i, h := range t.linux {
		r := newRandom(t.seed, siteMachine, i, w.number)
		w.r = &r
		w.cron(h)
		w.units(h)
		if h.eni != "" {
			w.quietInterface(h)
		}
	}
	for i, h := range [][]*host{t.dcs, t.files, t.members} {
		for j, h := range h {
			r := newRandom(t.seed, siteMachine, 1000*(i+1)+j, w.number)
			w.r = &r
			w.server(h)
		}
	}
	r := newRandom(t.seed, siteMachine, 9000, w.number)
	w.r = &r
	w.probes()
	w.servers()
	w.services()
	w.gatewayHealth()
}

// every calls f at each multiple of period in the window.
func (w *window) every(period int64, f func(t int64)) {
	for t := floorDiv(w.from+period-1, period) * period; t < w.to; t += period {
		f(t)
	}
}

// many calls f at random times, perHour times an hour on average when the rate is 1.
func (w *window) many(perHour float64, f func(t int64)) {
	for range w.r.poisson(perHour * w.p.rate * float64(w.to-w.from) / float64(hour)) {
		f(w.from + int64(w.r.float()*float64(w.to-w.from)))
	}
}

// cron runs a host's jobs at their minute.
func (w *window) cron(h *host) {
	for j := range 2 {
		job := &cronJobs[(h.id*2+j)%len(cronJobs)]
		w.every(w.p.cronPeriod*int64(1+2*j+h.id%3), func(t int64) {
			t += 1_000_000 + w.r.micros(0, 0.4)
			pid := w.r.between(1000, 64000)
			w.v.s[0], w.v.s[1], w.v.n[0], w.v.pid = job.user, job.command, 0, pid
			if job.user != "root" {
				w.v.n[0] = 33
			}
			w.auth(t, h, "CRON", pid, &cronOpened)
			w.auth(t+2000, h, "CRON", pid+1, &cronCmd)
			w.audit(t+1000, h).record("USER_ACCT", &auditCron, &auditByUnset)
			w.auth(t+w.r.micros(0.05, 0.9), h, "CRON", pid, &cronClosed)
		})
	}
}

// units starts services of systemd.
func (w *window) units(h *host) {
	w.many(0.25, func(t int64) {
		i := w.r.n(len(systemUnits))
		w.v.s[0], w.v.s[1] = systemUnits[i], systemTexts[i]
		w.v.pid = 1
		w.auth(t, h, "systemd", 1, &systemLines[0].text)
		w.v.s[0] = strings.TrimSuffix(systemUnits[i], ".service")
		w.audit(t, h).record("SERVICE_START", &auditService, &auditByUnset)
		t += w.r.micros(0.1, 8)
		w.audit(t, h).record("SERVICE_STOP", &auditService, &auditByUnset)
		w.v.s[0] = systemUnits[i]
		w.auth(t, h, "systemd", 1, &systemLines[2].text)
		w.auth(t, h, "systemd", 1, &systemLines[1].text)
		if w.r.chance(0.3) {
			w.auth(t, h, "systemd", 1, &systemLines[3].text)
		}
	})
	w.many(0.08, func(t int64) {
		l := &systemLines[w.r.between(4, len(systemLines)-1)]
		w.auth(t, h, l.tag, w.r.between(400, 2000), &l.text)
	})
	w.many(0.03, func(t int64) {
		w.v.pid = w.r.between(900, 60000)
		w.audit(t, h).record("NETFILTER_CFG", &auditNetfilt, nil)
	})
}

// quietInterface writes intervals without flows.
func (w *window) quietInterface(h *host) {
	w.many(0.25, func(t int64) {
		status := "NODATA"
		if w.r.chance(0.05) {
			status = "SKIPDATA"
		}
		w.noFlow(t, h.eni, status)
	})
}

// server writes what a Windows server does all day: members fetch policies and tickets, services change state.
func (w *window) server(h *host) {
	t0 := w.p.tenant
	w.many(0.3, func(t int64) {
		from := t0.users[w.r.n(len(t0.users))].ws
		id := "0x" + string(w.r.hex(nil, 7, "0123456789abcdef"))
		w.v.u, w.v.ip, w.v.port = t0.backup, from.ip, w.port()
		w.v.s = [8]string{2: from.name, 7: id}
		w.windows(t, h, winLogonMachine)
		if w.r.chance(0.4) {
			w.v.s[7], w.v.n[0] = id, 3
			w.windows(t+w.r.micros(1, 300), h, winLogoff)
		}
	})
	w.many(0.25, func(t int64) {
		w.v.s[0], w.v.s[1] = windowsServices[w.r.zipf(len(windowsServices))], []string{"running", "stopped"}[w.r.n(2)]
		w.windows(t, h, winServiceState)
	})
	w.many(0.15, func(t int64) {
		w.windows(t, h, []*winEvent{winPolicy, winTime, winServiceStart, winDefenderScan}[w.r.zipf(4)])
	})
	w.many(0.02, func(t int64) {
		w.as(t0.deploy, t0.ci.ip)
		task := []string{"Inventory", "Cleanup", "Certificates"}[w.r.n(3)]
		w.v.s = [8]string{`\Umbrin\` + task, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, `-File C:\ProgramData\IT\` + strings.ToLower(task) + `.ps1`,
			7: w.logonID(t0.deploy, h, w.daysSinceStart(t), 0)}
		w.windows(t, h, winTask)
	})
	w.many(0.2, func(t int64) {
		u := t0.users[w.r.n(len(t0.users))]
		w.as(u, u.ws.ip)
		w.v.port = w.port()
		w.v.s[0] = h.name + "$"
		w.windows(t, t0.dcs[u.id%2], winTicket)
	})
}

var windowsServices = []string{
	"Windows Update", "Background Intelligent Transfer Service", "Windows Modules Installer", "WinHTTP Web Proxy Auto-Discovery Service",
	"Software Protection", "Network Setup Service", "Microsoft Software Shadow Copy Provider", "Volume Shadow Copy", "Windows Error Reporting Service",
	"Application Experience", "Device Setup Manager", "Portable Device Enumerator Service",
}

// probes are the load balancer's health checks: all servers of one format in the same second, word for word the same.
func (w *window) probes() {
	t0 := w.p.tenant
	w.every(w.p.cronPeriod/2, func(t int64) {
		for i, lb := range t0.lb {
			q := request{client: lb, user: "-", method: "GET", target: "/healthz", status: 200, bytes: 2, referer: "-", agent: "umbrin-lb/2.1", proto: "HTTP/1.1",
				host: "-", seconds: 0.001}
			for _, h := range t0.webs {
				w.nginx(t+int64(i)*5*second, h, &q)
			}
		}
	})
}

// servers are flows inside the cloud: web to app, app to database.
func (w *window) servers() {
	t0 := w.p.tenant
	w.many(float64(7*len(t0.webs)), func(t int64) {
		from, to, port := t0.webs[w.r.n(len(t0.webs))], t0.apps[w.r.n(len(t0.apps))], []int{8080, 5432, 6379, 5432}[w.r.n(4)]
		f := flow{from: from.ip, to: to.ip, fromPort: w.port(), toPort: port, proto: 6, packets: w.r.logUniform(4, 900), duration: w.r.micros(1, 59), eni: from.eni}
		f.bytes = f.packets*52 + w.r.logUniform(200, 800_000)
		w.vpcFlow(t, &f)
		if w.r.chance(0.6) { // the other end sees it too, and the answer
			f.eni = to.eni
			w.vpcFlow(t, &f)
			back := flow{from: f.to, to: f.from, fromPort: f.toPort, toPort: f.fromPort, proto: 6, packets: f.packets, bytes: f.bytes * 3 / 2, duration: f.duration, eni: from.eni}
			w.vpcFlow(t, &back)
		}
	})
}

// services are calls that the cloud makes for itself, and deployments by the build server in working hours.
func (w *window) services() {
	t0 := w.p.tenant
	n := float64(len(t0.users)) / 60
	w.many(5*n, func(t int64) { w.cloudBy(t, cloudServices[w.r.zipf(len(cloudServices))], callAssume) })
	l := localTime(w.from, hour)
	if !l.weekend() && l.hour > 8 && l.hour < 19 {
		w.many(1.2*n, func(t int64) {
			r := w.r
			w.as(t0.deploy, egressIP)
			for range r.between(3, 8) {
				c := cloudCalls[[]int{10, 11, 13, 22, 24, 2, 17}[r.n(7)]]
				w.v.s[0] = r.pick(t0.buckets)
				w.cloud(t, c, cloudAgents[1+r.n(3)], "")
				t += r.micros(0.3, 20)
			}
			h := t0.apps[r.n(len(t0.apps))]
			w.as(t0.deploy, t0.ci.ip)
			port := w.port()
			w.sshFlow(t, h, w.v.ip, port, 20*second, r.logUniform(20_000, 9e6), false)
			s := w.login(t, h, port, false)
			w.sudo(t+r.micros(2, 4), &s, "/srv/shop", "/usr/bin/systemctl", "restart", "shop-worker")
			w.logout(t+r.micros(10, 30), &s)
		})
	}
}

// gatewayHealth is the VPN gateway talking about itself.
func (w *window) gatewayHealth() {
	w.many(6, func(t int64) { w.vpn(t, &vpnPools[w.r.n(len(vpnPools))]) })
	// Sessions get new keys while people work at home.
	w.many(float64(len(w.p.tenant.users))/5, func(t int64) {
		u := w.p.tenant.users[w.r.n(len(w.p.tenant.users))]
		d, ok := w.p.workday(u, int(floorDiv(t+u.offset, day)))
		if !ok || !d.remote || t < d.start || t > d.end {
			return
		}
		session := newRandom(w.p.tenant.seed, siteDay, u.id, 100_000+d.number)
		w.as(u, u.homeIP)
		w.v.s[0] = string(session.hex(nil, 16, "0123456789abcdef"))
		w.vpn(t, &vpnRekey)
	})
}
