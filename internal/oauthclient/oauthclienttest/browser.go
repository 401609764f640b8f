package oauthclienttest

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Browser opens links and presses buttons as a browser would, with the headers
// that a browser sends. It runs no script.
type Browser struct {
	http *http.Client
	// Visited is every URL that was asked for, in order.
	Visited []string
}

// NewBrowser makes one.
func NewBrowser() *Browser {
	return NewBrowserOver(&http.Transport{DisableKeepAlives: true})
}

// NewBrowserOver makes one whose requests go through rt.
func NewBrowserOver(rt http.RoundTripper) *Browser { return &Browser{http: noRedirect(rt)} }

// Page is what a browser shows.
type Page struct {
	URL    string
	Status int
	Body   string
	Header http.Header
	// Action and Fields are those of the page's one form; empty without one.
	Action string
	Fields url.Values
}

var (
	action = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	field  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// Open types a URL, and follows redirects.
func (b *Browser) Open(at string) (Page, error) { return b.walk(http.MethodGet, at, "", "", 0) }

// Submit presses the page's button, and follows redirects.
func (b *Browser) Submit(p Page) (Page, error) {
	origin := Origin(p.URL)
	if p.Header.Get("Referrer-Policy") == "no-referrer" {
		origin = "null"
	}
	return b.walk(http.MethodPost, p.Action, p.Fields.Encode(), origin, 0)
}

// Finish opens a URL and presses every button until none is left.
func (b *Browser) Finish(at string) (Page, error) {
	p, err := b.Open(at)
	for i := 0; err == nil && p.Action != ""; i++ {
		if i > 10 {
			return p, fmt.Errorf("too many pages")
		}
		p, err = b.Submit(p)
	}
	return p, err
}

// Origin is a URL's.
func Origin(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return "null"
	}
	return u.Scheme + "://" + u.Host
}

func (b *Browser) walk(method, at, body, origin string, depth int) (Page, error) {
	if depth > 10 {
		return Page{}, fmt.Errorf("too many redirects")
	}
	req, err := http.NewRequest(method, at, strings.NewReader(body))
	if err != nil {
		return Page{}, err
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
	}
	b.Visited = append(b.Visited, at)
	res, err := b.http.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return Page{}, err
	}
	if to := res.Header.Get("Location"); to != "" {
		next, err := req.URL.Parse(to)
		if err != nil || res.StatusCode != http.StatusSeeOther {
			return Page{}, fmt.Errorf("redirected with status %d: %v", res.StatusCode, err)
		}
		return b.walk(http.MethodGet, next.String(), "", "", depth+1)
	}
	p := Page{URL: at, Status: res.StatusCode, Body: string(text), Header: res.Header, Fields: url.Values{}}
	if m := action.FindStringSubmatch(p.Body); m != nil {
		p.Action = html.UnescapeString(m[1])
		for _, f := range field.FindAllStringSubmatch(p.Body, -1) {
			p.Fields.Set(f[1], html.UnescapeString(f[2]))
		}
	}
	return p, nil
}
