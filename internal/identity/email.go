package identity

import (
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/secret"
)

// CheckEmail says whether s can be an account's email: one @, printable ASCII
// without spaces, quotes or brackets, RFC 5321's lengths, a domain of proper
// labels. Whether mail arrives there only mail can tell. Error: ErrEmail.
func CheckEmail(s string) error {
	local, domain, ok := strings.Cut(s, "@")
	switch {
	case !ok || strings.Contains(domain, "@"):
		return fmt.Errorf("%w: it needs one @", ErrEmail)
	case len(s) > MaxEmail || len(local) > maxLocal:
		return fmt.Errorf("%w: it is too long", ErrEmail)
	case local == "" || strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, ".."):
		return fmt.Errorf("%w: nothing, or a misplaced dot, before the @", ErrEmail)
	}
	for i := range len(local) {
		if c := local[i]; c <= ' ' || c > '~' || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return fmt.Errorf("%w: a character that is not allowed before the @", ErrEmail)
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%w: no proper domain after the @", ErrEmail)
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("%w: a character that is not allowed in a domain", ErrEmail)
			}
		}
	}
	return nil
}

// FoldEmail is the form in which emails are compared: lower case, without the
// spaces that a form brings along, at most MaxEmail bytes.
func FoldEmail(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) > MaxEmail {
		s = s[:MaxEmail]
	}
	return s
}

// One-time passwords: four groups of five characters without look-alikes, 31
// to choose from, so 99 bits; and easy to read over the phone.
const (
	oneTimeAlphabet = "23456789abcdefghjkmnpqrstuvwxyz"
	oneTimeGroups   = 4
	oneTimeGroup    = 5
)

// OneTimePassword renders 32 random bytes as a password to be read and typed,
// such as "7kd2m-p4x9q-wtz3e-hn8vb". It has 99 bits.
func OneTimePassword(random [32]byte) secret.Value {
	var b strings.Builder
	for i := range oneTimeGroups * oneTimeGroup {
		if i > 0 && i%oneTimeGroup == 0 {
			b.WriteByte('-')
		}
		// Long division of the bytes as one number; 256 bits against 99 leave
		// no bias to speak of.
		var rem uint32
		for j := range random {
			cur := rem<<8 | uint32(random[j])
			random[j] = byte(cur / uint32(len(oneTimeAlphabet)))
			rem = cur % uint32(len(oneTimeAlphabet))
		}
		b.WriteByte(oneTimeAlphabet[rem])
	}
	return secret.New(b.String())
}
