package edge

import (
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/oauth"
)

// apiEndpoint answers a caller whose token and proof were checked.
type apiEndpoint func(w *answer, r *http.Request, who authserver.Caller) error

// api registers an endpoint of the server's own API, a resource like any other.
func (h *Handler) api(path, scope, method string, do apiEndpoint) {
	h.mux.Handle(h.base+path, h.serve(func(w *answer, r *http.Request) error {
		w.Header()[headerDPoPNonce] = []string{h.server.APINonce()} // RFC 9449 §9
		if r.Method != method {
			return &methodError{method}
		}
		who, err := h.server.Authenticate(r.Context(), authserver.APICall{
			Authorization: r.Header["Authorization"], Proofs: r.Header[headerDPoP],
			Address: h.address(r),
			Method:  r.Method, URL: h.issuer + strings.TrimPrefix(r.URL.EscapedPath(), h.base),
		}, scope)
		if err != nil {
			return err
		}
		return do(w, r, who)
	}, h.apiError))
}

// apiError answers with a challenge (RFC 9449 §7.1): at a resource a proof that
// is wrong, or lacks its nonce, is 401.
func (h *Handler) apiError(a *answer, _ *http.Request, err error) {
	status, doc := a.errorHead(err)
	if doc.Error == "invalid_dpop_proof" || doc.Error == "use_dpop_nonce" {
		status = http.StatusUnauthorized
	}
	if status == http.StatusUnauthorized || doc.Code == oauth.InsufficientScope {
		challenged, words := doc.Error, doc.Description
		if doc.Code == oauth.TokenMissing { // RFC 6750 §3.1: no error where nobody tried
			challenged, words = "", ""
		}
		scope := ""
		if doc.Code == oauth.InsufficientScope {
			_, e := oauth.ProblemOf(err)
			scope = e.Detail
		}
		a.Header().Set("Www-Authenticate", oauth.DPoPChallenge(challenged, words, scope, algorithms))
	}
	_ = a.json(status, doc)
}

// whoamiDoc says whose token it is. Times are RFC 3339 in UTC.
type whoamiDoc struct {
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Email     string    `json:"email"`
	Roles     []string  `json:"roles,omitempty"`
	ClientID  string    `json:"client_id"`
	GrantID   string    `json:"grant_id"`
	Scope     string    `json:"scope"`
	ExpiresAt time.Time `json:"expires_at"` // of the access token
}

func (h *Handler) whoami(w *answer, _ *http.Request, who authserver.Caller) error {
	t := who.Token
	return w.json(http.StatusOK, whoamiDoc{
		Issuer: h.issuer, Subject: t.Subject, Email: who.Account.Email, Roles: who.Account.Roles,
		ClientID: t.ClientID, GrantID: t.GrantID, Scope: t.Scope, ExpiresAt: t.ExpiresAt.UTC(),
	})
}

// installationDoc is one installation with its active grants.
type installationDoc struct {
	Installation string     `json:"installation,omitempty"` // absent: bound to no key
	Host         string     `json:"host,omitempty"`         // this and the next two as the tool reported them
	OSUser       string     `json:"os_user,omitempty"`
	Platform     string     `json:"platform,omitempty"`
	FirstSeen    *time.Time `json:"first_seen,omitempty"`
	LastSeen     *time.Time `json:"last_seen,omitempty"`
	Grants       []grantDoc `json:"grants"`
}

type grantDoc struct {
	GrantID   string    `json:"grant_id"`
	Client    string    `json:"client"`   // its name
	Resource  string    `json:"resource"` // its name
	Scope     string    `json:"scope"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	UsedAt    time.Time `json:"used_at"`
	Bearer    bool      `json:"bearer,omitempty"`
}

func (h *Handler) grants(w *answer, r *http.Request, who authserver.Caller) error {
	held, err := h.server.Mine(r.Context(), who.Account.ID)
	if err != nil {
		return err
	}
	out := struct {
		Installations []installationDoc `json:"installations"`
	}{[]installationDoc{}}
	for _, in := range held {
		doc := installationDoc{
			Installation: in.Installation.ID, Host: in.Installation.Facts.Host,
			OSUser: in.Installation.Facts.OSUser, Platform: in.Installation.Facts.Platform, Grants: []grantDoc{},
		}
		if doc.Installation != "" {
			first, last := in.Installation.FirstSeen.UTC(), in.Installation.LastSeen.UTC()
			doc.FirstSeen, doc.LastSeen = &first, &last
		}
		for _, g := range in.Grants {
			names := make([]string, 0, len(g.Scopes))
			for _, s := range g.Scopes {
				names = append(names, s.Name)
			}
			doc.Grants = append(doc.Grants, grantDoc{
				GrantID: g.ID, Client: g.Client, Resource: g.Resource, Scope: strings.Join(names, " "),
				CreatedAt: g.Since.UTC(), ExpiresAt: g.Ends.UTC(), UsedAt: g.Used.UTC(), Bearer: g.Bearer,
			})
		}
		out.Installations = append(out.Installations, doc)
	}
	return w.json(http.StatusOK, out)
}

func (h *Handler) endGrant(w *answer, r *http.Request, who authserver.Caller) error {
	if err := h.server.RevokeMine(r.Context(), who.Account.ID, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// export streams the audit log (newline-delimited JSON, package audit).
func (h *Handler) export(w *answer, r *http.Request, who authserver.Caller) error {
	p, err := oauth.ParseParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	switch p.Get("facts") {
	case "", "0", "1":
	default:
		return oauth.FailParam(oauth.BadRequest, "facts")
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := stream{w: w, ctl: http.NewResponseController(w)}
	s.open()
	return h.server.ExportAudit(r.Context(), s, h.seq, authserver.Export{
		Facts: p.Get("facts") == "1", By: who.Account.ID, Client: who.Token.ClientID, Grant: who.Token.GrantID,
	})
}
