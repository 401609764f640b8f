package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"time"
)

// floors are the costs that nobody can go below, in microseconds of CPU.
type floors struct{ sign, verify float64 }

// measureFloor takes the median of several rounds of each.
func measureFloor() floors {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	digest := sha256.Sum256([]byte("floor"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	const rounds, each = 9, 2000
	var signs, verifies []float64
	for range rounds {
		signs = append(signs, perOp(each, func() {
			if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				panic(err)
			}
		}))
		verifies = append(verifies, perOp(each, func() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				panic("floor: the signature does not verify")
			}
		}))
	}
	return floors{median(signs), median(verifies)}
}

// perOp is the CPU time of one call of f, in microseconds.
func perOp(n int, f func()) float64 {
	before := selfCPU()
	for range n {
		f()
	}
	return float64(selfCPU()-before) / float64(n) / float64(time.Microsecond)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func percentile(v []float64, p float64) float64 {
	slices.Sort(v)
	return v[min(len(v)-1, int(float64(len(v))*p))]
}
