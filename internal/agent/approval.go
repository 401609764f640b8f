package agent

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

// scopeAccount is what a login must have to approve another.
const scopeAccount = "account"

const notSigned = "the decision was not signed"

// approval signs a decision about a device login at the profile's own issuer.
// Whatever else the caller sends is not looked at: nothing but the documented
// claims comes under the installation's key.
func (a *agent) approval(r *http.Request) (any, error) {
	var req agentwire.ApprovalRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	if code, err := secret.ReadUserCode(req.UserCode); err != nil || code != req.UserCode {
		return nil, agentwire.NewError(agentwire.Usage, notSigned, "user_code is not a code as the server writes it", "", err)
	}
	if !isDevice(req.Device) {
		return nil, agentwire.NewError(agentwire.Usage, notSigned, "device is not the id of a device login", "", nil)
	}
	if len(req.Scope) == 0 && req.Decision == agentwire.DecisionAllow {
		return nil, agentwire.NewError(agentwire.Usage, notSigned, "no scope was shown that could be allowed", "", nil)
	}
	p, err := a.profile(req.Profile)
	if err != nil {
		return nil, err
	}
	c, err := a.connected(r.Context(), p)
	if err != nil {
		return nil, err
	}
	who, issuer := p.whoami(), c.Metadata().Issuer
	api := issuer + oauth.PathAPI
	do := "Run `keytether login --profile me --issuer " + issuer + " --resource " + api + " --scope " + scopeAccount + "`"
	if who.Resource != api {
		return nil, agentwire.NewError(agentwire.ResourceNotAllowed, notSigned, "profile "+who.Profile+" is not logged in for "+api, do, nil)
	}
	if !slices.Contains(strings.Fields(who.Scope), scopeAccount) {
		return nil, agentwire.NewError(agentwire.Scope, notSigned, "profile "+who.Profile+" has no scope "+scopeAccount, do, nil)
	}
	if err := a.admit(r.Context(), p, scopeAccount); err != nil {
		return nil, err
	}
	signed, err := c.Approval(req.Device, req.UserCode, req.Decision, req.Scope)
	if err != nil {
		return nil, agentwire.NewError(agentwire.Failed, notSigned, err.Error(), "", err)
	}
	a.log.Info("a decision was signed", "profile", who.Profile, "device", req.Device, "decision", req.Decision)
	return agentwire.ApprovalResponse{Approval: agentwire.NewSecret(signed)}, nil
}

// maxNotices bounds what is kept for a person to see.
const maxNotices = 20

// notify keeps what the server tells of device logins elsewhere, the newest
// first, each once. The profile's mu is held.
func (p *profile) notify(news []oauthclient.Notice) {
	all := p.notices
	for _, n := range news {
		w := agentwire.Notice{Kind: n.Kind, GrantID: n.GrantID, Client: n.Client, Host: n.Host, Address: n.Address, At: agentwire.Moment(n.At)}
		if !slices.ContainsFunc(all, func(o agentwire.Notice) bool {
			return o.GrantID == w.GrantID && (w.GrantID != "" || o.Kind == w.Kind && o.At.Equal(w.At))
		}) {
			all = append(all, w)
		}
	}
	slices.SortStableFunc(all, func(x, y agentwire.Notice) int { return y.At.Compare(x.At) })
	p.notices = all[:min(len(all), maxNotices)]
}

// isDevice says whether an id is one of a device login.
func isDevice(s string) bool {
	_, err := id.Parse(id.Device, s)
	return err == nil
}
