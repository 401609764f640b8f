package oauthclienttest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

type request struct {
	uri   string
	form  url.Values
	jkt   string
	key   *jws.PublicKey
	used  bool
	nonce string
}

type grant struct {
	id, jkt, scope, resource string
	current                  string // the refresh token that is next
	previous                 string // may be repeated until current is used
	ended                    bool
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

func hash(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (s *Server) par(w http.ResponseWriter, r *http.Request) {
	if !s.knows(w, r) {
		return
	}
	jkt, ok := s.proof(w, r, "")
	if !ok {
		return
	}
	req := &request{form: s.values(r), jkt: jkt}
	if m, err := jws.ParseEmbedded(r.Header.Get("DPoP"), nil); err == nil {
		req.key = m.Header.Key
	}
	s.mu.Lock()
	req.uri = "urn:ietf:params:oauth:request_uri:" + s.mint("ktu_request")
	s.requests[req.uri] = req
	s.mu.Unlock()
	writeJSON(w, http.StatusCreated, oauth.PARResponse{RequestURI: req.uri, ExpiresIn: 600})
}

// authorize plays the whole person: signed in, and Allow or Deny pressed.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := s.heard(r.URL.Query())
	s.mu.Lock()
	req := s.requests[q.Get("request_uri")]
	deny := s.deny
	if req == nil && !s.PAR {
		req = &request{form: q, jkt: q.Get("dpop_jkt")}
	}
	s.mu.Unlock()
	if req == nil || (s.PAR && len(q) != 2) {
		http.Error(w, "no such request, or more in the URL than client_id and request_uri", http.StatusBadRequest)
		return
	}
	switch {
	case deny:
		s.send(w, req, url.Values{"error": {"access_denied"}, "error_description": {"the person said no"}})
	case s.Handshake:
		s.nonce(w, req)
	default:
		s.code(w, req)
	}
}

func (s *Server) nonce(w http.ResponseWriter, req *request) {
	s.mu.Lock()
	req.nonce = strings.ReplaceAll(s.mint("nonce"), "+", "")
	s.requests["nonce "+hash(req.nonce)] = req
	s.mu.Unlock()
	s.send(w, req, url.Values{"handshake_nonce": {req.nonce}})
}

func (s *Server) code(w http.ResponseWriter, req *request) {
	s.mu.Lock()
	code := s.mint("ktc_code")
	s.requests["code "+code] = req
	s.mu.Unlock()
	s.send(w, req, url.Values{"code": {code}})
}

// send answers at the redirect URI: a page that posts itself, or a redirect.
func (s *Server) send(w http.ResponseWriter, req *request, v url.Values) {
	v.Set("state", req.form.Get("state"))
	if s.ISS {
		v.Set("iss", s.Issuer)
	}
	to := req.form.Get("redirect_uri")
	if req.form.Get("response_mode") != "form_post" {
		w.Header().Set("Location", to+"?"+v.Encode())
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	if s.ReferrerPolicy != "" {
		w.Header().Set("Referrer-Policy", s.ReferrerPolicy)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<form method="post" action="%s">`, html.EscapeString(to))
	for k := range v {
		_, _ = fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, k, html.EscapeString(v.Get(k)))
	}
	_, _ = fmt.Fprint(w, `<button>Continue</button></form>`)
}

func (s *Server) handshake(w http.ResponseWriter, r *http.Request) {
	m, err := jws.Parse(r.URL.Query().Get("handshake"))
	var c struct {
		Iss, Aud    string
		Iat         int64
		Request     string `json:"request_uri_hash"`
		RedirectURI string `json:"redirect_uri"`
		Nonce       string `json:"nonce_hash"`
	}
	if err == nil {
		err = json.Unmarshal(m.Payload, &c)
	}
	s.mu.Lock()
	req := s.requests["nonce "+c.Nonce]
	s.count["signed"]++
	s.mu.Unlock()
	switch {
	case err != nil, req == nil, m.Header.Type != "keytether-handshake+jwt", m.Header.Key != nil:
	case m.Verify(req.key) != nil, c.Iss != req.form.Get("client_id"), c.Aud != s.Issuer:
	case c.Request != hash(req.uri), c.RedirectURI != req.form.Get("redirect_uri"), c.Nonce != hash(req.nonce):
	default:
		s.code(w, req)
		return
	}
	http.Error(w, "handshake refused", http.StatusBadRequest)
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if !s.knows(w, r) {
		return
	}
	form := s.values(r)
	if form.Get("grant_type") == oauth.GrantDeviceCode {
		s.poll(w, r, form)
		return
	}
	s.mu.Lock()
	req := s.requests["code "+form.Get("code")]
	g := s.grants[form.Get("refresh_token")]
	s.mu.Unlock()
	jkt := ""
	switch {
	case g != nil:
		jkt = g.jkt
	case req != nil:
		jkt = req.jkt
	}
	proved, ok := s.proof(w, r, jkt)
	if !ok {
		return
	}
	switch form.Get("grant_type") {
	case oauth.GrantAuthorizationCode:
		s.redeem(w, form, req, proved)
	case oauth.GrantRefreshToken:
		s.refresh(w, form, g)
	default:
		fail(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

func (s *Server) redeem(w http.ResponseWriter, form url.Values, req *request, jkt string) {
	s.mu.Lock()
	s.count["code"]++
	known := req != nil && !req.used
	if known {
		req.used = true
	}
	s.mu.Unlock()
	challenge, err := oauth.Challenge(form.Get("code_verifier"))
	if !known || err != nil || challenge != req.form.Get("code_challenge") || req.form.Get("code_challenge_method") != "S256" ||
		form.Get("redirect_uri") != req.form.Get("redirect_uri") || form.Get("client_id") != req.form.Get("client_id") {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	s.mu.Lock()
	s.secrets[fmt.Sprintf("verifier %d", len(s.secrets))] = form.Get("code_verifier")
	s.secrets[fmt.Sprintf("state %d", len(s.secrets))] = req.form.Get("state")
	s.mu.Unlock()
	g := s.newGrant(req.form, jkt)
	writeJSON(w, http.StatusOK, s.firstTokens(g, form.Get("client_id"), req.form.Get("nonce")))
}

// newGrant makes the grant that a login asked for.
func (s *Server) newGrant(asked url.Values, jkt string) *grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	g := &grant{id: fmt.Sprintf("grt_%d", s.seq), jkt: jkt, scope: asked.Get("scope"), resource: asked.Get("resource")}
	if g.resource == "" {
		g.resource = s.Resource
	}
	g.current = s.mint("ktr_refresh")
	s.grants[g.current] = g
	return g
}

// firstTokens are a grant's, and who signed in.
func (s *Server) firstTokens(g *grant, client, nonce string) oauth.TokenResponse {
	out := s.response(g, g.scope, g.current)
	if s.OpenID && strings.Contains(g.scope, "openid") {
		now := s.Now()
		var err error
		out.IDToken, err = token.IssueID(s.signer, token.IDClaims{
			Issuer: s.Issuer, Subject: s.Subject, Audience: client, Nonce: nonce,
			Email: s.Email, EmailVerified: true, IssuedAt: now, ExpiresAt: now.Add(5 * time.Minute),
		})
		if err != nil {
			s.t.Error(err)
		}
		s.mu.Lock()
		s.secrets[fmt.Sprintf("id token %d", len(s.secrets))] = out.IDToken
		s.mu.Unlock()
	}
	return out
}

func (s *Server) response(g *grant, scope, refresh string) oauth.TokenResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := oauth.TokenResponse{
		AccessToken: s.mint("access"), TokenType: "Bearer", ExpiresIn: int64(s.AccessLife / time.Second),
		RefreshToken: refresh, Scope: scope,
	}
	if s.NoExpiry {
		out.ExpiresIn = 0
	}
	if s.DPoP {
		out.TokenType = "DPoP"
	}
	if s.Handshake {
		out.GrantID, out.Resource = g.id, g.resource
		out.GrantExpires = s.Now().Add(s.GrantLife).Unix()
	}
	return out
}

// refresh rotates as ours does: the same token may be repeated, with the same
// successor, until that is used.
func (s *Server) refresh(w http.ResponseWriter, form url.Values, g *grant) {
	given := form.Get("refresh_token")
	s.mu.Lock()
	s.count["refresh"]++
	ok := g != nil && !g.ended
	scope := ""
	if ok {
		scope = g.scope
		switch given {
		case g.current:
			if s.NoRotation {
				break
			}
			s.count["rotate"]++
			g.previous, g.current = g.current, s.mint("ktr_refresh")
			s.grants[g.current] = g
		case g.previous:
			s.count["repeat"]++
		default:
			s.count["reuse"]++
			g.ended, ok = true, false
		}
	}
	s.mu.Unlock()
	if !ok {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	if want := form.Get("scope"); want != "" {
		for _, one := range strings.Fields(want) {
			if !strings.Contains(" "+scope+" ", " "+one+" ") {
				fail(w, http.StatusBadRequest, "invalid_scope")
				return
			}
		}
		scope = want
	}
	current := g.current
	if s.NoRotation {
		current = ""
	}
	writeJSON(w, http.StatusOK, s.response(g, scope, current))
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if s.NoRevocation {
		http.NotFound(w, r)
		return
	}
	form := s.values(r)
	s.mu.Lock()
	g := s.grants[form.Get("token")]
	d := s.devices[form.Get("token")]
	s.mu.Unlock()
	jkt := ""
	switch {
	case g != nil:
		jkt = g.jkt
	case d != nil:
		jkt = d.jkt
	}
	if _, ok := s.proof(w, r, jkt); !ok {
		return
	}
	s.mu.Lock()
	if g != nil {
		g.ended = true
		s.count["revoked"]++
	}
	if d != nil {
		s.count["cancelled"]++
	}
	s.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}
