package command

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

var decoyText = regexp.MustCompile(`ktr_[0-9A-Za-z]+`)

// steal uses a decoy as a thief would.
func (r *approveRig) steal(decoy string) {
	r.t.Helper()
	res := r.server.NewTool(edgetest.Handshake).Post(oauth.PathToken, url.Values{
		"grant_type": {"refresh_token"}, "client_id": {edgetest.Handshake}, "refresh_token": {decoy},
	})
	if res.Status != http.StatusBadRequest || !strings.Contains(res.Body, "invalid_grant") {
		r.t.Fatalf("%d %s", res.Status, res.Body)
	}
}

// TestDecoyCommand plants, is stolen from, hears that it is locked and keeps its logins; another
// computer of the person's lists and unlocks; everything goes on.
//
// Invariant: DC-7, DC-8
func TestDecoyCommand(t *testing.T) {
	r := newApproveRig(t)
	r.logIn("me", r.server.Issuer+apiPath, scopeAccount)
	r.logIn("work", "", "read")
	dir := t.TempDir()
	path := filepath.Join(dir, ".env")
	if err := r.app.plant(t.Context(), path, "", planting{}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(string(text), "KEYTETHER_ISSUER="+r.server.Issuer+"\nKEYTETHER_REFRESH_TOKEN=ktr_") ||
		strings.Contains(strings.ToLower(string(text)), "decoy") || strings.Contains(r.out.String(), "ktr_") {
		t.Fatalf("%v, %v: %s\n%s", err, info.Mode(), text, r.out.String())
	}
	r.out.Reset()
	if err := r.app.decoyList(t.Context()); err != nil {
		t.Fatal(err)
	}
	decoy := decoyText.FindString(string(text))
	for _, want := range []string{path, "env, ends with " + decoy[len(decoy)-6:], "(this computer)"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("%q is not listed:\n%s", want, r.out.String())
		}
	}
	err = r.app.decoyUnlock(t.Context(), "")
	if err != nil || !strings.Contains(r.out.String(), "No computer of yours is locked") {
		t.Errorf("%v, %s", err, r.out.String())
	}

	r.server.Clock.Advance(5 * time.Minute) // so that a token must be renewed
	r.steal(decoy)
	r.server.Clock.Advance(time.Second) // a token of the same second counts as one of before
	for range 2 {
		_, err = r.agent.Token(t.Context(), agentwire.TokenRequest{Profile: "work"})
		e := describe(err)
		if !errors.Is(err, agentwire.Denied) || !strings.Contains(e.What, "locked at "+r.server.Issuer) || !strings.Contains(e.Do, r.server.Issuer+"/me") {
			t.Fatalf("%+v", e)
		}
	}
	if err := r.app.decoyUnlock(t.Context(), ""); !errors.Is(err, agentwire.Denied) || !strings.Contains(describe(err).Do, "/me") {
		t.Errorf("the locked computer unlocks: %v", err)
	}
	if s, err := r.agent.Status(t.Context()); err != nil || len(s.Profiles) != 2 {
		t.Errorf("logins were lost: %+v, %v", s, err)
	}

	other := newApproveRigAt(t, r.server)
	other.logIn("me", r.server.Issuer+apiPath, scopeAccount)
	if err := other.app.decoyList(t.Context()); err != nil || !strings.Contains(other.out.String(), "locked") || !strings.Contains(other.out.String(), "from 127.0.0.1") ||
		strings.Contains(other.out.String(), path) || strings.Contains(other.out.String(), "this computer") {
		t.Errorf("%v\n%s", err, other.out.String())
	}
	other.app.Stdin = strings.NewReader("n\n")
	if err := other.app.decoyUnlock(t.Context(), ""); !errors.Is(err, agentwire.Denied) {
		t.Errorf("after a no: %v", err)
	}
	if err := other.app.decoyUnlock(t.Context(), "nowhere"); !errors.Is(err, agentwire.Failed) {
		t.Errorf("another computer: %v", err)
	}
	other.app.Stdin = strings.NewReader("y\n")
	other.out.Reset()
	if err := other.app.decoyUnlock(t.Context(), ""); err != nil || !strings.HasPrefix(other.out.String(), "Unlocked: ") {
		t.Fatalf("%v, %s", err, other.out.String())
	}
	if _, err := r.agent.Token(t.Context(), agentwire.TokenRequest{Profile: "work"}); err != nil {
		t.Errorf("after the unlock: %v", err)
	}
	r.app.json = true
	r.out.Reset()
	var doc struct{ Decoys []decoyDoc }
	if err := r.app.decoyList(t.Context()); err != nil || json.Unmarshal(r.out.Bytes(), &doc) != nil || len(doc.Decoys) != 1 ||
		doc.Decoys[0].Path != path || doc.Decoys[0].FiredAt == nil || doc.Decoys[0].UnlockedAt == nil || doc.Decoys[0].Locked {
		t.Errorf("%v, %s", err, r.out.String())
	}
}

// TestPlanting: what is there is not touched but with --append or --force, nothing is left where no
// decoy came, and each form is as it lies about.
//
// Invariant: DC-8
func TestPlanting(t *testing.T) {
	r := newApproveRig(t)
	r.logIn("me", r.server.Issuer+apiPath, scopeAccount)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(at(name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	write(".netrc", "machine a.test login b password c")
	write("old", "precious")
	if err := os.Symlink(at("old"), at("link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		kind string
		how  planting
	}{
		{".netrc", "", planting{}},
		{"old", "", planting{}},
		{"link", "", planting{}},
		{"link", "", planting{force: true}},
		{"link", "", planting{append: true}},
		{"no/such", "", planting{}},
		{"no/such", "", planting{force: true}},
		{".", "", planting{append: true}},
		{"x.json", "", planting{append: true}},
		{"x", "yaml", planting{}},
		{"x", "", planting{append: true, force: true}},
	} {
		if err := r.app.plant(t.Context(), at(c.name), c.kind, c.how); err == nil || strings.Contains(err.Error(), "ktr_") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if read("old") != "precious" {
		t.Error("what was there was written over")
	}
	r.out.Reset()
	if err := r.app.decoyList(t.Context()); err != nil || !strings.Contains(r.out.String(), "No decoys are planted") {
		t.Errorf("%v, %s", err, r.out.String())
	}

	for _, c := range []struct {
		name string
		how  planting
		want string
	}{
		{".netrc", planting{append: true}, `^machine a\.test login b password c\nmachine internal\.127\.0\.0\.1\n  login oauth2\n  password ktr_\w+\n$`},
		{".npmrc", planting{append: true}, `^//internal\.127\.0\.0\.1/:_authToken=ktr_\w+\n$`},
		{"credentials.json", planting{}, `^\{\n  "client_id": "keytether",\n  "issuer": "http://127[^"]*",\n  "refresh_token": "ktr_\w+"\n\}\n$`},
		{"old", planting{force: true}, `^ktr_\w+\n$`},
	} {
		if err := r.app.plant(t.Context(), at(c.name), "", c.how); err != nil {
			t.Error(err)
		}
		if got := read(c.name); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: %s", c.name, got)
		}
		if info, err := os.Stat(at(c.name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", c.name, info.Mode(), err)
		}
	}
	r.out.Reset()
	if err := r.app.plant(t.Context(), "", "", planting{}); err != nil || !regexp.MustCompile(`^ktr_\w+\n$`).MatchString(r.out.String()) {
		t.Errorf("%v, %s", err, r.out.String())
	}

	for range 20 { // one for each that is left, and then none
		r.server.Clock.Advance(time.Second)
		err := r.app.plant(t.Context(), at("more"), "", planting{})
		if errors.Is(err, agentwire.Denied) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(at("more")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(at("more")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file without a decoy is left: %v", err)
	}
	left, _ := filepath.Glob(at(".keytether-*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDecoyKinds: the command offers the forms that the server knows.
func TestDecoyKinds(t *testing.T) {
	for _, k := range grant.DecoyKinds() {
		if err := (planting{}).check("x", k); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"/a/.env": "env", "prod.env": "env", ".env.local": "env", "/h/.netrc": "netrc", "_netrc": "netrc", ".npmrc": "npmrc", "credentials.json": "json", "token": "token", "": "token",
	} {
		if got := kindOf(name); got != want || !slices.Contains(grant.DecoyKinds(), got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
