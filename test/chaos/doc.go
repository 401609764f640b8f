// Package chaos has no code of its own. Its tests do to the built server what
// machines and people do to servers: kill it at any moment, fill its disk, stop
// and restart it under load, set clocks wrong, change its config and keys while
// it runs, and put a backup back. After each of them the promises must still
// hold: what was acknowledged is there or was revoked by a record, no family has
// two successors, and the audit log proves itself.
//
// The server is the shipped binary in a process of its own; the client is
// bench/driver, which has no browser.
package chaos
