package synth

import "strconv"

// Packet filter, flow, gateway and web server lines.

// flow is one connection as the firewall and the cloud network see it.
type flow struct {
	from, to         string
	fromPort, toPort int
	proto            int // 6 TCP, 17 UDP, 1 ICMP
	packets, bytes   int64
	duration         int64 // microseconds
	eni              string
	drop             bool
}

var (
	ipUptime  = text("kernel: [{#0}.{n:100000-999999}] ")
	ipPlain   = text("kernel: ")
	ipLengths = []int{60, 52, 44, 40, 48}
)

// iptables writes the first packet of a connection as the kernel of h logs it. in and out name the interfaces.
func (w *window) iptables(t int64, h *host, in, out, prefix string, f *flow) {
	b, ok := w.begin(kIptables, t)
	if !ok {
		return
	}
	r := &w.ink
	b = append(append(append(appendSyslogTime(b, t), ' '), h.name...), ' ')
	if h.id%2 == 0 {
		w.v.n[0] = (t - w.p.start + h.boot) / second
		b = ipUptime.expand(b, &w.v, r)
	} else {
		b = ipPlain.expand(b, &w.v, r)
	}
	b = append(b, prefix...)
	b = append(append(append(append(b, "IN="...), in...), " OUT="...), out...)
	if in != "" {
		b = append(append(b, " MAC="...), h.mac...)
		b = append(b, ":02:1c:7e:00:00:01:08:00"...)
	}
	b = append(append(append(append(b, " SRC="...), f.from...), " DST="...), f.to...)
	length := ipLengths[r.zipf(len(ipLengths))]
	if f.proto == 17 {
		length = r.between(60, 120)
	} else if f.proto == 1 {
		length = 84
	}
	b = appendInt(append(b, " LEN="...), length)
	b = append(b, " TOS=0x00 PREC=0x00 TTL="...)
	b = appendInt(b, []int{63, 127, 51, 48, 240, 244}[r.zipf(6)])
	b = appendInt(append(b, " ID="...), r.n(65536))
	if r.chance(0.7) {
		b = append(b, " DF"...)
	}
	switch f.proto {
	case 1:
		b = append(b, " PROTO=ICMP TYPE=8 CODE=0 ID="...)
		b = appendInt(b, r.n(65536))
		b = appendInt(append(b, " SEQ="...), r.between(1, 9))
	case 17:
		b = appendInt(append(b, " PROTO=UDP SPT="...), f.fromPort)
		b = appendInt(append(b, " DPT="...), f.toPort)
		b = appendInt(append(b, " LEN="...), length-20)
	default:
		b = appendInt(append(b, " PROTO=TCP SPT="...), f.fromPort)
		b = appendInt(append(b, " DPT="...), f.toPort)
		b = appendInt(append(b, " WINDOW="...), []int{64240, 65535, 29200, 1024, 42340}[r.zipf(5)])
		b = append(b, " RES=0x00 SYN URGP=0 "...)
	}
	w.finish(b)
}

// vpcFlow writes the flow record of an interface: the version 2 fields in the default order.
func (w *window) vpcFlow(t int64, f *flow) {
	b, ok := w.begin(kVPCFlow, t+f.duration)
	if !ok {
		return
	}
	b = append(b, "2 111122223333 "...)
	b = append(b, f.eni...)
	b = append(append(append(append(b, ' '), f.from...), ' '), f.to...)
	b = appendInt(append(b, ' '), f.fromPort)
	b = appendInt(append(b, ' '), f.toPort)
	b = appendInt(append(b, ' '), f.proto)
	b = strconv.AppendInt(append(b, ' '), f.packets, 10)
	b = strconv.AppendInt(append(b, ' '), f.bytes, 10)
	b = strconv.AppendInt(append(b, ' '), t/second, 10)
	b = strconv.AppendInt(append(b, ' '), (t+f.duration)/second, 10)
	if f.drop {
		b = append(b, " REJECT OK"...)
	} else {
		b = append(b, " ACCEPT OK"...)
	}
	w.finish(b)
}

// noFlow writes the record of an interface without traffic, or of one whose records were lost.
func (w *window) noFlow(t int64, eni, status string) {
	b, ok := w.begin(kVPCFlow, t)
	if !ok {
		return
	}
	b = append(append(b, "2 111122223333 "...), eni...)
	b = append(b, " - - - - - - - "...)
	b = strconv.AppendInt(b, t/second-60, 10)
	b = strconv.AppendInt(append(b, ' '), t/second, 10)
	b = append(append(b, " - "...), status...)
	w.finish(b)
}

// request is one request to a web server.
type request struct {
	client, user   string
	method, target string // target escaped as nginx escapes
	status         int
	bytes          int64
	referer, agent string
	proto          string
	host           string
	seconds        float64
}

// nginx writes an access line. Every third host uses a longer format: host, request time, upstream time.
func (w *window) nginx(t int64, h *host, q *request) {
	b, ok := w.begin(kNginx, t)
	if !ok {
		return
	}
	b = append(append(append(append(b, q.client...), " - "...), q.user...), " ["...)
	b = appendHTTPTime(b, t)
	b = append(b, "] \""...)
	if q.method != "" {
		b = append(append(b, q.method...), ' ')
		b = append(b, q.target...)
		b = append(append(b, ' '), q.proto...)
	} else {
		b = append(b, q.target...) // not a request line
	}
	b = appendInt(append(b, "\" "...), q.status)
	b = strconv.AppendInt(append(b, ' '), q.bytes, 10)
	b = append(append(append(b, " \""...), q.referer...), "\" \""...)
	b = append(append(b, q.agent...), '"')
	if h.id%3 == 0 {
		b = append(append(append(b, " \""...), q.host...), "\" rt="...)
		b = strconv.AppendFloat(b, q.seconds, 'f', 3, 64)
		b = append(b, " uct=\"0.000\" urt=\""...)
		b = strconv.AppendFloat(b, q.seconds*0.96, 'f', 3, 64)
		b = append(b, '"')
	}
	w.finish(b)
}

var (
	vpnStart   = text("event=connect src={ip} sport={port} proto=udp client=\"{UmbrinVPN/5.4.1 (Windows)|UmbrinVPN/5.4.1 (macOS)|UmbrinVPN/5.3.0 (Windows)}\" msg=\"TLS handshake completed\" cipher=TLS_AES_256_GCM_SHA384")
	vpnAuthOK  = text("event=auth result=success user=\"{u}\" realm=umbrin src={ip} method=radius mfa={push|totp} reply=\"Access-Accept\"")
	vpnAuthBad = text("event=auth result=failure user=\"{0}\" realm=umbrin src={ip} method=radius reason=\"{1}\" reply=\"Access-Reject\"")
	vpnUp      = text("event=tunnel-up user=\"{u}\" src={ip} sport={port} pool={ip2} group={dept} cipher=AES-256-GCM mtu=1{390|400|420} session={0}")
	vpnDown    = text("event=tunnel-down user=\"{u}\" src={ip} pool={ip2} session={0} duration={#0} rx={#1} tx={#2} reason=\"{1}\"")
	vpnRekey   = text("event=rekey user=\"{u}\" src={ip} session={0} cipher=AES-256-GCM spi=0x{x:8}")
	vpnPosture = text("event=posture user=\"{u}\" device=\"{ws}\" os=\"Windows 10.0.22631\" av=on disk=encrypted result=compliant")
	vpnNoCert  = text("event=handshake-failed src={ip} sport={port} reason=\"{certificate required but not presented|no shared cipher|client hello too short|unsupported protocol version}\"")
	vpnHome    = text("event=posture user=\"{u}\" device=\"{0}\" os=\"Windows 10.0.19045\" av=unknown disk=plain result=quarantine-exempt")
	vpnPools   = texts("event=pool name=staff used={n:1-180} free={n:20-400}", "event=health peers={n:0-300} cpu={n:1-70} mem={n:20-60} state=active",
		"event=radius server=10.10.0.{10|11} latency_ms={n:1-40} state=up", "event=config checksum={x:16} source=local unchanged=yes")
)

// vpn writes a line of the VPN gateway.
func (w *window) vpn(t int64, m *template) {
	b, ok := w.begin(kVPN, t)
	if !ok {
		return
	}
	h := w.p.tenant.gateway
	b = append(append(append(appendSyslogTime(b, t), ' '), h.name...), " vpngw["...)
	b = appendInt(b, 811+w.daysSinceStart(t)/7)
	b = append(b, "]: "...)
	w.v.h = h
	w.finish(m.expand(b, &w.v, &w.ink))
}
