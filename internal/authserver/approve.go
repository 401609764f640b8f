package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// ApprovalType is the `typ` of an installation's signed approval.
const ApprovalType = "keytether-approval+jwt"

// Approval is the claims of a decision about a device authorization that an
// installation signs with its proof key (docs/api.md).
type Approval struct {
	Client   string `json:"iss"` // client_id of the installation's token
	Issuer   string `json:"aud"`
	Device   string `json:"device"`         // dev_…, as shown
	CodeHash string `json:"user_code_hash"` // base64url SHA-256 of the user code as shown
	Decision string `json:"decision"`       // "allow" or "deny"
	Scope    string `json:"scope"`          // the scopes as shown; no others are granted
	IssuedAt int64  `json:"iat"`            // the installation's clock; the DPoP proof beside it tells the age
	ID       string `json:"jti"`
}

// Approvable is what an installation is shown of a device authorization before
// it approves: what the page would show.
type Approvable struct {
	DeviceView
	ID       string // dev_…
	UserCode string // as the tool shows it
	Deadline time.Time
}

// ViewDeviceBy shows a device authorization to an installation that its person
// trusts. Wrong codes count against the account. Errors: UserCodeWrong,
// *CodeLimitError, ApproverUnfit.
func (s *Server) ViewDeviceBy(ctx context.Context, who Caller, typed, address string) (Approvable, error) {
	if _, err := s.approver(ctx, who); err != nil {
		return Approvable{}, err
	}
	return guess(s, guesser{account: who.Account.ID}, typed, func(hash grant.Hash) (Approvable, error) {
		d, err := s.deviceFor(ctx, hash, who.Account.ID)
		if err != nil {
			return Approvable{}, err
		}
		if d.Value.Status != grant.Pending || !s.Now().Before(d.Value.Deadline()) {
			return Approvable{}, oauth.Fail(oauth.UserCodeWrong)
		}
		out, _, err := s.approvable(d.Value, who, address)
		out.UserCode, _ = secret.ReadUserCode(typed)
		return out, err
	})
}

// SignedDecision is a decision that an installation signed.
type SignedDecision struct {
	UserCode string // as typed
	Decision string // the same as in Approval
	Approval string // a JWS of Approval's claims
	Address  string // where the installation is
}

// DecideDeviceBy takes a decision that an installation signed. Errors: those of
// ViewDeviceBy, ApprovalWrong, DevicePolicy, InsufficientAuthTime.
func (s *Server) DecideDeviceBy(ctx context.Context, who Caller, in SignedDecision) error {
	installation, err := s.approver(ctx, who)
	if err != nil {
		return err
	}
	type none struct{}
	_, err = guess(s, guesser{account: who.Account.ID}, in.UserCode, func(hash grant.Hash) (none, error) {
		return retry(func() (none, error) {
			d, err := s.deviceFor(ctx, hash, who.Account.ID)
			if err != nil {
				return none{}, err
			}
			a, err := s.checkApproval(in, who, d.Value.ID)
			if err != nil {
				return none{}, err
			}
			return none{}, s.decideBy(ctx, d, in, a, who, installation)
		})
	})
	return err
}

// deviceFor finds a device authorization for an installation of an account's. One
// whose code was typed in a browser where somebody else is signed in is not for
// them: whoever sees a code over a shoulder cannot have the tool work in their
// account (RFC 8628 §5.1).
func (s *Server) deviceFor(ctx context.Context, hash grant.Hash, account string) (store.Versioned[grant.Device], error) {
	d, err := s.deviceByUserCode(ctx, hash)
	if err != nil || d.Value.Session == "" {
		return d, err
	}
	sess, err := s.store.Session(ctx, s.tenant, d.Value.Session)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return d, nil
	case err != nil:
		return d, problem(err)
	case sess.Value.Account != "" && sess.Value.Account != account && !sess.Value.Ended:
		return d, oauth.Fail(oauth.UserCodeWrong)
	}
	return d, nil
}

func (s *Server) decideBy(ctx context.Context, d store.Versioned[grant.Device], in SignedDecision, a Approval, who Caller, installation string) error {
	if in.Decision != "allow" {
		return decidedProblem(s.stepDevice(ctx, d, grant.DenyDevice{Installation: installation, Subject: who.Account.ID}))
	}
	v, e, err := s.approvable(d.Value, who, in.Address)
	if err != nil {
		return err
	}
	switch err := wanting(v.DeviceView); {
	case errors.Is(err, ErrSignInAgain):
		return oauth.Fail(oauth.InsufficientAuthTime)
	case err != nil:
		return err
	}
	e.Installation, e.Scope = installation, common(e.Scope, strings.Fields(a.Scope))
	return decidedProblem(s.stepDevice(ctx, d, e))
}

// decidedProblem: a code that ended meanwhile is one that there is not.
func decidedProblem(err error) error {
	if errors.Is(err, oauth.Fail(oauth.DeviceExpired)) {
		return oauth.Fail(oauth.UserCodeWrong)
	}
	return err
}

// approver gives the installation of a caller, if its person can be taken to
// trust it: its login was one by a browser on its own machine. One that was
// itself logged in with a user code may be a phisher's.
func (s *Server) approver(ctx context.Context, who Caller) (string, error) {
	g, err := s.store.Grant(ctx, s.tenant, who.Token.GrantID)
	if err != nil {
		return "", problem(err)
	}
	c, err := s.Registry().Client(g.Value.Client)
	if err != nil {
		return "", err
	}
	if g.Value.Flow != grant.FlowCode || g.Value.Status != grant.Active || g.Value.Installation == "" || !c.Handshake ||
		g.Value.Thumbprint != who.Proof.Thumbprint {
		return "", oauth.Fail(oauth.ApproverUnfit)
	}
	return g.Value.Installation, nil
}

// approvable judges a device authorization for an installation. Its own login it
// cannot approve: that would be a flow across devices on one device.
func (s *Server) approvable(d grant.Device, who Caller, address string) (Approvable, grant.ApproveDevice, error) {
	if d.Thumbprint == who.Proof.Thumbprint {
		return Approvable{}, grant.ApproveDevice{}, oauth.Fail(oauth.ApproverUnfit)
	}
	client, err := s.Registry().Client(d.Client)
	if err != nil {
		return Approvable{}, grant.ApproveDevice{}, err
	}
	res, err := s.Registry().Resource(d.Resource)
	if err != nil {
		return Approvable{}, grant.ApproveDevice{}, err
	}
	out := Approvable{ID: d.ID, Deadline: d.Deadline(), DeviceView: DeviceView{View: View{
		RequestID: d.ID, Client: *client, Resource: *res, Facts: d.Facts, StartedAt: d.CreatedAt, Ends: d.Lifetimes.Grant,
	}}}
	if !d.Refresh {
		out.Ends = d.Lifetimes.Access
	}
	out.Lacking = lacking(d.Scope, res.mayGrant(d.Scope, who.Account.Roles))
	e := out.judge(d, who.Account, policy.DeviceFacts{
		Approver: address, Installation: true, AskedAt: d.CreatedAt, AuthTime: who.Token.AuthTime,
	})
	e.ACR = who.Token.ACR
	return out, e, nil
}

// checkApproval verifies what an installation signed, by the key of its token and
// of the proof beside it.
func (s *Server) checkApproval(in SignedDecision, who Caller, device string) (Approval, error) {
	var a Approval
	msg, err := jws.Parse(in.Approval)
	if err != nil || !jws.TypeIs(msg.Header.Type, ApprovalType) {
		return a, oauth.Fail(oauth.ApprovalWrong).Because(err)
	}
	if err := msg.Verify(who.Proof.Key); err != nil {
		return a, oauth.Fail(oauth.ApprovalWrong).Because(err)
	}
	if err := json.Unmarshal(msg.Payload, &a); err != nil {
		return a, oauth.Fail(oauth.ApprovalWrong).Because(err)
	}
	code, _ := secret.ReadUserCode(in.UserCode)
	switch {
	case a.Client != who.Token.ClientID, a.Issuer != s.issuer, a.Device != device,
		a.CodeHash != handleName(nonceHash(code)), a.Decision != in.Decision,
		a.IssuedAt <= 0, a.ID == "", a.Scope == "" && a.Decision == "allow":
		return a, oauth.Fail(oauth.ApprovalWrong)
	}
	return a, nil
}
