// Package stores tries every credential store as a person has it: the built
// programs, a real server, gnome-keyring on a bus of its own, the kernel's keyring,
// a TPM in software, and the sealed file. What it sees is the table in
// docs/stores.md, which it also writes:
//
//	go test ./test/stores -update
//
// It needs Linux, root (for a /dev of each machine's own), and what scripts/setup
// installs.
package stores
