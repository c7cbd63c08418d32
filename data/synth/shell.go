package synth

import "strings"

// shellHost is a Linux host to work on: the bastion most often.
func (t *tenant) shellHost(r *random) *host {
	if r.chance(0.4) {
		return t.bastion
	}
	return t.linux[r.n(len(t.linux))]
}

// shellSession is a login by SSH.
type shellSession struct {
	h       *host
	ip      string
	port    int
	pid     int
	session int64 // number of the audit and login session
	pts     int64
}

// sshFlow writes the connection's flow: at the firewall when it comes from an office or the pool, and at the cloud's
// interface when the host has one.
func (w *window) sshFlow(t int64, h *host, ip string, port int, duration, bytes int64, drop bool) {
	f := flow{from: ip, to: h.ip, fromPort: port, toPort: 22, proto: 6, packets: 8 + bytes/300, bytes: 2600 + bytes, duration: duration, eni: h.eni, drop: drop}
	prefix := "FW-ACCEPT "
	if drop {
		prefix, f.packets, f.bytes = "FW-DROP ", 1, 60
	}
	if strings.HasPrefix(ip, "10.") {
		w.iptables(t, w.p.tenant.firewall, "eth1", "tun0", prefix, &f)
	} else {
		w.iptables(t, h, "eth0", "", prefix, &f)
	}
	if h.eni != "" {
		w.vpcFlow(t, &f)
	}
}

// login writes a successful SSH login of the user of w.v from w.v.ip and port, by password or key.
func (w *window) login(t int64, h *host, port int, password bool) shellSession {
	v, r := &w.v, w.r
	s := shellSession{h: h, ip: v.ip, port: port, pid: r.between(1200, 64000), pts: int64(r.zipf(6))}
	s.session = (t-w.p.start)/(97*second) + int64(h.id*3)
	w.resume(&s)
	w.auth(t, h, "sshd", s.pid, &sshConnection)
	t += r.micros(0.1, 0.8)
	a := w.audit(t, h)
	v.s[0], v.s[1] = "pam_unix", "success"
	if password {
		a.record("USER_AUTH", &auditUserAuth, &auditByUnset)
		w.auth(t, h, "sshd", s.pid, &sshAcceptedPass)
	} else {
		a.record("CRYPTO_KEY_USER", &auditKey, nil)
		key := newRandom(w.p.tenant.seed, siteDay, v.u.id, 4_000_000) // each user has one key
		v.s[0], v.s[1] = "ED25519", string(key.base64(nil, 43))
		w.auth(t, h, "sshd", s.pid, &sshAcceptedKey)
	}
	a.record("USER_ACCT", &auditUserAcct, &auditByUnset)
	a = w.audit(t+9_000, h)
	a.record("CRED_ACQ", &auditCredAcq, &auditByUser)
	a.record("LOGIN", &auditLogin, &auditByUser)
	w.auth(t+10_000, h, "sshd", s.pid, &sshOpened)
	w.auth(t+12_000, h, "sshd", s.pid, &sshChild)
	a = w.audit(t+14_000, h)
	a.record("USER_START", &auditStart, &auditByUser)
	a.record("USER_LOGIN", &auditUserLog, &auditByUser)
	w.auth(t+15_000, h, "systemd-logind", 600+h.id, &loginNew)
	w.auth(t+30_000, h, "systemd", 1, &loginStarted)
	return s
}

// resume makes the session's values those of the lines that follow.
func (w *window) resume(s *shellSession) {
	w.v.ip, w.v.port, w.v.pid = s.ip, s.port, s.pid
	w.v.n[0], w.v.n[1], w.v.n[3] = s.session, s.pts, int64(s.pid+40)
}

// logout ends the session.
func (w *window) logout(t int64, s *shellSession) {
	w.resume(s)
	for i := range sshBye {
		w.auth(t, s.h, "sshd", s.pid+7, &sshBye[i])
	}
	w.auth(t+2_000, s.h, "sshd", s.pid, &sshClosed)
	a := w.audit(t+3_000, s.h)
	a.record("USER_END", &auditEnd, &auditByUser)
	a.record("CRED_DISP", &auditCredDisp, &auditByUser)
	w.auth(t+40_000, s.h, "systemd-logind", 600+s.h.id, &loginOut)
	w.auth(t+60_000, s.h, "systemd-logind", 600+s.h.id, &loginRemoved)
}

// sudo runs a command as root.
func (w *window) sudo(t int64, s *shellSession, dir string, argv ...string) {
	w.resume(s)
	v := &w.v
	pid := w.r.between(2000, 64000)
	command := strings.Join(argv, " ")
	v.pid = pid
	v.s[0], v.s[1], v.s[2] = dir, "root", command
	w.auth(t, s.h, "sudo", 0, &sudoCommand)
	v.s[3], v.s[4] = string(appendHexString(nil, command)), "success"
	w.audit(t, s.h).record("USER_CMD", &auditSudo, nil)
	w.auth(t+1_000, s.h, "sudo", 0, &sudoOpened)
	w.auditCommand(t+5_000, s.h, dir, true, "rootcmd", argv...)
	v.s[1] = "root"
	w.auth(t+w.r.micros(0.05, 4), s.h, "sudo", 0, &sudoClosed)
}

// run runs a command as the user.
func (w *window) run(t int64, s *shellSession, dir string, argv ...string) {
	w.resume(s)
	w.v.pid = w.r.between(2000, 64000)
	w.auditCommand(t, s.h, dir, false, "exec", argv...)
}

// watchedFiles are those whose opening the audit rules record.
var watchedFiles = []string{"/etc/shadow", "/etc/sudoers", "/etc/ssh/sshd_config", "/etc/passwd", "/srv/shop/config/secrets.yml", "/var/log/audit/audit.log"}

// open opens a watched file, with or without success.
func (w *window) open(t int64, s *shellSession, dir, path string) {
	w.resume(s)
	w.v.pid = w.r.between(2000, 64000)
	w.v.s[0], w.v.s[6], w.v.s[7] = dir, path, "watched"
	a := w.audit(t, s.h)
	a.record("SYSCALL", &auditOpen, &auditByUser)
	a.record("CWD", &auditCwd, nil)
	a.record("PATH", &auditPathFile, &auditOwner)
}

// userCommands are run without sudo.
var userCommands = []string{
	"/usr/bin/ls -la", "/usr/bin/git pull --rebase", "/usr/bin/cat /etc/hosts", "/usr/bin/df -h", "/usr/bin/ps aux", "/usr/bin/top -b -n 1",
	"/usr/bin/grep -r timeout /etc/nginx", "/usr/bin/curl -s http://localhost:8080/healthz", "/usr/bin/ssh app01", "/usr/bin/python3 manage.py migrate",
	"/usr/bin/id", "/usr/bin/free -m", "/usr/bin/tail -n 50 /srv/shop/log/prod.log", "/usr/bin/psql -h db01 -U shop -c \"select count(*) from orders\"",
	"/usr/bin/vim deploy.yaml", "/usr/bin/docker compose up -d",
}

// shell is a session of everyday work.
func (w *window) shell(u *user, t int64, h *host) {
	r := w.r
	ip, port, length := w.v.ip, w.port(), r.micros(40, 1500)
	w.sshFlow(t-r.micros(0.01, 0.05), h, ip, port, length, r.logUniform(2000, 400_000), false)
	if r.chance(0.05) { // a wrong password first
		w.v.pid, w.v.port = r.between(1200, 64000), w.port()
		w.badPassword(t-r.micros(8, 20), h)
	}
	s := w.login(t, h, port, r.chance(0.15))
	end := t + length
	for t += r.micros(2, 20); t < end; t += r.micros(5, 400) {
		dir := strings.Replace(workDirs[r.zipf(len(workDirs))], "%", u.login, 1)
		if r.chance(0.45) {
			w.sudo(t, &s, dir, strings.Fields(sudoCommands[r.zipf(len(sudoCommands))])...)
			continue
		}
		if r.chance(0.12) {
			w.open(t, &s, dir, watchedFiles[r.zipf(len(watchedFiles))])
			continue
		}
		w.run(t, &s, dir, strings.Fields(userCommands[r.zipf(len(userCommands))])...)
		if r.chance(0.04) {
			w.resume(&s)
			w.v.s[0], w.v.s[2] = dir, "/usr/bin/su -"
			bad := [][]template{suGood, suBad}[r.n(2)]
			for i := range bad {
				w.auth(t, h, "su", r.between(2000, 64000), &bad[i])
			}
		} else if r.chance(0.04) {
			w.resume(&s)
			w.v.s[0], w.v.s[2] = dir, sudoCommands[r.zipf(len(sudoCommands))]
			w.auth(t, h, "sudo", 0, &sudoPAMFailed)
			w.auth(t+r.micros(4, 9), h, "sudo", 0, []*template{&sudoWrong, &sudoDenied}[r.n(2)])
		}
	}
	w.logout(end, &s)
}

// badPassword is one failed SSH login of the user of w.v.
func (w *window) badPassword(t int64, h *host) {
	w.v.s[0], w.v.s[1] = "?", "failed"
	w.audit(t, h).record("USER_AUTH", &auditUserAuth, &auditByUnset)
	w.auth(t, h, "sshd", w.v.pid, &sshPAMFailure)
	t += w.r.micros(1.5, 2.2)
	w.auth(t, h, "sshd", w.v.pid, &sshFailed)
	w.audit(t, h).record("USER_LOGIN", &auditLogFail, &auditByUnset)
	t += w.r.micros(0.5, 3)
	if w.r.chance(0.15) {
		w.auth(t, h, "sshd", w.v.pid, &sshTooMany)
		w.auth(t, h, "sshd", w.v.pid, &sshDisconnTMA)
	}
	w.auth(t, h, "sshd", w.v.pid, []*template{&sshClosedAuth, &sshClosedAuth, &sshResetAuth, &sshMore}[w.r.n(4)])
}
