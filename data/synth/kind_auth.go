package synth

// Lines of sshd, PAM, sudo, su, cron and systemd as a syslog relay writes them (RFC 3164 header, no year).

// auth writes one line of a program on a Linux host. pid 0 leaves the number out.
func (w *window) auth(t int64, h *host, tag string, pid int, m *template) {
	b, ok := w.begin(kAuth, t)
	if !ok {
		return
	}
	b = appendSyslogTime(b, t)
	b = append(append(append(b, ' '), h.name...), ' ')
	b = append(b, tag...)
	if pid > 0 {
		b = appendInt(append(b, '['), pid)
		b = append(b, ']')
	}
	b = append(b, ": "...)
	w.v.h = h
	w.finish(m.expand(b, &w.v, &w.ink))
}

var (
	sshConnection   = text("Connection from {ip} port {port} on {hip} port 22 rdomain \"\"")
	sshAcceptedKey  = text("Accepted publickey for {u} from {ip} port {port} ssh2: {0} SHA256:{1}")
	sshAcceptedPass = text("Accepted password for {u} from {ip} port {port} ssh2")
	sshOpened       = text("pam_unix(sshd:session): session opened for user {u}(uid={uid}) by (uid=0)")
	sshClosed       = text("pam_unix(sshd:session): session closed for user {u}")
	sshBye          = texts("Received disconnect from {ip} port {port}:11: disconnected by user", "Disconnected from user {u} {ip} port {port}")
	sshChild        = text("User child is on pid {n:2000-65000}")
	sshFailed       = text("Failed password for {u} from {ip} port {port} ssh2")
	sshPAMFailure   = text("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={u}")
	sshClosedAuth   = text("Connection closed by authenticating user {u} {ip} port {port} [preauth]")
	sshResetAuth    = text("Connection reset by authenticating user {u} {ip} port {port} [preauth]")
	sshMore         = text("PAM {n:1-4} more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={u}")
	sshTooMany      = text("error: maximum authentication attempts exceeded for {u} from {ip} port {port} ssh2 [preauth]")
	sshDisconnTMA   = text("Disconnecting authenticating user {u} {ip} port {port}: Too many authentication failures [preauth]")

	sshStranger = [][]template{
		texts("Invalid user {0} from {ip} port {port}",
			"pam_unix(sshd:auth): check pass; user unknown",
			"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} ",
			"Failed password for invalid user {0} from {ip} port {port} ssh2",
			"Connection closed by invalid user {0} {ip} port {port} [preauth]"),
		texts("Invalid user {0} from {ip} port {port}", "Received disconnect from {ip} port {port}:11: Bye Bye [preauth]",
			"Disconnected from invalid user {0} {ip} port {port} [preauth]"),
		texts("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user=root",
			"Failed password for root from {ip} port {port} ssh2", "Failed password for root from {ip} port {port} ssh2",
			"Failed password for root from {ip} port {port} ssh2",
			"error: maximum authentication attempts exceeded for root from {ip} port {port} ssh2 [preauth]",
			"Disconnecting authenticating user root {ip} port {port}: Too many authentication failures [preauth]"),
		texts("Unable to negotiate with {ip} port {port}: no matching {host key type|key exchange method|cipher} found. Their offer: {ssh-rsa,ssh-dss|diffie-hellman-group1-sha1|aes128-cbc,3des-cbc} [preauth]"),
		texts("banner exchange: Connection from {ip} port {port}: invalid format"),
		texts("error: kex_exchange_identification: Connection closed by remote host", "Connection closed by {ip} port {port}"),
		texts("error: kex_exchange_identification: client sent invalid protocol identifier \"{GET / HTTP/1.1|MGLNDD_192.0.2.30_22}\"",
			"banner exchange: Connection from {ip} port {port}: invalid format"),
		texts("Connection closed by {ip} port {port} [preauth]"),
		texts("Did not receive identification string from {ip} port {port}"),
	}

	loginNew      = text("New session {#0} of user {u}.")
	loginStarted  = text("Started Session {#0} of User {u}.")
	loginOut      = text("Session {#0} logged out. Waiting for processes to exit.")
	loginRemoved  = text("Removed session {#0}.")
	sudoCommand   = text("{u} : TTY=pts/{#1} ; PWD={0} ; USER={1} ; COMMAND={2}")
	sudoOpened    = text("pam_unix(sudo:session): session opened for user {1}(uid=0) by {u}(uid={uid})")
	sudoClosed    = text("pam_unix(sudo:session): session closed for user {1}")
	sudoWrong     = text("{u} : {n:1-3} incorrect password attempts ; TTY=pts/{#1} ; PWD={0} ; USER=root ; COMMAND={2}")
	sudoDenied    = text("{u} : user NOT in sudoers ; TTY=pts/{#1} ; PWD={0} ; USER=root ; COMMAND={2}")
	sudoPAMFailed = text("pam_unix(sudo:auth): authentication failure; logname={u} uid={uid} euid=0 tty=/dev/pts/{#1} ruser={u} rhost=  user={u}")
	suGood        = texts("(to root) {u} on pts/{#1}", "pam_unix(su-l:session): session opened for user root(uid=0) by {u}(uid={uid})")
	suBad         = texts("FAILED SU (to root) {u} on pts/{#1}", "pam_unix(su-l:auth): authentication failure; logname={u} uid={uid} euid=0 tty=/dev/pts/{#1} ruser={u} rhost=  user=root")

	userAdded = texts("group added to /etc/group: name={0}, GID={#2}", "group added to /etc/gshadow: name={0}", "new group: name={0}, GID={#2}")
	userNew   = text("new user: name={0}, UID={#2}, GID={#2}, home=/home/{0}, shell=/bin/bash, from=/dev/pts/{#1}")
	userMod   = texts("add '{0}' to group 'sudo'", "add '{0}' to shadow group 'sudo'")
	passwd    = text("pam_unix(passwd:chauthtok): password changed for {0}")

	cronOpened = text("pam_unix(cron:session): session opened for user {0}(uid={#0}) by (uid=0)")
	cronCmd    = text("({0}) CMD ({1})")
	cronClosed = text("pam_unix(cron:session): session closed for user {0}")

	systemLines = []struct {
		tag  string
		text template
	}{
		{"systemd", text("Starting {0} - {1}...")}, {"systemd", text("Finished {0} - {1}.")}, {"systemd", text("{0}: Deactivated successfully.")},
		{"systemd", text("{0}: Consumed {n:1-9}.{n:100-999}s CPU time.")}, {"systemd-logind", text("Watching system buttons on /dev/input/event{n:0-3} (Power Button)")},
		{"polkitd", text("Registered Authentication Agent for unix-process:{n:900-60000}:{n:100000-9999999} (system bus name :1.{n:20-900} [/usr/bin/pkttyagent --notify-fd 5 --fallback], object path /org/freedesktop/PolicyKit1/AuthenticationAgent, locale C.UTF-8)")},
		{"dbus-daemon", text("[system] Successfully activated service 'org.freedesktop.{hostname1|timedate1|nm_dispatcher|PackageKit}'")},
		{"chronyd", text("Selected source 10.10.0.{n:10-11} (ntp.umbrin.example)")},
		{"systemd-resolved", text("Clock change detected. Flushing caches.")},
	}
	systemUnits = []string{
		"apt-daily.service", "logrotate.service", "fstrim.service", "man-db.service", "sysstat-collect.service", "certbot.service",
		"phpsessionclean.service", "motd-news.service", "systemd-tmpfiles-clean.service", "node-exporter-textfile.service",
	}
	systemTexts = []string{
		"Daily apt download activities", "Rotate log files", "Discard unused blocks on filesystems", "Daily man-db regeneration",
		"system activity accounting tool", "Certbot", "Clean php session files", "Message of the Day", "Cleanup of Temporary Directories",
		"Collect textfile metrics",
	}
	cronJobs = []struct{ user, command string }{
		{"root", "   cd / && run-parts --report /etc/cron.hourly"},
		{"root", "command -v debian-sa1 > /dev/null && debian-sa1 1 1"},
		{"www-data", "cd /srv/shop && ./bin/console queue:work --once >/dev/null 2>&1"},
		{"root", "/usr/local/sbin/check-disk --warn 80 --crit 90"},
		{"metrics", "/opt/metrics/push.sh >> /var/log/metrics/push.log 2>&1"},
		{"root", "test -x /usr/sbin/anacron || run-parts --report /etc/cron.daily"},
		{"backup", "/usr/local/bin/snapshot --incremental --target backup.umbrin.example"},
		{"postgres", "/usr/lib/postgresql/16/bin/vacuumdb --all --analyze-in-stages"},
	}
	// Commands that people run by sudo: weights by position (Zipf).
	sudoCommands = []string{
		"/usr/bin/systemctl restart nginx", "/usr/bin/journalctl -u nginx -n 100", "/usr/bin/apt-get update", "/usr/bin/tail -f /var/log/syslog",
		"/usr/bin/systemctl status shop-worker", "/usr/bin/vim /etc/nginx/sites-available/shop.conf", "/usr/sbin/iptables -L -n -v",
		"/usr/bin/docker ps", "/usr/bin/ss -tlnp", "/usr/sbin/nginx -t", "/usr/bin/less /var/log/auth.log", "/usr/bin/apt-get upgrade -y",
		"/usr/bin/systemctl daemon-reload", "/usr/sbin/ip netns exec blue ip addr", "/usr/bin/tcpdump -ni eth0 port 443 -c 200",
		"/usr/bin/du -sh /var/log", "/usr/bin/chown -R www-data: /srv/shop/cache", "/usr/bin/docker logs --tail 200 api", "/usr/bin/kill -HUP 4867",
		"/usr/bin/rsync -a /srv/shop/ app01:/srv/shop/", "/usr/bin/crontab -l -u www-data", "/usr/sbin/lvs", "/usr/bin/cat /etc/shadow",
		"/usr/sbin/visudo", "/usr/bin/mount -a", "/usr/sbin/reboot",
	}
	workDirs = []string{"/home/%", "/srv/shop", "/var/log", "/etc/nginx", "/tmp", "/opt/metrics", "/home/%/deploy", "/root"}
)
