package console

import (
	"io"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
)

// SignIn is the sign-in page: on the way to a consent page, or to /me.
type SignIn struct {
	ClientID   string // empty at /me
	ClientName string
	RequestURI string
	Device     string // handle of a device authorization, on the way to its page
	Token      string // the form's
	Email      string // filled in
	Problem    string // why the last attempt failed; empty: none was made
}

// SignIn writes the page.
func (s *Site) SignIn(w io.Writer, p SignIn) error {
	return s.render(w, "signin", "Sign in", p)
}

// Consent is the consent page.
type Consent struct {
	View    authserver.View
	Device  string        // handle of a device authorization; empty: an authorization request
	Confirm bool          // the second step
	Wanting policy.Action // what policy asks for before Allow counts; empty: nothing
	Apart   bool          // the device is on another network than this browser
	Less    bool          // policy takes scopes away that were asked for
	Token   string        // the form's
	Asked   string        // the scopes that the page shows, for the form of a device authorization
	Address string        // where this browser is
	Now     time.Time
}

// Consent writes the page.
func (s *Site) Consent(w io.Writer, p Consent) error {
	return s.render(w, "consent", "Allow "+p.View.Client.Name+"?", p)
}

// Started says how long ago the login was started.
func (c Consent) Started() string { return ago(c.Now, c.View.StartedAt) }

// Told reports whether the tool said where it runs.
func (c Consent) Told() bool {
	f := c.View.Facts
	return f.Host != "" || f.OSUser != "" || f.Platform != ""
}

// Elsewhere reports whether the login was started from another address than
// the browser's.
func (c Consent) Elsewhere() bool {
	if c.Device != "" {
		return c.Apart
	}
	return c.View.Facts.Address != "" && c.Address != "" && c.View.Facts.Address != c.Address
}

// Allowable reports whether there is an Allow to press.
func (c Consent) Allowable() bool {
	return !c.View.Lacking && c.Wanting != policy.Trusted && c.Wanting != policy.Refuse
}

// Code is the page where a person types a user code (RFC 8628 §3.3).
type Code struct {
	Token   string
	Problem string
	SignIn  bool // whoever signs in first may go on
}

// Code writes the page.
func (s *Site) Code(w io.Writer, p Code) error {
	return s.render(w, "code", "Connect a device", p)
}

// DeviceDone is the last page of a device login in the browser.
type DeviceDone struct{ Allowed bool }

// DeviceDone writes the page.
func (s *Site) DeviceDone(w io.Writer, p DeviceDone) error {
	title := "Denied"
	if p.Allowed {
		title = "Allowed"
	}
	return s.render(w, "devicedone", title, p)
}

// Post is the page that carries an answer to the tool's listener: the script
// sends it, or a person with "Continue".
type Post struct {
	Response authserver.Response
}

// Post writes the page.
func (s *Site) Post(w io.Writer, p Post) error {
	return s.render(w, "post", p.Title(), p)
}

// Title says what is being carried.
func (p Post) Title() string {
	switch {
	case p.Response.Handshake:
		return "One moment"
	case p.failed() == "":
		return "Allowed"
	case p.failed() == "access_denied":
		return "Denied"
	}
	return "Not allowed"
}

// Words says it in a sentence.
func (p Post) Words() string {
	switch {
	case p.Response.Handshake:
		return "Your browser is asking the tool on this computer whether it started this login."
	case p.failed() == "":
		return "Your browser is telling the tool on this computer that you allowed it."
	case p.failed() == "access_denied":
		return "Nothing was given to the tool. Your browser is telling it so."
	}
	return "The tool's request could not be answered. Your browser is telling it why."
}

func (p Post) failed() string {
	for _, f := range p.Response.Params {
		if f.Name == "error" {
			return f.Value.Reveal()
		}
	}
	return ""
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Fields are what is sent.
func (p Post) Fields() []Field {
	out := make([]Field, 0, len(p.Response.Params))
	for _, f := range p.Response.Params {
		out = append(out, Field{f.Name, f.Value.Reveal()})
	}
	return out
}

// Retry is the page for a browser that was too slow for the handshake.
type Retry struct {
	Request string // authserver.HandshakeAnswer.RetryToken
	Token   string // the form's
}

// Retry writes the page.
func (s *Site) Retry(w io.Writer, p Retry) error {
	return s.render(w, "retry", "That took too long", p)
}

// Error is a failure that the person is told of.
type Error struct {
	What, Why, Do string
	Code          oauth.Code
	// Warn: somebody may be after the person's access.
	Warn bool
}

// Error writes the page.
func (s *Site) Error(w io.Writer, p Error) error {
	return s.render(w, "error", p.What, p)
}

// SignedOut writes the page after signing out.
func (s *Site) SignedOut(w io.Writer) error {
	return s.render(w, "signedout", "Signed out", nil)
}

// Landing writes the page at the root.
func (s *Site) Landing(w io.Writer) error {
	return s.render(w, "landing", "Keytether", nil)
}

// Me is a person's own page.
type Me struct {
	Alarms       []Alarm
	Locks        []Lock
	Email        string
	Done         string // what was just done; empty: nothing
	Cards        []Card
	SignOutToken string
	New          []NewLogin // device logins that the person is told of
	SeenToken    string     // of the form that says they are known
	SeenUntil    string
	Now          time.Time
}

// NewLogin is one device login in the banner.
type NewLogin struct {
	authserver.NewLogin
	Disown string // token of "This wasn't me"
	Now    time.Time
}

// When says how long ago it was.
func (n NewLogin) When() string { return ago(n.Now, n.Since) }

// Card is one installation.
type Card struct {
	ID     string // empty: grants that are bound to no key
	Facts  event.Facts
	First  time.Time
	Last   time.Time
	Grants []Grant
	Token  string // of "This wasn't me"; empty: it stands elsewhere
	Locked bool
	Now    time.Time
}

// Grant is one grant on a card.
type Grant struct {
	authserver.HeldGrant
	Revoke string // token of the form "Revoke"
	Disown string // token of the form "This wasn't me"; empty: it stands on the card
	Now    time.Time
}

// Me writes the page.
func (s *Site) Me(w io.Writer, p Me) error {
	return s.render(w, "me", "Your tools", p)
}

// Seen says when the installation was last used.
func (c Card) Seen() string { return ago(c.Now, c.Last) }

// Renewed says when the grant was last used.
func (g Grant) Renewed() string { return ago(g.Now, g.Used) }

// Left says how long the grant still lasts.
func (g Grant) Left() string { return span(g.Ends.Sub(g.Now)) }
