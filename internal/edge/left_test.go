package edge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// leaving is a store whose caller goes away while a commit is under way: the
// change is applied, and the answer is lost, as store.Committer allows.
type leaving struct {
	store.Store
	mu    sync.Mutex
	leave context.CancelFunc // at the next commit
}

func (l *leaving) at(leave context.CancelFunc) context.CancelFunc {
	l.mu.Lock()
	defer l.mu.Unlock()
	leave, l.leave = l.leave, leave
	return leave
}

// Commit implements store.Committer.
func (l *leaving) Commit(ctx context.Context, tenant string, c store.Change) error {
	if leave := l.at(nil); leave != nil {
		leave()
	}
	if err := l.Store.Commit(context.WithoutCancel(ctx), tenant, c); err != nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: not waited for: %w", store.ErrUnavailable, ctx.Err())
}

// TestRevokedByWhoLeft: a person who presses "Revoke" and closes the page, or a
// thief who hangs up, does not keep a revocation from the feed.
func TestRevokedByWhoLeft(t *testing.T) {
	l := &leaving{}
	s := edgetest.NewServer(t, edgetest.Options{Store: func(st store.Store) store.Store { l.Store = st; return l }})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	g, err := s.Store.Grant(t.Context(), store.DefaultTenant, tool.Token.GrantID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.at(cancel)
	_ = s.Auth.RevokeMine(ctx, g.Value.Subject, g.Value.ID)
	if ctx.Err() == nil {
		t.Fatal("nobody left")
	}
	if g, err = s.Store.Grant(t.Context(), store.DefaultTenant, g.Value.ID); err != nil || g.Value.Status != grant.Revoked {
		t.Fatal(g.Value.Status, err)
	}
	if !s.Auth.Revoked(g.Value.ID, "") {
		t.Error("the grant is revoked, and the feed was not told")
	}
}
