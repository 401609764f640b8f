package agent

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
)

// kinds is how errors of the flows cross the wire. The first row that fits
// counts.
var kinds = []struct {
	is   error
	code agentwire.Code
	do   string
}{
	{oauthclient.ErrLocked, agentwire.Denied, "Find out who used the decoy, then sign in at the server's page /me and press Unlock"},
	{oauthclient.ErrDenied, agentwire.Denied, "If that was a mistake, log in again and press Allow"},
	{oauthclient.ErrExpired, agentwire.Expired, "Run `keytether login` again"},
	{oauthclient.ErrAccount, agentwire.AccountMismatch, "Sign out at the server in your browser, then log in again as the account that was asked for"},
	{oauthclient.ErrClock, agentwire.Clock, "Set this machine's date and time"},
	{oauthclient.ErrInvalidScope, agentwire.Scope, "Log in again with the scope that you need"},
	{oauthclient.ErrTarget, agentwire.ResourceNotAllowed, "Log in with --resource for that resource"},
	{oauthclient.ErrInvalidGrant, agentwire.NotLoggedIn, "Run `keytether login`"},
	{oauthclient.ErrNeedsToken, agentwire.Denied, "Ask who runs the server for a client id (--client), or for an initial access token (--registration-token-file)"},
	{oauthclient.ErrUnreachable, agentwire.Unreachable, "Check the network, the VPN and HTTPS_PROXY, then try again"},
	{oauthclient.ErrSetup, agentwire.Usage, "Correct the variable, or unset it"},
	{oauthclient.ErrIssuer, agentwire.Usage, "Correct --issuer or KEYTETHER_ISSUER"},
	{oauthclient.ErrRegister, agentwire.Failed, "Ask who runs the server for a client id, and give it with --client"},
	{oauthclient.ErrMetadata, agentwire.Failed, "Check the issuer's address, or ask who runs the server"},
	{oauthclient.ErrPort, agentwire.Failed, "Give another --callback-port, or none"},
	{oauthclient.ErrRefused, agentwire.Failed, "Check --client, --scope and --resource, or ask who runs the server"},
	{oauthclient.ErrIdentity, agentwire.Failed, "Ask who runs the server; nothing was kept"},
	{oauthclient.ErrAnswer, agentwire.Failed, "Try again; if that repeats, ask who runs the server"},
	{keystore.ErrName, agentwire.Usage, "Name the profile with letters, digits, - and _"},
	{keystore.ErrNoKey, agentwire.NotLoggedIn, "Run `keytether login`"},
	{keystore.ErrPassphrase, agentwire.PassphraseWanted, ""},
	{keystore.ErrNewPassphrase, agentwire.NewPassphraseWanted, ""},
	{keystore.ErrUnusable, agentwire.StoreUnusable, ""},
}

// wireError puts an error into words for a person. What happened is the caller's
// to say; why is the error's own text, which by the packages' contracts holds no
// secret.
func wireError(err error, what string) *agentwire.Error {
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return agentwire.NewError(agentwire.Failed, what, "it was called off", "Try again", err)
	}
	for _, k := range kinds {
		if !errors.Is(err, k.is) {
			continue
		}
		why, do := err.Error(), k.do
		if do == "" {
			do = mend(err)
		}
		if w, y, d, ok := oauthclient.Explain(err); ok {
			why = w + ": " + y
			if d != "" {
				do = d
			}
		}
		if k.is == keystore.ErrNoKey && !errors.Is(err, keystore.ErrUnusable) {
			why = "its store does not have the proof key any more"
		}
		return agentwire.NewError(k.code, what, why, do, err)
	}
	return agentwire.NewError(agentwire.Failed, what, "an unexpected error that the agent's log names", "", err)
}

// noUnbound: a program that cannot prove a key gets nothing here.
func noUnbound(w agentwire.Whoami, cause error) *agentwire.Error {
	return agentwire.NewError(agentwire.Denied, "there is no token for a program that cannot prove a key", "the server does not let client "+w.ClientID+" and resource "+w.Resource+" do without proofs",
		"Use `keytether proxy`, which adds the proofs, or ask who runs the server to allow bearer tokens there", cause)
}

func notLoggedIn(profile string, cause error) *agentwire.Error {
	do := "Run `keytether login`"
	if profile != agentwire.DefaultProfile {
		do = "Run `keytether login --profile " + profile + "`; `keytether status` lists the profiles"
	}
	return agentwire.NewError(agentwire.NotLoggedIn, "not logged in", "profile "+profile+" has no login", do, cause)
}
