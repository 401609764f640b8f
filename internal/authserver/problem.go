package authserver

import (
	"errors"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// problem turns the sentinels of grant and store into the catalogue's codes.
// It is the one place where the two meet.
func problem(err error) error {
	var already *oauth.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	for _, row := range problems() {
		if errors.Is(err, row.sentinel) {
			return oauth.Fail(row.code).Because(err)
		}
	}
	return oauth.Fail(oauth.ServerError).Because(err)
}

type problemRow struct {
	sentinel error
	code     oauth.Code
}

func problems() []problemRow {
	return []problemRow{
		{store.ErrConflict, oauth.Conflict},
		{store.ErrFull, oauth.StorageFull},
		{store.ErrUnavailable, oauth.Unavailable},
		{store.ErrClosed, oauth.Unavailable},
		{grant.ErrExpired, oauth.RequestExpired},
		{grant.ErrNotPending, oauth.RequestDecided},
		{grant.ErrCodeIssued, oauth.RequestDecided},
		{grant.ErrNotApproved, oauth.RequestDecided},
		{grant.ErrNotOpened, oauth.OtherBrowser},
		{grant.ErrForeignSession, oauth.OtherBrowser},
		{grant.ErrScope, oauth.ScopeWider},
		{grant.ErrResource, oauth.ResourceOther},
		{grant.ErrHandshake, oauth.HandshakeFailed},
		{grant.ErrNoHandshake, oauth.HandshakeFailed},
		{grant.ErrHandshakeWrong, oauth.HandshakeFailed},
		{grant.ErrHandshakeLate, oauth.HandshakeLate},
		{grant.ErrCodeForeign, oauth.CodeForeign},
		{grant.ErrCodeRedirect, oauth.CodeRedirect},
		{grant.ErrCodeVerifier, oauth.CodeVerifier},
		{grant.ErrCodeKey, oauth.CodeKey},
		{grant.ErrCodeReused, oauth.CodeReused},
		{grant.ErrProofRequired, oauth.ProofRequired},
		{grant.ErrLocked, oauth.InstallationLocked},
		{grant.ErrInactive, oauth.GrantEnded},
		{grant.ErrNoBearer, oauth.GrantEnded},
		{grant.ErrBound, oauth.BearerRefused},
		{grant.ErrForeignClient, oauth.RefreshForeign},
		{grant.ErrNoRefresh, oauth.RefreshUnknown},
		{grant.ErrUnknownToken, oauth.RefreshUnknown},
		{grant.ErrSuperseded, oauth.RefreshSuperseded},
		{grant.ErrReused, oauth.RefreshReused},
		{grant.ErrWrongKey, oauth.RefreshWrongKey},
	}
}
