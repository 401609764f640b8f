// Package conformance holds the server, and an API guarded by package verify,
// to what the RFCs ask of them. Its tests speak HTTP to the built programs and
// know nothing of their insides; each row names the section it was written from.
//
// docs/conformance.md lists the rows. It is written by
//
//	go test ./test/conformance -update
//
// and every other run checks that it is up to date.
package conformance
