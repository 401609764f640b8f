// Package console is the pages that people see: sign-in, consent, the pages
// that carry an answer to a tool, a person's own grants, and errors.
//
// It turns values of authserver into HTML and decides nothing. Every page works
// without a script, from 320 CSS pixels on, in light and dark; the one script
// there is sends a form that a person could send with "Continue". A page loads
// nothing but the server's own style sheet and icon, whose names hold their hash.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"io"
	"strings"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed style.css
var style []byte

//go:embed icon.svg
var icon []byte

// submit is the one script: it sends the page's only form.
const submit = "document.forms[0].submit()"

// StaticPath is the folder of the static files, below the issuer's path.
const StaticPath = "/static/"

// Asset is a static file. Its name changes with its content, so that it may be
// kept for ever.
type Asset struct {
	Name string // below StaticPath
	Type string
	Body []byte
}

// Site renders the pages of one issuer. It is immutable and safe for concurrent
// use.
type Site struct {
	base   string // path of the issuer; empty at the root
	host   string // what the person sees as the server's name
	style  Asset
	icon   Asset
	script string
	pages  map[string]*template.Template
}

// New makes the site of an issuer whose pages are below base.
func New(issuer, base string) *Site {
	s := &Site{
		base: base, host: shownHost(issuer),
		style:  asset(style, ".css", "text/css; charset=utf-8"),
		icon:   asset(icon, ".svg", "image/svg+xml"),
		script: "'sha256-" + digest(submit) + "'",
		pages:  make(map[string]*template.Template),
	}
	for _, name := range []string{"signin", "consent", "post", "retry", "error", "me", "signedout", "landing", "code", "devicedone", "burn"} {
		s.pages[name] = template.Must(template.New("layout.html").Funcs(funcs()).ParseFS(pages, "pages/layout.html", "pages/"+name+".html"))
	}
	return s
}

func asset(body []byte, ext, contentType string) Asset {
	sum := sha256.Sum256(body)
	return Asset{Name: hex.EncodeToString(sum[:10]) + ext, Type: contentType, Body: body}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func shownHost(issuer string) string {
	_, host, _ := strings.Cut(issuer, "://")
	return host
}

// Assets are the static files.
func (s *Site) Assets() []Asset { return []Asset{s.style, s.icon} }

// ScriptSource is the CSP source of the one script, for the pages that have it.
func (s *Site) ScriptSource() string { return s.script }

// frame is what the layout needs.
type frame struct {
	Base, Host, Style, Icon string
	Title                   string
	Script                  template.JS // empty: none
	Page                    any
}

func (s *Site) render(w io.Writer, name, title string, page any) error {
	f := frame{
		Base: s.base, Host: s.host, Style: s.base + StaticPath + s.style.Name, Icon: s.base + StaticPath + s.icon.Name,
		Title: title, Page: page,
	}
	if name == "post" {
		f.Script = submit
	}
	return s.pages[name].Execute(w, f)
}
