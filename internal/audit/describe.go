package audit

import (
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/event"
)

// sentences has one line of plain English for each event. In it stand
// {who}, {client}, {resource}, {scope}, {where}, {until}, {reason}, {detail},
// {jti} and {generation}; a word that is not known is said
// in general terms.
var sentences = map[event.Name]string{
	event.RequestOpened:   "{client} asked for a login{where}; a browser opened it",
	event.RequestApproved: "{who} allowed {client} to use {resource}{scope}",
	event.RequestDenied:   "{who} denied {client}",
	event.RequestExpired:  "the login that {client} asked for was not finished in time",
	event.RequestRefused:  "the login that {client} asked for was refused{reason}",
	event.HandshakeNonce:  "the browser was sent to {client} on this machine to prove who started the login",
	event.CodeIssued:      "{client} was given an authorization code{until}",
	event.CodeRedeemed:    "{client} redeemed the authorization code",
	event.CodeReused:      "somebody tried to use an authorization code of {client} again; it was refused",

	event.DeviceStarted:  "{client} asked for a login with a user code{scope}{until}",
	event.DeviceOpened:   "the user code that {client} showed{where} was typed in a browser",
	event.DeviceBound:    "the login that {client} asked for was bound to the key of its first proof",
	event.DeviceApproved: "{who} allowed {client}, with a user code, to use {resource}{scope}",
	event.DeviceDenied:   "the login with a user code that {client} asked for was denied{reason}",
	event.DeviceExpired:  "the login with a user code that {client} asked for was not finished in time",
	event.DeviceRedeemed: "{client} redeemed the device code",
	event.DeviceRepeated: "{client} asked again for the answer to its device code, which was lost",
	event.LoginsSeen:     "{who} has seen the device logins so far",

	event.GrantCreated:    "{client} may now use {resource} for {who}{scope}{until}",
	event.GrantRevoked:    "the grant of {client} for {who} was revoked{reason}",
	event.GrantExpired:    "the grant of {client} for {who} ended{reason}",
	event.TokenIssued:     "{client} was given an access token for {resource}{scope}{until}{jti}{generation}",
	event.TokenRevoked:    "one access token of {client} was revoked{reason}{jti}",
	event.IDTokenIssued:   "{client} was told who signed in: {who}",
	event.RefreshRepeated: "{client} asked again for the answer that was lost, and got the same refresh token{generation}",
	event.TokenTripped:    "an access token of {client} for {resource} was used without its own key{detail}{where}; it counts as copied{jti}",
	event.DecoyPlanted:    "{who} planted a decoy on an installation",
	event.DecoyFired:      "a decoy was used{detail}{where}; the installation of {who} that it was planted on is locked",
	event.RefreshReused:   "a refresh token of {client} that was already spent was presented{reason}; it counts as stolen",

	event.InstallationUnlocked: "{who} unlocked an installation{detail}{where}{reason}",

	event.AccountCreated:  "an account was made for {who}{reason}",
	event.AccountChanged:  "the account of {who} was changed{detail}{reason}",
	event.AccountDisabled: "the account of {who} was disabled{reason}",
	event.SignInSucceeded: "{who} signed in{where}",
	event.SignInFailed:    "a sign-in failed{reason}{where}",
	event.SessionEnded:    "{who} was signed out of the browser{reason}",

	event.ServerStarted:    "the server started{reason}{detail}",
	event.ClientAdded:      "client {client} was registered{reason}",
	event.ClientChanged:    "client {client} was changed{detail}{reason}",
	event.ClientDisabled:   "client {client} was disabled{reason}",
	event.ResourceAdded:    "resource {resource} was registered{reason}",
	event.ResourceChanged:  "resource {resource} was changed{detail}{reason}",
	event.ResourceDisabled: "resource {resource} was disabled{reason}",
	event.KeyAdded:         "a signing key was added{detail}{reason}",
	event.KeyRetired:       "a signing key was retired{detail}{reason}",
	event.AuditExported:    "{who} exported the audit log",
}

// reasons say why, after a colon.
var reasons = map[event.Reason]string{
	event.ReasonPerson:       "the person revoked it",
	event.ReasonNotMe:        `the person said "This wasn't me"`,
	event.ReasonLogout:       "the tool logged out",
	event.ReasonAdmin:        "an administrator did it",
	event.ReasonCodeReused:   "its authorization code was used twice",
	event.ReasonReuse:        "an old refresh token was presented",
	event.ReasonWrongKey:     "a refresh token was presented with another key",
	event.ReasonCopied:       "a copy of its access token was used",
	event.ReasonBurned:       "somebody who held a copy of it said that it leaked",
	event.ReasonIdle:         "it was not used for too long",
	event.ReasonLifetime:     "its time is over",
	event.ReasonClientGone:   "the client was removed from the config",
	event.ReasonResourceGone: "the resource was removed from the config",
	event.ReasonAccountGone:  "the account was removed from the config",
	event.ReasonBadPassword:  "wrong password",
	event.ReasonUnknownUser:  "there is no such account",
	event.ReasonRateLimited:  "too many attempts",
	event.ReasonSignOut:      "the person signed out",
	event.ReasonHandshake:    "the machine did not prove that it started the login",
	event.ReasonVolatile:     "unopened logins and rate limits of before are gone",
	event.ReasonRotation:     "keys were rotated",
	event.ReasonConfig:       "by the config file",
	event.ReasonRegistered:   "it registered itself",
	event.ReasonCancelled:    "the tool was stopped while it waited",
	event.ReasonHammering:    "the tool went on polling in spite of every slow_down",
	event.ReasonFirstStart:   "at the first start",
}

// Describe says a record in one line of plain English, without its time.
func Describe(rec event.Record) string {
	s, ok := sentences[rec.Name]
	if !ok {
		return string(rec.Name)
	}
	until := ""
	if !rec.Until.IsZero() {
		until = ", until " + rec.Until.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	generation := ""
	if rec.Generation != 0 {
		generation = fmt.Sprintf(" (renewal %d)", rec.Generation)
	}
	return strings.NewReplacer(
		"{who}", first(rec.Facts.Email, rec.Subject, "somebody"),
		"{client}", first(rec.Client, "a client"),
		"{resource}", first(rec.Resource, "a resource"),
		"{scope}", prefixed(", scope ", strings.ReplaceAll(rec.Scope, " ", ", ")),
		"{where}", where(rec.Facts),
		"{until}", until,
		"{reason}", prefixed(": ", first(reasons[rec.Reason], string(rec.Reason))),
		"{detail}", prefixed(" (", rec.Detail, ")"),
		"{jti}", prefixed(" [", rec.JTI, "]"),
		"{generation}", generation,
	).Replace(s)
}

func where(f event.Facts) string {
	machine := f.Host
	if f.OSUser != "" && machine != "" {
		machine = f.OSUser + "@" + machine
	}
	return prefixed(" on ", machine) + prefixed(" from ", f.Address)
}

func prefixed(before, s string, after ...string) string {
	if s == "" {
		return ""
	}
	return before + printable(s) + strings.Join(after, "")
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return printable(s)
		}
	}
	return ""
}

// printable keeps a fact that somebody else chose (a host name) on its line
// and from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return '?'
		}
		return r
	}, s)
}
