package authserver

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// DisownGrant is "This wasn't me" for one grant: the way for those that are
// bound to no installation.
func (s *Server) DisownGrant(ctx context.Context, account, grantID string) error {
	g, err := s.store.Grant(ctx, s.tenant, grantID)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Value.Subject != account {
		return oauth.Fail(oauth.NotFound)
	}
	if err != nil {
		return problem(err)
	}
	return s.endGrant(ctx, grantID, "", grant.Revoke{Reason: event.ReasonNotMe})
}
