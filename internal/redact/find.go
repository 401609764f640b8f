package redact

import "iter"

// Kind is what sort of secret was found.
type Kind uint8

// The kinds, as the package comment lists them.
const (
	Minted    Kind = iota // minted by Keytether; its checksum holds
	JWS                   // compact JWS or JWE
	Parameter             // a parameter's name, "=" and its value
	PEM                   // a private key
)

// Span is a secret at src[Start:End].
type Span struct {
	Kind       Kind
	Start, End int
}

// Find yields the secrets in src from pos on, in order; src up to there is what came before. A
// secret that src ends in the middle of ends there. What Find yields is what Bytes masks.
func Find(src []byte, pos int) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		var sc scanner
		at := unknown
		for {
			m, v, _ := sc.next(&at, src, pos, true)
			if v != yes {
				return
			}
			pos = m.end
			if m.mode != inText {
				rest := scanner{mode: m.mode}
				pos += rest.swallow(src[pos:])
			}
			if !yield(Span{Kind: kindOf(src[m.start]), Start: m.start, End: pos}) {
				return
			}
		}
	}
}

// kindOf tells a secret by its first character; no parameter's name begins with these.
func kindOf(c byte) Kind {
	switch c {
	case 'k':
		return Minted
	case 'e':
		return JWS
	case '-':
		return PEM
	}
	return Parameter
}
