package scan

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

// Errors of burning, for errors.Is.
var (
	ErrNoIssuer = errors.New("scan: no issuer is known that could end it")
	ErrNoBurn   = errors.New("scan: the issuer offers no way to end it")
	ErrBurn     = errors.New("scan: the issuer did not end it")
)

// perBurn is how many credentials go into one request.
const perBurn = 50

// Burner has credentials revoked by who issued them.
type Burner struct {
	HTTP    *outbound.Client
	Issuers []string // whom a credential that names no issuer is shown: they are trusted with it

	at map[string]endpoints
}

type endpoints struct {
	burn, revoke string
	err          error
}

// Burn sends each credential once to its issuer, and one that names none to every issuer: the
// answer of a burn endpoint tells nothing, not even whether it was theirs. It gives the errors by
// issuer; under "" stands what nobody could be asked for.
func (b *Burner) Burn(ctx context.Context, found []Finding) map[string]error {
	failed := map[string]error{}
	b.at = map[string]endpoints{}
	byIssuer := map[string][]Finding{}
	seen := map[string]bool{}
	for _, f := range found {
		if seen[f.Fingerprint] {
			continue
		}
		seen[f.Fingerprint] = true
		to := b.Issuers
		if f.Issuer != "" {
			to = []string{f.Issuer}
		}
		if len(to) == 0 {
			failed[""] = ErrNoIssuer
		}
		for _, issuer := range to {
			byIssuer[issuer] = append(byIssuer[issuer], f)
		}
	}
	for issuer, list := range byIssuer {
		for part := range slices.Chunk(list, perBurn) {
			if err := b.send(ctx, issuer, part); err != nil {
				failed[issuer] = err
				break
			}
		}
	}
	return failed
}

func (b *Burner) send(ctx context.Context, issuer string, list []Finding) error {
	at, ok := b.at[issuer]
	if !ok {
		at = b.find(ctx, issuer)
		b.at[issuer] = at
	}
	switch {
	case at.err != nil:
		return at.err
	case at.burn != "":
		form := url.Values{}
		for _, f := range list {
			form.Add("token", f.Value.Reveal())
		}
		return b.post(ctx, at.burn, form)
	case at.revoke != "":
		for _, f := range list {
			client := clientOf(f.Value.Reveal())
			if client == "" {
				return ErrNoBurn
			}
			if err := b.post(ctx, at.revoke, url.Values{"token": {f.Value.Reveal()}, "client_id": {client}}); err != nil {
				return err
			}
		}
		return nil
	}
	return ErrNoBurn
}

// find reads the issuer's metadata: its burn endpoint, else revocation (RFC 7009).
// A server that has no https address is asked nothing: what it is sent would go out in clear.
func (b *Burner) find(ctx context.Context, issuer string) endpoints {
	place := strings.TrimSuffix(issuer, "/") // some close theirs with a slash, which is not part of the place (RFC 8414 section 3.1)
	if oauth.CheckIssuer(place) != nil {
		return endpoints{err: fmt.Errorf("%w: it is no https address", ErrNoBurn)}
	}
	for _, wellKnown := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		res, err := b.HTTP.GetMetadata(ctx, oauth.MetadataURL(place, wellKnown))
		if err != nil {
			return endpoints{err: err}
		}
		if res.Status != http.StatusOK {
			continue
		}
		m, err := oauth.DecodeMetadata(issuer, res.Body)
		if err != nil {
			return endpoints{err: fmt.Errorf("%w: its metadata is not that of %s", ErrNoBurn, issuer)}
		}
		return endpoints{burn: m.BurnEndpoint, revoke: m.RevocationEndpoint}
	}
	return endpoints{err: fmt.Errorf("%w: %s has no metadata", ErrNoBurn, issuer)}
}

func (b *Burner) post(ctx context.Context, endpoint string, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return ErrNoBurn
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := b.HTTP.Do(req)
	if err != nil {
		return err
	}
	if res.Status < 200 || res.Status > 299 {
		return fmt.Errorf("%w: it answered %d", ErrBurn, res.Status)
	}
	return nil
}

// clientOf is the client_id in a JWT's claims (RFC 9068 section 2.2), or empty.
func clientOf(jwt string) string {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		Client string `json:"client_id"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Client
}
