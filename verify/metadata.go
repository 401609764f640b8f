package verify

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/keytether/keytether/internal/oauth"
)

const wellKnownResource = "/.well-known/oauth-protected-resource"

// dpopAlgs are those that dpop.Verify takes, as challenges and metadata list them.
const dpopAlgs = "ES256 EdDSA"

// resourceMetadata is RFC 9728 §2's document.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	DPoPAlgs             []string `json:"dpop_signing_alg_values_supported"`
	DPoPRequired         bool     `json:"dpop_bound_access_tokens_required"`
}

func (v *Verifier) document(scopes []string) []byte {
	b, _ := json.Marshal(resourceMetadata{ // strings and a boolean: it cannot fail
		Resource: v.resource, AuthorizationServers: []string{v.issuer}, ScopesSupported: scopes,
		BearerMethods: []string{"header"}, DPoPAlgs: []string{"ES256", "EdDSA"}, DPoPRequired: !v.mode.bearer,
	})
	return b
}

// MetadataPath is where RFC 9728 §3.1 wants Metadata to stand on this host:
// /.well-known/oauth-protected-resource, and then the resource's own path.
func (v *Verifier) MetadataPath() string {
	u, err := url.Parse(oauth.MetadataURL(v.resource, wellKnownResource))
	if err != nil {
		return wellKnownResource
	}
	return u.Path
}

// Metadata serves this API's protected-resource metadata (RFC 9728): the
// resource's identifier, exactly, and the issuer whose tokens it takes. It needs
// no token. Every challenge of the Verifier names its URL.
func (v *Verifier) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(v.metadata)
	})
}
