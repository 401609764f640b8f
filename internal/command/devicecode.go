package command

import (
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// deviceCode shows the person's part of a device login: the address, the code,
// and on a terminal the address once more as a QR code. That holds no code: one
// that is typed is looked at (RFC 10027).
func (v *view) deviceCode(e agentwire.Event, second bool) {
	if v.a.json {
		return
	}
	on := canvas{columns: v.columns(), blocks: v.a.unicodeTerminal(), colour: v.a.colour(v.a.Stderr)}
	var b strings.Builder
	switch {
	case second:
		b.WriteString("You can also sign in on another device (" + clean(e.Reason) + ").\n")
	case e.Reason != "" && v.auto:
		b.WriteString("Signing in with a code (" + clean(e.Reason) + ").\n")
	}
	b.WriteString("To sign in at " + clean(v.issuer) + ", open this page on any device:\n\n  " + clean(e.VerificationURI) + "\n\n")
	if !v.a.smart(v.a.Stderr) {
		b.WriteString("and enter the code  " + clean(e.UserCode) + "\n")
		v.line(b.String())
		return
	}
	b.WriteString("and enter the code\n\n")
	large := strings.Join(strings.Split(clean(e.UserCode), ""), " ")
	if len(large)+6 > on.columns {
		large = clean(e.UserCode)
	}
	b.WriteString("      " + paint(large, bold, on.colour) + "\n")
	for _, l := range drawQR(e.VerificationURI, canvas{on.columns - 2, on.blocks, on.colour}) {
		b.WriteString("\n  " + l)
	}
	b.WriteString("\n\nNever enter a code that somebody else sent you.\n")
	v.line(b.String())
	v.mu.Lock()
	v.typeBy = e.ExpiresAt
	v.mu.Unlock()
}

// columns is the terminal's width; 80 where it does not say.
func (v *view) columns() int {
	if f, ok := v.a.Stderr.(interface{ Fd() uintptr }); ok {
		if n := terminalWidth(f.Fd()); n > 0 {
			return n
		}
	}
	return 80
}
