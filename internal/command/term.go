package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Colours are the terminal's own, so that they suit its background.
const (
	red   = "31"
	green = "32"
	dim   = "2"
	bold  = "1"
)

// colour says whether w takes colours: a terminal that is not dumb, and nobody said NO_COLOR.
func (a *app) colour(w io.Writer) bool {
	return a.getenv("NO_COLOR") == "" && a.smart(w)
}

// smart says whether w is a terminal that can move its cursor.
func (a *app) smart(w io.Writer) bool {
	term := a.getenv("TERM")
	return term != "dumb" && (term != "" || runtime.GOOS == "windows") && isTerminal(w)
}

func paint(s, code string, colour bool) string {
	if !colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// clean keeps what came from elsewhere (a name, an error) on its line and from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

func quote(s string) string { return "`" + clean(s) + "`" }

// field is one line of a table: a label and what it is.
type field struct{ label, value string }

// writeFields writes the fields that have a value, aligned.
func (a *app) writeFields(w io.Writer, fields []field) error {
	width := 0
	for _, f := range fields {
		if f.value != "" {
			width = max(width, utf8.RuneCountInString(f.label))
		}
	}
	var b strings.Builder
	for _, f := range fields {
		if f.value != "" {
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(f.label))
			b.WriteString("  " + paint(f.label, dim, a.colour(w)) + pad + "  " + clean(f.value) + "\n")
		}
	}
	return said(io.WriteString(w, b.String()))
}

func (a *app) println(s string) error { return said(fmt.Fprintln(a.Stdout, s)) }

func (a *app) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fail("the answer could not be written", err, "")
	}
	return said(a.Stdout.Write(append(b, '\n')))
}

// said makes of an answer that could not be written an error: a full disk behind a redirection
// must not look like success.
func said(_ int, err error) error {
	if err == nil {
		return nil
	}
	return fail("the answer could not be written", cause(err), "Look at where the output goes: the disk may be full, or the reader gone")
}

func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// span says a duration in the two units that matter.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 10*time.Minute && d%time.Minute != 0:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// moment says a time as the person's clock shows it, and how far away it is.
func (a *app) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	now := a.Now()
	if !t.After(now) {
		return t.Local().Format("2006-01-02 15:04") + " (over)"
	}
	return t.Local().Format("2006-01-02 15:04") + " (in " + span(t.Sub(now)) + ")"
}
