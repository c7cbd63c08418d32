package synth

import (
	"fmt"
	"math"
	"strings"
)

// user is a person of the tenant, or a service account.
type user struct {
	id     int
	login  string
	name   string
	upn    string
	sid    string
	oid    string // directory object id
	dept   string
	deptID int
	uid    int
	ws     *host
	agent  string
	offset int64   // of the user's site to UTC, microseconds
	start  float64 // usual local hour of the day's first logon
	length float64 // usual hours of a working day
	remote float64 // share of days at home
	homeIP string
	poolIP string // address inside the VPN
	town   town
	weight float64 // activity, mean about 1, by Zipf's law
	role   string  // cloud role
	akid   string  // cloud access key id of the role session's prefix
}

// host is a machine of the tenant.
type host struct {
	id   int
	name string
	fqdn string
	ip   string
	mac  string
	eni  string // network interface in the cloud, empty on premises
	boot int64  // microseconds
}

// tenant is the company whose logs are made: everything that does not change in the generated time.
type tenant struct {
	seed    uint64
	users   []*user
	admins  []*user // IT and operations
	bySSH   []*user // those who have a login on Linux hosts
	backup  *user   // service accounts
	deploy  *user
	scanner *host

	dcs, files, members []*host // Windows servers
	bastion, ci, logs   *host
	webs, apps          []*host // in the cloud
	linux               []*host // all Linux servers
	firewall, gateway   *host
	lb                  [2]string
	buckets             []string
	hosts               int
}

// newTenant makes a company of n users. Numbers of hosts follow from it.
func newTenant(seed uint64, n int) *tenant {
	r := newRandom(seed, siteTenant, 0, 0)
	t := &tenant{seed: seed, lb: [2]string{"10.40.0.11", "10.40.0.12"}}
	hosts := 0
	newHost := func(name, ip string, cloud bool) *host {
		h := &host{id: hosts, name: name, fqdn: name + ".corp." + domainName, ip: ip}
		hosts++
		mac := r.hex(nil, 6, "0123456789abcdef")
		h.mac = fmt.Sprintf("02:1c:7e:%s:%s:%s", mac[0:2], mac[2:4], mac[4:6])
		h.boot = int64(r.between(3, 200))*day + r.micros(0, 86400)
		if cloud {
			h.eni = "eni-0" + string(r.hex(nil, 16, "0123456789abcdef"))
		}
		return h
	}
	linux := func(name, ip string, cloud bool) *host {
		h := newHost(name, ip, cloud)
		t.linux = append(t.linux, h)
		return h
	}
	for i := range 2 {
		t.dcs = append(t.dcs, newHost(fmt.Sprintf("DC%02d", i+1), fmt.Sprintf("10.10.0.%d", 10+i), false))
	}
	for i := range min(8, 2+n/150) {
		t.files = append(t.files, newHost(fmt.Sprintf("FS%02d", i+1), fmt.Sprintf("10.10.1.%d", 10+i), false))
	}
	for i, name := range []string{"APP01", "SQL01", "PRINT01", "RDS01", "SCCM01", "BKP01"} {
		t.members = append(t.members, newHost(name, fmt.Sprintf("10.10.2.%d", 10+i), false))
	}
	t.firewall = linux("fw01", "10.10.0.1", false)
	t.gateway = linux("vpn01", "10.10.0.2", false)
	t.ci = linux("ci01", "10.10.3.10", false)
	t.logs = linux("log01", "10.10.3.11", false)
	t.bastion = linux("bastion01", "10.40.1.5", true)
	for i := range min(40, 3+n/80) {
		t.webs = append(t.webs, linux(fmt.Sprintf("web%02d", i+1), fmt.Sprintf("10.40.2.%d", 10+i), true))
	}
	for i := range min(40, 2+n/100) {
		t.apps = append(t.apps, linux(fmt.Sprintf("app%02d", i+1), fmt.Sprintf("10.40.3.%d", 10+i), true))
	}
	for i := range 2 {
		t.apps = append(t.apps, linux(fmt.Sprintf("db%02d", i+1), fmt.Sprintf("10.40.4.%d", 10+i), true))
	}
	t.scanner = newHost("scan01", "10.10.3.40", false)
	for _, b := range []string{"logs", "backups", "media", "exports", "terraform-state", "customer-data", "artifacts"} {
		t.buckets = append(t.buckets, "umbrin-"+b)
	}

	total := 0
	for _, d := range departments {
		total += d.size
	}
	logins := map[string]bool{}
	var harmonic float64
	for i := range n {
		u := &user{id: i, uid: 1001 + i}
		given, family := givenNames[r.n(len(givenNames))], familyNames[r.n(len(familyNames))]
		u.name = given + " " + family
		u.login = login(given, family)
		for k := 2; logins[u.login]; k++ {
			u.login = fmt.Sprintf("%s%d", login(given, family), k)
		}
		logins[u.login] = true
		u.upn = u.login + "@" + domainName
		u.sid = fmt.Sprintf("%s-%d", domainSID, 1104+i)
		u.oid = string(r.guid(nil))
		// The first users fill the small departments, so that every company has them.
		u.deptID = len(departments) - 1 - i
		if i >= len(departments) {
			x := r.n(total)
			for u.deptID = 0; x >= departments[u.deptID].size; u.deptID++ {
				x -= departments[u.deptID].size
			}
		}
		u.dept = departments[u.deptID].name
		u.ws = newHost(fmt.Sprintf("WS-%s%04d", strings.ToUpper(u.dept[:2]), i+1), fmt.Sprintf("10.20.%d.%d", i/200, 20+i%200), false)
		u.agent = browsers[r.zipf(5)]
		u.offset = hour
		u.town = cities[0]
		if r.chance(0.2) { // the second site
			u.offset = -5 * hour
			u.town = cities[4]
		} else if r.chance(0.3) {
			u.town = cities[r.n(4)]
		}
		u.start = 7.4 + 2*r.float()
		u.length = 7.5 + 2.2*r.float()
		u.remote = 0.6 * r.float() * r.float()
		u.homeIP = homeAddress(i)
		u.poolIP = fmt.Sprintf("10.99.%d.%d", i/200, 10+i%200)
		u.weight = 1 / math.Pow(float64(1+(i*7919)%n), 0.7)
		harmonic += u.weight
		u.role = []string{"ReadOnlyAccess", "DeveloperAccess", "AdministratorAccess"}[map[string]int{"Engineering": 1, "Operations": 2, "IT": 2}[u.dept]]
		u.akid = "AROA" + string(r.hex(nil, 16, "ABCDEFGHJKLMNPQ7"))
		t.users = append(t.users, u)
		switch u.dept {
		case "IT", "Operations":
			t.admins = append(t.admins, u)
			t.bySSH = append(t.bySSH, u)
		case "Engineering":
			t.bySSH = append(t.bySSH, u)
		}
	}
	for _, u := range t.users {
		u.weight *= float64(n) / harmonic
	}
	service := func(login, name string, ws *host, rid int) *user {
		return &user{id: n + rid, login: login, name: name, upn: login + "@" + domainName, sid: fmt.Sprintf("%s-%d", domainSID, rid),
			oid: string(r.guid(nil)), dept: "Service", uid: 900 + rid%100, ws: ws, agent: "curl/8.9.1", homeIP: egressIP, poolIP: ws.ip,
			town: cities[0], role: "AutomationRole", akid: "AROA" + string(r.hex(nil, 16, "ABCDEFGHJKLMNPQ7"))}
	}
	t.hosts = hosts
	t.backup = service("svc-backup", "Backup Service", t.members[5], 1001)
	t.deploy = service("svc-deploy", "Deployment Service", t.ci, 1002)
	return t
}

// login makes a login name: initial and family name in ASCII.
func login(given, family string) string {
	s := strings.ToLower(given[:1] + family)
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c
		case c == 'å':
			return 'a'
		case c == 'ü':
			return 'u'
		}
		return -1
	}, s)
}

// homeAddress is the i-th user's line at home: RFC 5737 for the first 450, then RFC 2544. 203.0.113.205 and above are
// left to attackers.
func homeAddress(i int) string {
	if i < 250 {
		return fmt.Sprintf("198.51.100.%d", 2+i)
	}
	if i < 450 {
		return fmt.Sprintf("203.0.113.%d", 2+i-250)
	}
	return fmt.Sprintf("198.19.%d.%d", i/250, 2+i%250)
}

// internetAddress is an address of somebody outside: mostly one of a few thousand, some far more often than others.
func internetAddress(r *random) string {
	n := r.zipf(40_000)
	if r.n(20) == 0 {
		return fmt.Sprintf("2001:db8:%x:%x::%x", n&0xfff, n>>12+1, 1+n%9)
	}
	n = n * 40503 & 0xffff // spread, so that neighbours in rank are no neighbours in address
	return fmt.Sprintf("198.18.%d.%d", n>>8, 1+(n&255)%254)
}

// hostileAddress is the address of the k-th attacker; it occurs nowhere else.
func hostileAddress(k int) string { return fmt.Sprintf("203.0.113.%d", 254-k%50) }
