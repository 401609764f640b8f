package jws

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"math/big"
	"slices"
)

// smallOrder are the y coordinates (little-endian, sign bit cleared) of the
// points whose order divides 8. Under such a "key" anybody can sign anything.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// validEd25519 reports whether the bytes are the canonical encoding of a point
// on the curve (RFC 8032 §5.1.3) that is not of small order.
func validEd25519(point []byte) bool {
	if len(point) != ed25519.PublicKeySize {
		return false
	}
	le := bytes.Clone(point)
	le[31] &= 0x7f
	if slices.Contains(smallOrder, hex.EncodeToString(le)) {
		return false
	}
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	if y.Cmp(p) >= 0 {
		return false
	}
	// -x² + y² = 1 + d·x²·y², so x² = (y²-1) / (d·y²+1) must have a root;
	// a quotient and a product of the two have the same Jacobi symbol.
	d := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	yy := y.Mul(y, y)
	u := new(big.Int).Sub(yy, one)
	v := d.Add(d.Mul(d, yy), one)
	u.Mod(u.Mul(u, v), p)
	return big.Jacobi(u, p) == 1
}
