package jws

import (
	"fmt"
)

// parseHeader reads a JOSE header. Unknown members are ignored, as RFC 7515 §4
// asks, but for those that would make us fetch, trust or interpret something.
func parseHeader(raw []byte, embedded bool) (Header, error) {
	var h Header
	err := EachMember(raw, func(name string, v Value) (err error) {
		switch name {
		case "alg":
			var s string
			if s, err = v.Text(); err == nil {
				h.Algorithm, err = parseAlgorithm(s)
			}
		case "typ":
			h.Type, err = v.boundedString(maxType)
		case "kid":
			h.KeyID, err = v.boundedString(maxKeyID)
		case "jwk":
			if !embedded {
				return fmt.Errorf("%w: %s", ErrHeader, name)
			}
			h.Key, err = ParseJWK(v)
		case "crit", "b64", "zip", "jku", "x5u", "x5c":
			return fmt.Errorf("%w: %s", ErrHeader, name)
		}
		return err
	})
	switch {
	case err != nil:
		return Header{}, err
	case h.Algorithm == "":
		return Header{}, fmt.Errorf("%w: none given", ErrAlgorithm)
	case embedded && h.Key == nil:
		return Header{}, fmt.Errorf("%w: no jwk in the header", ErrKey)
	case embedded && h.Key.alg != h.Algorithm:
		return Header{}, fmt.Errorf("%w: %s does not fit the key", ErrAlgorithm, h.Algorithm)
	}
	return h, nil
}

func parseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case ES256, RS256, EdDSA:
		return a, nil
	}
	return "", ErrAlgorithm
}
