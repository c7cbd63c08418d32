package synth

import "strconv"

// Records of the Linux audit daemon, several hosts in one file (node=). All records of one event carry the same
// audit(seconds.milliseconds:serial); values with blanks are written in hexadecimal, as auditd does. Hosts with an odd
// number use the enriched format: after 0x1d the names of the numbers.

// auditEvent is one event under construction: its records share time, serial and delay.
type auditEvent struct {
	w      *window
	t      int64
	h      *host
	serial int64
	delay  int64
}

// audit begins an event. The serial grows with time, as the kernel's counter does.
func (w *window) audit(t int64, h *host) auditEvent {
	return auditEvent{w, t, h, int64(h.id)*1009 + (t-w.p.start)/(200*1000) + 4000, w.delivery.micros(0, usualDelay[kAuditd])}
}

// record adds a record of the given type; enriched is appended on hosts with the enriched format.
func (a auditEvent) record(typ string, m, enriched *template) {
	w := a.w
	b, ok := w.begin(kAuditd, a.t)
	if !ok {
		return
	}
	b = append(append(b, "node="...), a.h.name...)
	b = append(append(b, " type="...), typ...)
	b = append(b, " msg=audit("...)
	b = strconv.AppendInt(b, floorDiv(a.t, second), 10)
	b = appendFraction(b, a.t, 3)
	b = strconv.AppendInt(append(b, ':'), a.serial, 10)
	b = append(b, "): "...)
	w.v.h = a.h
	b = m.expand(b, &w.v, &w.ink)
	if enriched != nil && a.h.id%2 == 1 {
		b = enriched.expand(append(b, 0x1d), &w.v, &w.ink)
	}
	w.finishGroup(b, a.delay)
}

var (
	auditByUser   = text("UID=\"root\" AUID=\"{u}\"")
	auditByUnset  = text("UID=\"root\" AUID=\"unset\"")
	auditUserAuth = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=PAM:authentication grantors={0} acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res={1}'")
	auditUserAcct = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=PAM:accounting grantors=pam_permit acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res=success'")
	auditCredAcq  = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=PAM:setcred grantors=pam_permit acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res=success'")
	auditLogin    = text("pid={pid} uid=0 subj=unconfined old-auid=4294967295 auid={uid} tty=(none) old-ses=4294967295 ses={#0} res=1")
	auditUserLog  = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=login id={uid} exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=/dev/pts/{#1} res=success'")
	auditLogFail  = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=login acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname=? addr={ip} terminal=ssh res=failed'")
	auditLogAlien = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=login acct={3} exe=\"/usr/sbin/sshd\" hostname=? addr={ip} terminal=ssh res=failed'")
	auditStart    = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=PAM:session_open grantors=pam_selinux,pam_loginuid,pam_keyinit,pam_permit,pam_umask,pam_unix,pam_systemd,pam_mail,pam_limits,pam_env acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res=success'")
	auditEnd      = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=PAM:session_close grantors=pam_selinux,pam_loginuid,pam_keyinit,pam_permit,pam_umask,pam_unix,pam_systemd,pam_mail,pam_limits,pam_env acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res=success'")
	auditCredDisp = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=PAM:setcred grantors=pam_permit acct=\"{u}\" exe=\"/usr/sbin/sshd\" hostname={ip} addr={ip} terminal=ssh res=success'")
	auditKey      = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=destroy kind=server fp=SHA256:{x:32} direction=? spid={pid} suid=0  exe=\"/usr/sbin/sshd\" hostname=? addr=? terminal=? res=success'")
	auditSudo     = text("pid={pid} uid={uid} auid={uid} ses={#0} subj=unconfined msg='cwd=\"{0}\" cmd={3} exe=\"/usr/bin/sudo\" terminal=pts/{#1} res={4}'")
	auditExec     = text("arch=c000003e syscall=59 success=yes exit=0 a0={x:12} a1={x:12} a2={x:12} a3={n:8-9} items=2 ppid={#3} pid={pid} auid={uid} uid={4} gid={4} euid={4} suid={4} fsuid={4} egid={4} sgid={4} fsgid={4} tty=pts{#1} ses={#0} comm=\"{5}\" exe=\"{6}\" subj=unconfined key=\"{7}\"")
	auditExecUser = text("ARCH=x86_64 SYSCALL=execve AUID=\"{u}\" UID=\"{1}\" GID=\"{1}\" EUID=\"{1}\" SUID=\"{1}\" FSUID=\"{1}\" EGID=\"{1}\" SGID=\"{1}\" FSGID=\"{1}\"")
	auditCwd      = text("cwd=\"{0}\"")
	auditPath     = text("item=0 name=\"{6}\" inode={n:131072-1048575} dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0")
	auditPathLd   = text("item=1 name=\"/lib64/ld-linux-x86-64.so.2\" inode={n:131072-1048575} dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0")
	auditOwner    = text("OUID=\"root\" OGID=\"root\"")
	auditArgs     = text("{2}")
	auditTitle    = text("proctitle={3}")
	auditOpen     = text("arch=c000003e syscall=257 success={yes exit=3|no exit=-13} a0=ffffff9c a1={x:12} a2={0|80000|241} a3={0|1b6} items=1 ppid={#3} pid={pid} auid={uid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} tty=pts{#1} ses={#0} comm=\"{cat|less|vim|grep}\" exe=\"/usr/bin/{cat|less|vim.basic|grep}\" subj=unconfined key=\"{7}\"")
	auditPathFile = text("item=0 name=\"{6}\" inode={n:131072-1048575} dev=08:01 mode=0100640 ouid=0 ogid=42 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0")
	auditService  = text("pid=1 uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='unit={0} comm=\"systemd\" exe=\"/usr/lib/systemd/systemd\" hostname=? addr=? terminal=? res=success'")
	auditNetfilt  = text("table=filter:{n:30-90} family=2 entries={n:8-40} op=nft_register_rule pid={pid} subj=unconfined comm=\"iptables\"")
	auditCron     = text("pid={pid} uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='op=PAM:accounting grantors=pam_permit acct=\"{0}\" exe=\"/usr/sbin/cron\" hostname=? addr=? terminal=cron res=success'")
	auditAddUser  = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=adding user id={#2} exe=\"/usr/sbin/useradd\" hostname={h} addr=? terminal=pts/{#1} res=success'")
	auditAddGroup = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=add-user-to-group grp=\"sudo\" acct=\"{0}\" exe=\"/usr/sbin/usermod\" hostname={h} addr=? terminal=pts/{#1} res=success'")
	auditChauthok = text("pid={pid} uid=0 auid={uid} ses={#0} subj=unconfined msg='op=PAM:chauthtok grantors=pam_unix acct=\"{0}\" exe=\"/usr/bin/passwd\" hostname=? addr=? terminal=pts/{#1} res=success'")
	auditConfig   = text("auid={uid} ses={#0} subj=unconfined op=remove_rule key=\"{7}\" list=4 res=1")
)

// auditCommand writes the records of one executed command: argv, run in dir by the user of w.v (as root when root).
func (w *window) auditCommand(t int64, h *host, dir string, root bool, key string, argv ...string) {
	a := w.audit(t, h)
	v := &w.v
	v.s[0], v.s[1], v.s[4] = dir, v.u.login, strconv.Itoa(v.u.uid)
	if root {
		v.s[1], v.s[4] = "root", "0"
	}
	v.s[6], v.s[7] = argv[0], key
	v.s[5] = argv[0]
	for i := len(argv[0]) - 1; i >= 0; i-- {
		if argv[0][i] == '/' {
			v.s[5] = argv[0][i+1:]
			break
		}
	}
	v.s[5] = v.s[5][:min(15, len(v.s[5]))] // the kernel keeps 15 bytes
	args := append([]byte("argc="), strconv.Itoa(len(argv))...)
	var title []byte
	for i, s := range argv {
		args = append(append(append(args, " a"...), strconv.Itoa(i)...), '=')
		if i == 0 {
			s = v.s[5]
		}
		args = appendAuditString(args, s)
		if i > 0 {
			title = append(title, 0)
		}
		title = append(title, s...)
	}
	v.s[2] = string(args)
	v.s[3] = string(appendAuditString(nil, string(title)))
	a.record("SYSCALL", &auditExec, &auditExecUser)
	a.record("EXECVE", &auditArgs, nil)
	a.record("CWD", &auditCwd, nil)
	a.record("PATH", &auditPath, &auditOwner)
	a.record("PATH", &auditPathLd, &auditOwner)
	a.record("PROCTITLE", &auditTitle, nil)
}

// appendAuditString appends a value that a program chose: in quotes, or in hexadecimal when it has a blank, a quote or a
// byte outside of printable ASCII (audit_log_n_untrustedstring of the kernel).
func appendAuditString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] > ' ' && s[i] < 0x7f && s[i] != '"'
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	return appendHexString(b, s)
}

func appendHexString(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		b = append(b, digits[s[i]>>4], digits[s[i]&15])
	}
	return b
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }
