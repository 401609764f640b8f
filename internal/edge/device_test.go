package edge_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// started is a device authorization as the tool knows it.
type started struct {
	oauth.DeviceResponse
	s    *edgetest.Server
	tool *edgetest.Tool
}

func startDevice(t *testing.T, s *edgetest.Server, client string) *started {
	t.Helper()
	return startDeviceFor(t, s, client, "read")
}

func startDeviceFor(t *testing.T, s *edgetest.Server, client, scope string) *started {
	t.Helper()
	return startDeviceBy(t, s, s.NewTool(client), scope)
}

func startDeviceAt(t *testing.T, s *edgetest.Server, client, scope, resource string) *started {
	t.Helper()
	tool := s.NewTool(client)
	tool.Resource = resource
	return startDeviceBy(t, s, tool, scope)
}

func startDeviceBy(t *testing.T, s *edgetest.Server, tool *edgetest.Tool, scope string) *started {
	t.Helper()
	d := &started{s: s, tool: tool}
	p := url.Values{"client_id": {tool.Client}, "scope": {scope}, "keytether_host": {"build-7"}}
	if tool.Resource != "" && scope == "account" {
		p.Set("resource", tool.Resource)
	}
	res := d.tool.Post(oauth.PathDevice, p)
	if err := json.Unmarshal([]byte(res.Body), &d.DeviceResponse); err != nil || res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return d
}

func (d *started) params() url.Values {
	return url.Values{"grant_type": {oauth.GrantDeviceCode}, "client_id": {d.tool.Client}, "device_code": {d.DeviceCode}}
}

// poll gives the error's code, or "" for a token.
func (d *started) poll(t *testing.T) string {
	t.Helper()
	res := d.tool.Post(oauth.PathToken, d.params())
	if res.Status == http.StatusOK {
		d.tool.Take(res)
		return ""
	}
	var doc oauth.Response
	if err := json.Unmarshal([]byte(res.Body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Error
}

// decide types the code and presses a button.
func (d *started) decide(t *testing.T, b *edgetest.Browser, typed, button string) {
	t.Helper()
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", typed)
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "build-7")
	b.Press(button)
}

// TestDeviceLogin goes the whole way, and names all that is recorded.
func TestDeviceLogin(t *testing.T) {
	for _, client := range []string{edgetest.Handshake, edgetest.Plain, edgetest.Bound} {
		t.Run(client, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			n := s.Size()
			d := startDevice(t, s, client)
			if got := d.poll(t); got != "authorization_pending" {
				t.Fatalf("the first poll: %s", got)
			}
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			s.Clock.Advance(5 * time.Second)
			if got := d.poll(t); got != "" {
				t.Fatalf("after Allow: %s", got)
			}
			want := []event.Name{event.DeviceStarted}
			s.Expect(n, append(want, event.DeviceOpened, event.SignInSucceeded, event.DeviceApproved,
				event.DeviceRedeemed, event.GrantCreated, event.TokenIssued)...)
		})
	}
}

// TestDeviceStartWantsAProof: where a client must prove its key, nothing is started
// without a good proof, and nothing is recorded.
//
// Invariant: DF-14c
func TestDeviceStartWantsAProof(t *testing.T) {
	for _, client := range []string{edgetest.Bound, edgetest.Handshake} {
		s := edgetest.NewServer(t, edgetest.Options{})
		tool := s.NewTool(client)
		form := url.Values{"client_id": {client}, "scope": {"read"}}
		n := s.Size()
		with := func(proofs ...string) *edgetest.Response {
			r := s.FormRequest(oauth.PathDevice, form)
			for _, p := range proofs {
				r.Header.Add("DPoP", p)
			}
			return s.Do(r)
		}
		nonce := with().Header.Get("DPoP-Nonce")
		proof := func(method, path, nonce string) string { return tool.Proof(method, s.Issuer+path, nonce, "") }
		for name, c := range map[string]struct {
			res  *edgetest.Response
			want string
		}{
			"none":             {with(), "invalid_dpop_proof"},
			"no proof":         {with("no proof"), "invalid_dpop_proof"},
			"two":              {with(proof("POST", oauth.PathDevice, nonce), proof("POST", oauth.PathDevice, nonce)), "invalid_dpop_proof"},
			"another endpoint": {with(proof("POST", oauth.PathToken, nonce)), "invalid_dpop_proof"},
			"another method":   {with(proof("GET", oauth.PathDevice, nonce)), "invalid_dpop_proof"},
			"no nonce":         {with(proof("POST", oauth.PathDevice, "")), "use_dpop_nonce"},
		} {
			if got := rfcError(t, c.res); got != c.want || c.res.Status != http.StatusBadRequest {
				t.Errorf("%s, %s: %d %s, want %s", client, name, c.res.Status, got, c.want)
			}
		}
		s.Expect(n)
		d := startDeviceBy(t, s, tool, "read")
		tool.Key = edgetest.NewKey(t, "")
		if got := d.poll(t); got != "invalid_grant" {
			t.Errorf("%s: the first poll by another key than started it: %s", client, got)
		}
	}
}
