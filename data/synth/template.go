package synth

import (
	"fmt"
	"strconv"
	"strings"
)

// A template is the text of one log line, or the part of it after the header, with places to fill in. Its places are
//
//	{u} {uid} {name} {upn} {sid} {oid} {ws} {dept}   the user of the line: login, number, display name, …, workstation
//	{h} {fqdn} {hip}                                 the host of the line: short name, full name, address
//	{ip} {port} {pid} {ip2}                          the line's own values
//	{0} … {7}                                        strings, {#0} … {#5} numbers that the caller sets
//	{n:A-B}   a number, uniform                      {x:N} {X:N}  N hexadecimal digits, lower or upper case
//	{b64:N}   N characters of base64                 {guid}       a version 4 UUID
//	{A|B|C}   one of the alternatives (no places inside)
//
// In a JSON template {0} … {7} are escaped as JSON demands. Anything else in braces is text: JSON needs no quoting.
type template struct {
	parts []part
	json  bool
}

type part struct {
	lit   string
	op    opcode
	a, b  int64
	picks []string
}

type opcode uint8

const (
	opLit opcode = iota
	opUser
	opUID
	opName
	opUPN
	opSID
	opOID
	opWS
	opDept
	opHost
	opFQDN
	opHostIP
	opIP
	opPort
	opPID
	opIP2
	opString
	opNumber
	opRange
	opHex
	opHexUpper
	opBase64
	opGUID
	opPick
)

var simpleOps = map[string]opcode{
	"u": opUser, "uid": opUID, "name": opName, "upn": opUPN, "sid": opSID, "oid": opOID, "ws": opWS, "dept": opDept,
	"h": opHost, "fqdn": opFQDN, "hip": opHostIP, "ip": opIP, "port": opPort, "pid": opPID, "ip2": opIP2, "guid": opGUID,
}

// text and jsonText compile a template; a text that cannot be one is a broken invariant of this package.
func text(s string) template     { return compile(s, false) }
func jsonText(s string) template { return compile(s, true) }

func texts(lines ...string) []template {
	out := make([]template, len(lines))
	for i, s := range lines {
		out[i] = text(s)
	}
	return out
}

func compile(s string, json bool) template {
	t := template{json: json}
	lit := func(s string) {
		if n := len(t.parts); n > 0 && t.parts[n-1].op == opLit {
			t.parts[n-1].lit += s
		} else if s != "" {
			t.parts = append(t.parts, part{lit: s})
		}
	}
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			lit(s)
			break
		}
		lit(s[:open])
		s = s[open:]
		end := strings.IndexAny(s[1:], `{}"`) + 1
		if end > 0 && s[end] == '}' {
			if p, ok := place(s[1:end]); ok {
				t.parts = append(t.parts, p)
				s = s[end+1:]
				continue
			}
		}
		lit("{")
		s = s[1:]
	}
	return t
}

// place reads what stands between braces.
func place(s string) (part, bool) {
	if op, ok := simpleOps[s]; ok {
		return part{op: op}, true
	}
	if len(s) == 1 && s[0] >= '0' && s[0] <= '7' {
		return part{op: opString, a: int64(s[0] - '0')}, true
	}
	if len(s) == 2 && s[0] == '#' && s[1] >= '0' && s[1] <= '5' {
		return part{op: opNumber, a: int64(s[1] - '0')}, true
	}
	if strings.Contains(s, "|") {
		return part{op: opPick, picks: strings.Split(s, "|")}, true
	}
	name, arg, ok := strings.Cut(s, ":")
	if !ok {
		return part{}, false
	}
	if name == "n" {
		lo, hi, _ := strings.Cut(arg, "-")
		a, err1 := strconv.ParseInt(lo, 10, 64)
		b, err2 := strconv.ParseInt(hi, 10, 64)
		if err1 != nil || err2 != nil || a > b {
			panic(fmt.Sprintf("internal error: template place {%s}", s))
		}
		return part{op: opRange, a: a, b: b - a + 1}, true
	}
	n, err := strconv.ParseInt(arg, 10, 64)
	op, known := map[string]opcode{"x": opHex, "X": opHexUpper, "b64": opBase64}[name]
	if err != nil || !known {
		return part{}, false
	}
	return part{op: op, a: n}, true
}

// vars holds what a line's places stand for. Strings that the template does not use may be empty.
type vars struct {
	u       *user
	h       *host
	ip, ip2 string
	port    int
	pid     int
	s       [8]string
	n       [6]int64
}

// expand appends the template's text to b, drawing from r.
func (t *template) expand(b []byte, v *vars, r *random) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		switch p.op {
		case opLit:
			b = append(b, p.lit...)
		case opUser:
			b = append(b, v.u.login...)
		case opUID:
			b = strconv.AppendInt(b, int64(v.u.uid), 10)
		case opName:
			b = append(b, v.u.name...)
		case opUPN:
			b = append(b, v.u.upn...)
		case opSID:
			b = append(b, v.u.sid...)
		case opOID:
			b = append(b, v.u.oid...)
		case opWS:
			b = append(b, v.u.ws.name...)
		case opDept:
			b = append(b, v.u.dept...)
		case opHost:
			b = append(b, v.h.name...)
		case opFQDN:
			b = append(b, v.h.fqdn...)
		case opHostIP:
			b = append(b, v.h.ip...)
		case opIP:
			b = append(b, v.ip...)
		case opIP2:
			b = append(b, v.ip2...)
		case opPort:
			b = strconv.AppendInt(b, int64(v.port), 10)
		case opPID:
			b = strconv.AppendInt(b, int64(v.pid), 10)
		case opString:
			if t.json {
				b = appendJSON(b, v.s[p.a])
			} else {
				b = append(b, v.s[p.a]...)
			}
		case opNumber:
			b = strconv.AppendInt(b, v.n[p.a], 10)
		case opRange:
			b = strconv.AppendInt(b, p.a+int64(r.n(int(p.b))), 10)
		case opHex:
			b = r.hex(b, int(p.a), "0123456789abcdef")
		case opHexUpper:
			b = r.hex(b, int(p.a), "0123456789ABCDEF")
		case opBase64:
			b = r.base64(b, int(p.a))
		case opGUID:
			b = r.guid(b)
		case opPick:
			b = append(b, p.picks[r.n(len(p.picks))]...)
		}
	}
	return b
}

// appendJSON appends s as the inside of a JSON string (RFC 8259, section 7). s is UTF-8 without invalid bytes.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
