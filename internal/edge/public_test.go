package edge_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

// TestMetadata reads the documents at all their places, for issuers with and
// without a path, and finds that what they name is there.
//
// Invariant: CF-3a
func TestMetadata(t *testing.T) {
	for _, path := range []string{"", "/t/lab"} {
		s := edgetest.NewServer(t, edgetest.Options{Path: path})
		host := strings.TrimSuffix(s.Issuer, path)
		for _, place := range []string{
			s.Issuer + oauth.WellKnownOIDC, s.Issuer + oauth.WellKnownOAuth,
			host + oauth.WellKnownOAuth + path, host + oauth.WellKnownOIDC + path,
			oauth.MetadataURL(s.Issuer, oauth.WellKnownOAuth),
		} {
			r := get(t, s, "")
			r.URL, _ = r.URL.Parse(place)
			res := s.Do(r)
			m, err := oauth.DecodeMetadata(s.Issuer, []byte(res.Body))
			if err != nil {
				t.Fatalf("%s: %d %v", place, res.Status, err)
			}
			if strings.Join(m.CodeChallengeMethods, " ") != "S256" {
				t.Errorf("code_challenge_methods %v", m.CodeChallengeMethods)
			}
		}
		tool := s.NewTool(edgetest.Handshake)
		tool.Login()
		res := s.Do(get(t, s, oauth.PathJWKS))
		set, err := jws.ParseSet([]byte(res.Body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Verify(tool.Token.AccessToken, set, token.Expectations{Issuer: s.Issuer, Audience: edgetest.API, Now: s.Clock.Now()}); err != nil {
			t.Errorf("%s: the token does not verify with the published keys: %v", s.Issuer, err)
		}
		if path != "" {
			r := get(t, s, "")
			r.URL, _ = r.URL.Parse(host + oauth.PathToken)
			if res := s.Do(r); res.Status != http.StatusNotFound {
				t.Errorf("an endpoint stands outside of the issuer: %d", res.Status)
			}
		}
	}
}

// TestAddress finds who asked, behind proxies and behind liars.
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted string
		header  []string
		want    string
	}{
		{"no proxy", "10.0.0.0/8", []string{"203.0.113.7"}, "127.0.0.1"},
		{"proxy", "127.0.0.0/8", []string{"203.0.113.7"}, "203.0.113.7"},
		{"proxy without a header", "127.0.0.0/8", nil, "127.0.0.1"},
		{"liar behind a proxy", "127.0.0.0/8", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"two proxies", "127.0.0.0/8", []string{"198.51.100.1, 203.0.113.7, 127.0.0.9"}, "203.0.113.7"},
		{"two headers", "127.0.0.0/8", []string{"198.51.100.1", "203.0.113.7"}, "203.0.113.7"},
		{"nonsense", "127.0.0.0/8", []string{"203.0.113.7, x"}, "127.0.0.1"},
		{"trailing comma", "127.0.0.0/8", []string{"203.0.113.7,"}, "127.0.0.1"},
		{"IPv6", "127.0.0.0/8", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv4 mapped", "127.0.0.0/8", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"IPv4 translated", "127.0.0.0/8", []string{"64:ff9b::203.0.113.7"}, "203.0.113.7"},
		{"trusted by its translation", "10.0.0.0/8, 127.0.0.0/8", []string{"203.0.113.7, 64:ff9b::10.1.2.3"}, "203.0.113.7"},
		{"a port beside it", "127.0.0.0/8", []string{"198.51.100.1, 203.0.113.7:51111"}, "203.0.113.7"},
		{"IPv6, and a port", "127.0.0.0/8", []string{"[2001:db8::7]:51111"}, "2001:db8::7"},
		{"IPv6 in brackets", "127.0.0.0/8", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"a zone", "127.0.0.0/8", []string{"fe80::7%eth0"}, "fe80::7"},
		{"all trusted", "127.0.0.0/8", []string{"127.0.0.3, 127.0.0.2"}, "127.0.0.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var trusted []netip.Prefix
			for _, p := range strings.Split(c.trusted, ", ") {
				trusted = append(trusted, netip.MustParsePrefix(p))
			}
			s := edgetest.NewServer(t, edgetest.Options{TrustedProxies: trusted})
			tool := s.NewTool(edgetest.Plain)
			if c.header != nil {
				tool.Browser.Header["X-Forwarded-For"] = c.header
			}
			tool.Consented()
			tool.Browser.Has(t, http.StatusOK, "<dd>"+c.want+"</dd>")
		})
	}
}

// TestNothingOfAHostHeader sends another Host: every URL is the issuer's.
//
// Invariant: DP-16c
func TestNothingOfAHostHeader(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	r := get(t, s, strings.TrimPrefix(tool.AuthorizeURL(), s.Issuer))
	r.Host = "evil.test"
	if got := s.Do(r).Header.Get("Location"); !strings.HasPrefix(got, s.Issuer+oauth.PathAuthorize+"?") {
		t.Errorf("sent to %s", got)
	}
	r = get(t, s, oauth.WellKnownOAuth)
	r.Host = "evil.test"
	if res := s.Do(r); strings.Contains(res.Body, "evil.test") {
		t.Error("the metadata believes the Host header")
	}
	// A proof is for the URL of the metadata, through whatever name it came.
	pushed := s.NewTool(edgetest.Handshake)
	for _, c := range []struct {
		htu  string
		want int
	}{{s.Issuer, http.StatusCreated}, {"http://evil.test", http.StatusBadRequest}} {
		r := s.FormRequest(oauth.PathPAR, pushed.Params())
		r.Host = "evil.test"
		r.Header.Set("DPoP", pushed.Proof(http.MethodPost, c.htu+oauth.PathPAR, s.Auth.Nonce(), ""))
		if res := s.Do(r); res.Status != c.want {
			t.Errorf("htu of %s: %d %s", c.htu, res.Status, res.Body)
		}
	}
}

// TestTooManyRequests asks until it is told to wait. Renewals are never told so.
func TestTooManyRequests(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Bound)
	tool.Login()
	var res *edgetest.Response
	for range 1100 {
		if res = s.Do(s.FormRequest(oauth.PathPAR, nil)); res.Status == http.StatusTooManyRequests {
			break
		}
	}
	refused(t, res, oauth.RateLimited)
	if res.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
	}
	for range 1100 {
		if res = s.Do(get(t, s, oauth.PathAuthorize)); res.Status == http.StatusTooManyRequests {
			break
		}
	}
	shows(t, res, oauth.RateLimited)
	b := s.NewBrowser()
	for range 70 {
		if b.Post(s.Issuer+"/oauth/signin", nil, "cross-site"); b.Page.Status == http.StatusTooManyRequests {
			break
		}
	}
	shows(t, b.Page, oauth.RateLimited)
	tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
}
