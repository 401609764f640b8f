package agent

import (
	"errors"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

// registration is which client a login is made as where nobody named one.
type registration struct {
	named  bool // the caller named it
	made   bool // it was registered by an agent, now or before
	reused bool // before: the server may have forgotten it
}

// choose settles the client. Ours know the built-in one; at another server that
// takes registrations (RFC 7591) the one of an earlier login of this profile is
// used, else a new one is made.
func (s *attempt) choose() error {
	token := !s.req.RegistrationToken.IsZero()
	switch {
	case s.reg.named:
		return nil
	case !s.client.Registers() && token:
		return agentwire.NewError(agentwire.Usage, couldNot, s.req.Issuer+" has no registration_endpoint, so an initial access token is of no use", "Ask who runs the server for a client id, and give it with --client", nil)
	case !s.client.Registers() || s.client.Ours() && !token:
		return nil
	}
	if id := s.registeredBefore(); id != "" && !token {
		s.reg.made, s.reg.reused = true, true
		s.as(id)
		return nil
	}
	return s.register()
}

func (s *attempt) as(id string) {
	s.req.ClientID = id
	s.client.Use(id)
}

// registeredBefore gives the client of an earlier login of this profile at this
// issuer: by the agent's own memory, by the login that stands, by the caller's.
func (s *attempt) registeredBefore() string {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if id, ok := s.a.clients[slotName(s.name, s.req.Issuer)]; ok {
		return id
	}
	if p := s.a.profiles[s.name]; p != nil && p.who.Issuer == s.req.Issuer {
		if who := p.whoami(); who.ClientRegistered {
			return who.ClientID
		}
	}
	return s.req.RegisteredClient
}

// register makes a client for this profile and remembers it.
func (s *attempt) register() error {
	id, err := s.client.Register(s.ctx, oauthclient.Registration{
		Name: "Keytether agent", Scope: s.req.Scope, Token: secret.New(s.req.RegistrationToken.Reveal()),
	})
	if err != nil {
		return err
	}
	s.reg.made, s.reg.reused = true, false
	s.as(id)
	s.remember(id)
	s.a.log.Info("registered as a client", "issuer", s.req.Issuer, "client", id)
	return nil
}

// remember keeps a profile's client; empty: the one that is known elsewhere is
// not to be used any more.
func (s *attempt) remember(id string) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if len(s.a.clients) >= maxProfiles {
		clear(s.a.clients)
	}
	s.a.clients[slotName(s.name, s.req.Issuer)] = id
}

// forgotten says whether the server does not take the client of an earlier login
// any more, or not for this scope. Then the next one registers anew.
func (s *attempt) forgotten(err error) bool {
	if !s.reg.reused || !clientRefused(err) {
		return false
	}
	s.remember("")
	return true
}

// clientRefused: the server does not know the client, or not for this, or it was
// registered for less (RFC 6749 §5.2).
func clientRefused(err error) bool {
	r, ok := errors.AsType[*oauthclient.Refusal](err)
	return ok && (r.Code == "invalid_client" || r.Code == "unauthorized_client" || r.Code == "invalid_scope")
}

// beginAs settles the client and starts the first way; where the server has
// forgotten the client, as a new one.
func (s *attempt) beginAs() error {
	if err := s.choose(); err != nil {
		return err
	}
	err := s.begin()
	if err == nil || !s.forgotten(err) {
		return err
	}
	if err := s.register(); err != nil {
		return err
	}
	return s.begin()
}
