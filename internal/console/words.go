package console

import (
	"fmt"
	"html/template"
	"time"
)

func funcs() template.FuncMap {
	return template.FuncMap{"span": span, "day": day, "iso": iso}
}

// span says how long something lasts, in the largest unit that is exact enough.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return count(int(d.Round(time.Minute)/time.Minute), "minute")
	case d <= 48*time.Hour:
		return count(int(d.Round(time.Hour)/time.Hour), "hour")
	}
	return count(int(d.Round(24*time.Hour)/(24*time.Hour)), "day")
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// ago says how long ago something was.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	if d < 5*time.Second {
		return "just now"
	}
	return span(d) + " ago"
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Action is where the answer is posted: a redirect URI of the client's
// registration, whose scheme was judged there. The template would put #ZgotmplZ
// for a private-use scheme (RFC 8252 §7.1), and the code would come back to us.
func (p Post) Action() template.URL { return template.URL(p.Response.RedirectURI) }
