package oauthclient

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"strings"
)

// page is what a person sees of the listener: a heading, what happened, what to
// do. Nothing in it is a link, a script or a form.
type page struct {
	status int
	good   bool
	title  string
	lines  []string
}

const css = `:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--ground:#f6f8fa;--card:#fff;--edge:#d0d7de;--good:#1a7f37;--bad:#a40e26}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9da7b1;--ground:#0d1117;--card:#161b22;--edge:#30363d;--good:#56d364;--bad:#ff8182}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{margin:1rem;max-width:34rem;padding:2rem;background:var(--card);border:1px solid var(--edge);border-top:.3rem solid var(--bad);border-radius:.5rem;overflow-wrap:anywhere}
main.good{border-top-color:var(--good)}
h1{margin:0 0 .5rem;font-size:1.4rem;line-height:1.3}
p{margin:.5rem 0 0;color:var(--dim)}
p.first{color:var(--ink)}`

// cssHash lets the one style sheet through and nothing else.
var cssHash = func() string {
	sum := sha256.Sum256([]byte(css))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}()

// protect sets what every answer of the listener carries.
func protect(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+cssHash+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

func (p page) write(w http.ResponseWriter) {
	class := "bad"
	if p.good {
		class = "good"
	}
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>`)
	b.WriteString(html.EscapeString(p.title) + ` · Keytether</title><style>` + css + `</style></head><body><main class="` + class + `" role="status"><h1>`)
	b.WriteString(html.EscapeString(p.title) + `</h1>`)
	for i, line := range p.lines {
		if i == 0 {
			b.WriteString(`<p class="first">`)
		} else {
			b.WriteString(`<p>`)
		}
		b.WriteString(html.EscapeString(line) + `</p>`)
	}
	b.WriteString("</main></body></html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.status)
	_, _ = w.Write([]byte(b.String()))
}

func usedPage() page {
	return page{http.StatusGone, false, "This link was used", []string{
		"It opens once. The login goes on in the window where it was opened first.",
		"If that window is gone, end the command in the terminal and start the login again.",
	}}
}

func refusedPage(why string) page {
	return page{http.StatusBadRequest, false, "Not an answer to this login", []string{
		"Something was sent here that does not belong to the login that waits: " + why + ".",
		"The login goes on. If you did not start one just now, close this window.",
	}}
}

func unknownPage() page {
	return page{http.StatusNotFound, false, "Nothing here", []string{"A login waits at this address for the browser's answer. This page is not part of it."}}
}

func donePage(issuer, client string, g Grant) page {
	as := ""
	if n := g.Name(); n != "" {
		as = " as " + n
	}
	return page{http.StatusOK, true, "Signed in", []string{
		"You are signed in" + as + " at " + issuer + ". " + client + " goes on in the terminal.",
		"You can close this window.",
	}}
}

func failedPage(issuer, client string, err error) page {
	return page{http.StatusOK, false, "Not signed in", []string{
		client + " is not signed in at " + issuer + ": " + strings.TrimRight(err.Error(), ".") + ".",
		"Go back to the terminal; it says what to do.",
	}}
}
