package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/browser"
)

const form = `<!doctype html><title>Sign in</title>
<form method=post action=/go>
 <label for=e>Email</label><input id=e name=email value=old>
 <label>Password <input type=password name=password></label>
 <button>Sign in</button> <a role=button href=/deny>Deny</a>
</form>
<div style="height:3000px"></div>
<form method=post action=/go><button aria-label="Continue">&rarr;</button></form>
<button>Twice</button><button>Twice</button><p hidden>invisible words</p>
<script>document.title = "scripted"; console.warn("note for the console")</script>`

func pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, form) })
	mux.HandleFunc("POST /go", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/hop?email="+url.QueryEscape(r.PostFormValue("email"))+"&n="+fmt.Sprint(len(r.PostFormValue("password"))), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /hop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/done?"+r.URL.RawQuery, http.StatusFound)
	})
	mux.HandleFunc("GET /done", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<h1>Welcome,\n  %s</h1>", r.URL.Query().Get("email"))
	})
	return mux
}

func TestPersonOnPlainLoopback(t *testing.T) {
	srv := httptest.NewServer(pages())
	defer srv.Close()
	ctx := t.Context()
	b := browser.Start(t, browser.Options{})
	for _, err := range []error{
		b.Open(ctx, srv.URL+"/"),
		b.Fill(ctx, "Email", "person@example.test"),
		b.Fill(ctx, "Password", "seven77"),
		b.Click(ctx, "Sign in"),
		b.WaitText(ctx, "welcome, person@example.test"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	done := srv.URL + "/done?email=person%40example.test&n=7"
	if got, err := b.URL(ctx); err != nil || got != done {
		t.Errorf("URL = %q, %v; want %q", got, err, done)
	}
	if got := b.URLs(); len(got) < 2 || got[len(got)-1] != done || got[len(got)-2] != srv.URL+"/" {
		t.Errorf("URLs = %q; want the form and then %q", got, done)
	}
	for _, passing := range []string{srv.URL + "/go", srv.URL + "/hop?email=person%40example.test&n=7", done} {
		if !slices.Contains(b.Shown(), passing) {
			t.Errorf("Shown = %q lacks %q", b.Shown(), passing)
		}
	}
	if !slices.ContainsFunc(b.Console(), func(s string) bool { return strings.Contains(s, "note for the console") }) {
		t.Errorf("Console = %q lacks the page's message", b.Console())
	}
	shot := filepath.Join(t.TempDir(), "shot.png")
	if err := b.Screenshot(ctx, shot, 400, 300); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(shot); err != nil || !strings.HasPrefix(string(data), "\x89PNG") {
		t.Errorf("screenshot is no PNG: %v", err)
	}
}

func TestNamesAreAccessibleNames(t *testing.T) {
	srv := httptest.NewServer(pages())
	defer srv.Close()
	b := browser.Start(t, browser.Options{NoScript: true})
	if err := b.Open(t.Context(), srv.URL+"/"); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Click(short, "Twice"); !errors.Is(err, browser.ErrAmbiguous) {
		t.Errorf("two of a name: %v; want ErrAmbiguous", err)
	}
	short, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Click(short, "email"); !errors.Is(err, browser.ErrNotFound) {
		t.Errorf("a field pressed as a button: %v; want ErrNotFound", err)
	}
	short, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.WaitText(short, "invisible words"); !errors.Is(err, browser.ErrNotFound) {
		t.Errorf("hidden text: %v; want ErrNotFound", err)
	}
	for name, want := range map[string]int{"Twice": 2, "Email": 1, "Password": 1, "Deny": 1, "Continue": 1, "Missing": 0} {
		if got, err := b.Count(t.Context(), name); err != nil || got != want {
			t.Errorf("Count(%q) = %d, %v; want %d", name, got, err, want)
		}
	}
	// The button's name is its label, not the arrow it shows, and it is far below.
	if err := b.Click(t.Context(), "Continue"); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitURL(t.Context(), func(u *url.URL) bool { return u.Path == "/done" }); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(b.Console(), func(s string) bool { return strings.Contains(s, "note for the console") }) {
		t.Error("the page's script ran although NoScript was asked")
	}
}

func TestPrivateAuthority(t *testing.T) {
	addr, ca := serveTLS(t, pages(), "auth.test")
	hosts := map[string]string{"auth.test": addr}

	b := browser.Start(t, browser.Options{Hosts: hosts, CA: ca})
	if err := b.Open(t.Context(), "https://auth.test/"); err != nil {
		t.Fatal(err)
	}
	if err := b.Click(t.Context(), "Sign in"); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitText(t.Context(), "welcome"); err != nil {
		t.Fatal(err)
	}
	if err := b.Open(t.Context(), "https://elsewhere.test/"); err == nil {
		t.Error("a host that was not given was reached")
	}

	stranger := browser.Start(t, browser.Options{Hosts: hosts})
	if err := stranger.Open(t.Context(), "https://auth.test/"); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
		t.Errorf("without the CA: %v; want a certificate error", err)
	}
}

func TestFindNamesTheMend(t *testing.T) {
	t.Setenv("KEYTETHER_CHROMIUM", filepath.Join(t.TempDir(), "none"))
	_, err := browser.Find()
	if !errors.Is(err, browser.ErrNoBrowser) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("Find = %v; want ErrNoBrowser with the mend", err)
	}
}
