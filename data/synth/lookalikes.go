package synth

import "strings"

// Harmless jobs that look like attacks. Without them every rule of thumb would find every attack.

// passwordRollover is the morning after the passwords ran out: storms of failures, each followed by a change.
func (w *window) passwordRollover(c *campaign) {
	r, t0 := w.r, w.p.tenant
	w.phase(phPasswordChange)
	for range min(80, max(5, len(t0.users)/5)) {
		u := t0.users[r.n(len(t0.users))]
		t := c.start + r.micros(0, 3.2*3600)
		w.as(u, u.ws.ip)
		dc := t0.dcs[u.id%2]
		for range r.between(1, 4) {
			w.v.port = w.port()
			w.windows(t, dc, winPreAuth)
			if r.chance(0.4) {
				w.failedLogon(t+50_000, u.ws, u.login, true, 2, u.ws.name)
			}
			t += r.micros(3, 25)
		}
		if r.chance(0.15) {
			w.v.s[0] = u.ws.name
			w.windows(t, dc, winLockedOut)
			t += r.micros(60, 500)
			admin := t0.admins[r.n(len(t0.admins))]
			w.as(admin, admin.ws.ip)
			w.v.s = [8]string{u.login, u.sid, 7: w.logonID(admin, admin.ws, w.daysSinceStart(t), 0)}
			w.windows(t, dc, winUnlockedAcct)
			w.as(u, u.ws.ip)
		}
		w.v.ip = egressIP
		for range r.n(3) {
			w.entra(t, &apps[r.zipf(3)], signIn{code: []string{"50126", "50055"}[r.n(2)], interactive: true, client: "Browser", town: u.town, policy: "notApplied", risk: "none", managed: true})
			t += r.micros(4, 30)
		}
		w.v.ip = u.ws.ip
		w.v.s[7] = w.logonID(u, u.ws, w.daysSinceStart(t), 0)
		w.windows(t, dc, winChangePass)
		t += r.micros(2, 20)
		w.v.port = w.port()
		w.windows(t, dc, winTGT)
	}
}

// backupJob reads hundreds of files in seconds, by night, and sends them away.
func (w *window) backupJob(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	w.phase(phBackup)
	fs := t0.files[c.number%len(t0.files)]
	w.as(t0.backup, t0.members[5].ip)
	id := w.logonID(t0.backup, fs, w.daysSinceStart(t), 15)
	w.networkLogon(t, fs, false, id)
	port := w.v.port
	w.v.s[7] = id
	w.windows(t+500, fs, winSpecial)
	w.shareOpen(t+20_000, fs, `\\*\share`, `\??\D:\share`, id, port)
	t += 200_000
	for range max(100, w.some(120, 240)) {
		t += r.micros(0.005, 0.05)
		w.fileAccess(t, fs, id, `D:\share\`+sharePath(r, r.n(len(departments))), false)
	}
	w.logoff(t+second, fs, 3, id)
	w.as(t0.backup, egressIP)
	for range w.some(8, 20) {
		t += r.micros(2, 40)
		w.v.s[0] = "umbrin-backups"
		w.cloud(t, cloudCalls[7], cloudAgents[2], "")
	}
	for range w.some(5, 12) {
		t += r.micros(5, 50)
		w.iptables(t, t0.firewall, "eth1", "eth0", "FW-ACCEPT ", &flow{from: t0.members[5].ip, to: siteAddress(7, 2), fromPort: w.port(), toPort: 443, proto: 6})
		db := t0.apps[len(t0.apps)-1]
		f := flow{from: db.ip, to: t0.logs.ip, fromPort: w.port(), toPort: 873, proto: 6, packets: r.logUniform(20_000, 300_000), duration: r.micros(30, 60), eni: db.eni}
		f.bytes = f.packets * 1400
		w.vpcFlow(t, &f)
	}
}

// adminAtNight is planned maintenance: VPN after hours, upgrades, a new agent, a new colleague, archived logs.
func (w *window) adminAtNight(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u := t0.admins[(c.number*5+1)%len(t0.admins)]
	w.phase(phMaintenance)
	session := string(r.hex(nil, 16, "0123456789abcdef"))
	begin := t
	t = w.vpnConnect(t, u, session, r.n(2))
	w.as(u, u.homeIP)
	w.entra(t, &apps[7], signIn{code: "0", interactive: true, client: "Browser", town: u.town, policy: "success", risk: "none", managed: true})
	for range r.between(2, 4) {
		h := t0.linux[r.n(len(t0.linux))]
		w.as(u, u.poolIP)
		port := w.port()
		w.sshFlow(t-r.micros(0.01, 0.05), h, u.poolIP, port, 600*second, 90_000, false)
		s := w.login(t, h, port, false)
		for _, command := range []string{"/usr/bin/apt-get update", "/usr/bin/apt-get upgrade -y", "/usr/bin/systemctl daemon-reload", "/usr/bin/journalctl --vacuum-time=30d", "/usr/sbin/reboot"} {
			t += r.micros(10, 100)
			w.sudo(t, &s, "/root", strings.Fields(command)...)
		}
		t += r.micros(5, 20)
		w.logout(t, &s)
	}
	for _, h := range t0.members[:4] {
		t += r.micros(20, 120)
		w.as(u, u.poolIP)
		id := w.logonID(u, h, w.daysSinceStart(t), 16)
		w.remoteDesktop(t, h, id)
		w.newService(t+r.micros(20, 60), h, id, "Osmend Update Agent", `"C:\Program Files\Osmend\agent.exe" /service`)
		log := `\\FS01\archive$\` + h.name + `-System.evtx`
		w.process(t+r.micros(61, 70), h, id, `C:\Windows\System32\wevtutil.exe`, `wevtutil cl System /bu:`+log, `C:\Windows\System32\cmd.exe`, true)
		w.v.s = [8]string{"System", log, 7: id}
		w.windows(t+r.micros(71, 72), h, winSysCleared)
		w.logoff(t+r.micros(90, 200), h, 10, id)
	}
	t += r.micros(100, 400)
	id := w.logonID(u, t0.dcs[0], w.daysSinceStart(t), 16)
	w.addWindowsUser(t, t0.dcs[0], id, "nnewhire"+string(appendInt(nil, c.number+1)), "New Hire", domainSID+"-"+string(appendInt(nil, 7000+c.number)))
	t += r.micros(60, 300)
	w.as(u, u.homeIP)
	w.v.ip2, w.v.s[0], w.v.s[1] = u.poolIP, session, "user request"
	w.v.n[0], w.v.n[1], w.v.n[2] = (t-begin)/second, r.logUniform(1e7, 1e9), r.logUniform(1e6, 1e8)
	w.vpn(t, &vpnDown)
}

// vulnerabilityScan is the company's own scanner on its monthly round.
func (w *window) vulnerabilityScan(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	w.phase(phScan)
	from := t0.scanner.ip
	for _, h := range append(append([]*host{}, t0.webs[:min(4, len(t0.webs))]...), t0.bastion, t0.apps[0]) {
		for _, port := range scannedPorts {
			t += r.micros(0.05, 0.9)
			f := flow{from: from, to: h.ip, fromPort: w.port(), toPort: port, proto: 6, packets: 1, bytes: 60, eni: h.eni, drop: port != 22 && port != 80}
			w.iptables(t, t0.firewall, "eth1", "tun0", "FW-ACCEPT ", &f)
			w.vpcFlow(t, &f)
			if port == 22 {
				w.v.ip, w.v.port = from, f.fromPort
				lines := sshStranger[4+r.n(len(sshStranger)-4)]
				for i := range lines {
					w.auth(t, h, "sshd", r.between(1200, 64000), &lines[i])
				}
			}
		}
	}
	for range w.some(40, 80) {
		t += r.micros(0.05, 1)
		q := request{client: from, user: "-", method: "GET", target: webProbes[r.n(len(webProbes))], status: []int{404, 403, 301}[r.zipf(3)], bytes: 548,
			referer: "-", agent: "UmbrinScan/3.2 (authorised; it@umbrin.example)", proto: "HTTP/1.1", host: "shop.umbrin.example", seconds: 0.001}
		w.nginx(t, t0.webs[r.n(len(t0.webs))], &q)
	}
}
