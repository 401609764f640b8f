package audit

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/event"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestTrail(t *testing.T) {
	records := login()
	grant, request := records[8].Grant, records[8].Request
	other := event.Record{Name: event.TokenIssued, Tenant: "default", Time: t0, Grant: "grt_other", Request: "req_other"}
	all := append([]event.Record{other}, records...)
	var want []event.Record
	for i, r := range records {
		if i != 0 && i != 4 { // the server's start, and somebody else's failed sign-in
			want = append(want, r)
		}
	}
	for _, id := range []string{grant, request} {
		if got := Trail(all, id); !slices.Equal(got, want) {
			t.Errorf("Trail(%s) has %d records, want %d", id, len(got), len(want))
		}
	}
	for _, id := range []string{"", "grt_unknown"} {
		if got := Trail(all, id); got != nil {
			t.Errorf("Trail(%q) = %v", id, got)
		}
	}
}

// The lists are closed: each event has a sentence, and nothing else has.
func TestEveryEventHasASentence(t *testing.T) {
	if len(sentences) != len(event.All()) {
		t.Errorf("%d sentences, %d events", len(sentences), len(event.All()))
	}
	seen := map[string]event.Name{}
	for _, name := range event.All() {
		s := Describe(event.Record{Name: name, Tenant: "default", Time: t0})
		if s == "" || s == string(name) || strings.ContainsAny(s, "{}\n") || strings.Contains(s, "  ") || strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q", name, s)
		}
		if seen[s] != "" {
			t.Errorf("%s and %s read the same: %q", seen[s], name, s)
		}
		seen[s] = name
	}
}

func TestDescribe(t *testing.T) {
	records := login()
	for i, want := range map[int]string{
		1:  "keytether asked for a login on pat@laptop from 127.0.0.1; a browser opened it",
		2:  "person@example.test signed in from 127.0.0.1",
		4:  "a sign-in failed: wrong password from 192.0.2.7",
		8:  "keytether may now use https://api.example.test for acc_01ARZ3NDEKTSV4RRFFQ69G5FAY, scope read, write, until 2026-11-25 08:00:00 UTC",
		11: `the grant of keytether for acc_01ARZ3NDEKTSV4RRFFQ69G5FAY was revoked: the person said "This wasn't me"`,
	} {
		if got := Describe(records[i]); got != want {
			t.Errorf("%s\n got %s\nwant %s", records[i].Name, got, want)
		}
	}
	evil := event.Record{Name: event.RequestOpened, Facts: event.Facts{Host: "a\x1b[2Jb\nc\u202e"}}
	if got := Describe(evil); strings.ContainsAny(got, "\x1b\n\u202e") {
		t.Errorf("a host name steers the terminal: %q", got)
	}
	if got := Describe(event.Record{Name: "later.event"}); got != "later.event" {
		t.Errorf("unknown event: %q", got)
	}
}

// Reasons without words of their own are shown as they are; the known ones all
// have words.
func TestReasonsHaveWords(t *testing.T) {
	for _, name := range declaredReasons(t) {
		if reasons[name] == "" {
			t.Errorf("%s has no words", name)
		}
	}
}
