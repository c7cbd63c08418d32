package synth

import "time"

// Times are microseconds since 1970 UTC.
const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// Share of a day's activity by local hour, largest 1. Office work peaks before and after lunch; customers come in the
// evening; machines of the internet never sleep.
var (
	officeCurve = [24]float64{
		.01, .01, .01, .01, .01, .02, .06, .25, .70, .97, 1, .92,
		.55, .80, .97, .95, .85, .60, .25, .10, .06, .04, .02, .01,
	}
	customerCurve = [24]float64{
		.22, .12, .08, .06, .06, .08, .15, .28, .42, .52, .58, .62,
		.70, .62, .58, .58, .62, .70, .82, .95, 1, .92, .70, .42,
	}
	weekdayCustomers = [7]float64{1.15, .95, .92, .92, .95, 1, 1.2} // Sunday first
)

// local is a time at a site: the parts that rhythm and log lines need.
type local struct {
	weekday time.Weekday
	hour    float64 // 0 … 24
}

func localTime(t int64, offset int64) local {
	s := t + offset
	days := floorDiv(s, day)
	return local{weekday: time.Weekday((days + 4) % 7), hour: float64(s-days*day) / float64(hour)}
}

// floorDiv is a/b rounded down for b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// weekend tells whether a local day is Saturday or Sunday.
func (l local) weekend() bool { return l.weekday == time.Saturday || l.weekday == time.Sunday }

// curve interpolates between the hours of a day curve.
func curve(c *[24]float64, h float64) float64 {
	i := int(h) % 24
	f := h - float64(int(h))
	return c[i]*(1-f) + c[(i+1)%24]*f
}

func stdTime(t int64) time.Time { return time.UnixMicro(t).UTC() }

func pad2(b []byte, n int) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }

// appendClock appends hh:mm:ss.
func appendClock(b []byte, t time.Time) []byte {
	h, m, s := t.Clock()
	b = append(pad2(b, h), ':')
	b = append(pad2(b, m), ':')
	return pad2(b, s)
}

// appendSyslogTime appends RFC 3164's Mmm [d]d hh:mm:ss.
func appendSyslogTime(b []byte, t int64) []byte {
	u := stdTime(t)
	_, m, d := u.Date()
	b = append(b, m.String()[:3]...)
	b = append(b, ' ')
	if d < 10 {
		b = append(b, ' ', byte('0'+d))
	} else {
		b = pad2(b, d)
	}
	return appendClock(append(b, ' '), u)
}

// appendISO appends yyyy-mm-dd, sep, hh:mm:ss.
func appendISO(b []byte, t int64, sep byte) []byte {
	u := stdTime(t)
	y, m, d := u.Date()
	b = pad2(pad2(b, y/100), y%100)
	b = pad2(append(b, '-'), int(m))
	b = pad2(append(b, '-'), d)
	return appendClock(append(b, sep), u)
}

// appendFraction appends a dot and the first digits of the second's fraction, 3 or 6.
func appendFraction(b []byte, t int64, digits int) []byte {
	f := t - floorDiv(t, second)*second
	b = append(b, '.')
	for scale, i := int64(100_000), 0; i < digits; i++ {
		b = append(b, byte('0'+f/scale%10))
		scale /= 10
	}
	return b
}

// appendHTTPTime appends nginx's $time_local without brackets: 02/Jan/2006:15:04:05 +0000.
func appendHTTPTime(b []byte, t int64) []byte {
	u := stdTime(t)
	y, m, d := u.Date()
	b = append(pad2(b, d), '/')
	b = append(b, m.String()[:3]...)
	b = pad2(pad2(append(b, '/'), y/100), y%100)
	b = appendClock(append(b, ':'), u)
	return append(b, " +0000"...)
}
