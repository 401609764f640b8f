package edge

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/oauth"
)

// object reads the one JSON object of a body. A member that is not known is an
// error: somebody may have meant something by it.
func object(w http.ResponseWriter, r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return oauth.FailParam(oauth.BadRequest, "Content-Type")
	}
	if r.ContentLength > oauth.MaxBody {
		w.Header()["Connection"] = closeConnection
		return oauth.Fail(oauth.TooLarge)
	}
	text, err := readBody(w, r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return oauth.Fail(oauth.BadRequest).Because(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return oauth.Fail(oauth.BadRequest)
	}
	return nil
}

// approvableDoc is a device authorization as an installation shows it before it
// approves (docs/api.md). Times are RFC 3339 in UTC.
type approvableDoc struct {
	DeviceID  string     `json:"device_id"`
	UserCode  string     `json:"user_code"` // as the tool shows it
	ClientID  string     `json:"client_id"`
	Client    string     `json:"client"`   // its name
	Resource  string     `json:"resource"` // its identifier
	Name      string     `json:"resource_name"`
	Scopes    []scopeDoc `json:"scopes"`  // what would be granted
	Host      string     `json:"host"`    // this and the next two as the tool reported them
	OSUser    string     `json:"os_user"` //
	Platform  string     `json:"platform"`
	Address   string     `json:"address"` // where the login was started
	StartedAt time.Time  `json:"started_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	GrantLife int64      `json:"grant_lifetime"` // seconds, at most
	Account   string     `json:"account"`        // whose access it would be
	Elsewhere bool       `json:"other_network"`  // it was started on another network than this call comes from
	Less      bool       `json:"narrowed"`       // policy takes scopes away that were asked for
	Wanting   string     `json:"wanting"`        // "allow": nothing; "sign_in_again"; "refuse"
}

type scopeDoc struct {
	Name  string `json:"name"`
	Words string `json:"words"`
}

func (h *Handler) approvable(w *answer, r *http.Request, who authserver.Caller) error {
	var in struct {
		UserCode string `json:"user_code"`
	}
	if err := object(w, r, &in); err != nil {
		return err
	}
	v, err := h.server.ViewDeviceBy(r.Context(), who, in.UserCode, h.place(r))
	if err != nil {
		return err
	}
	doc := approvableDoc{
		DeviceID: v.ID, UserCode: v.UserCode, ClientID: v.Client.ID, Client: v.Client.Name, Resource: v.Resource.ID, Name: v.Resource.Name,
		Host: v.Facts.Host, OSUser: v.Facts.OSUser, Platform: v.Facts.Platform, Address: v.Facts.Address,
		StartedAt: v.StartedAt.UTC(), ExpiresAt: v.Deadline.UTC(), GrantLife: int64(v.Ends / time.Second), Account: who.Account.Email,
		Elsewhere: v.Elsewhere, Less: v.Less, Wanting: string(v.Wanting), Scopes: []scopeDoc{},
	}
	if v.Lacking {
		doc.Wanting = "refuse"
	}
	for _, s := range v.Scopes {
		doc.Scopes = append(doc.Scopes, scopeDoc{s.Name, s.Words})
	}
	return w.json(http.StatusOK, doc)
}

// approve takes a decision that the installation signed.
func (h *Handler) approve(w *answer, r *http.Request, who authserver.Caller) error {
	var in struct {
		UserCode string `json:"user_code"`
		Decision string `json:"decision"`
		Approval string `json:"approval"`
	}
	if err := object(w, r, &in); err != nil {
		return err
	}
	if in.Decision != "allow" && in.Decision != "deny" {
		return oauth.FailParam(oauth.BadRequest, "decision")
	}
	err := h.server.DecideDeviceBy(r.Context(), who, authserver.SignedDecision{
		UserCode: in.UserCode, Decision: in.Decision, Approval: in.Approval, Address: h.place(r),
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, struct {
		Decision string `json:"decision"`
	}{in.Decision})
}
