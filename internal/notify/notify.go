// Package notify asks a person on the desktop: a notice with the buttons Allow and Deny, by the
// Desktop Notifications Specification (version 1.2, org.freedesktop.Notifications). Where there is
// no such desktop nobody is asked.
package notify

import (
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// maxWord bounds what a program chose to be called, in characters of a notice.
const maxWord = 200

// words are heading and text for a question. A path is its program's choice: it is shown on a line
// of its own, shortened, and without control characters.
func words(q agentwire.Confirmation) (summary, body string) {
	who := q.Executable
	if who == "" {
		who = "A program that cannot be told"
	}
	lines := []string{plain(who)}
	if q.Script != "" {
		lines = append(lines, "running "+plain(q.Script)+" (it says)")
	}
	if q.Host != "" {
		lines = append(lines, "on the host "+plain(q.Host))
	}
	lines = append(lines, "asks for the login "+plain(q.Profile)+" for the first time.")
	if q.Resource != "" {
		lines = append(lines, "For: "+plain(q.Resource))
	}
	return "Keytether: may this program act for you?", strings.Join(lines, "\n")
}

func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		// Controls, and what turns the direction of writing around.
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > maxWord {
		s = string(r[:maxWord/2]) + "…" + string(r[len(r)-maxWord/2:])
	}
	return s
}

// escape is for servers that read markup in the text.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
