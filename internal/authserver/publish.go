package authserver

import (
	"github.com/keytether/keytether/internal/signer"
)

// JWKSMaxAge is how long a copy of the JWKS may be used: rotation waits for it.
const JWKSMaxAge = signer.JWKSMaxAge

// JWKS is the document of the keys under which tokens are accepted (RFC 7517
// §5).
func (s *Server) JWKS() ([]byte, error) {
	doc, err := s.Keys().JWKS(s.Now())
	return doc, problem(err)
}
