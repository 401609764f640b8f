// Package headless plays logins without a browser on the machine that logs in,
// over real networks: a device, a person and an attacker each in a network
// namespace of its own, with addresses of three networks, the built programs, a
// real sshd and a real Chromium.
//
// The test runs itself a second time within the person's namespace, so that the
// browser and the sample API are there, and removes the namespaces when that has
// ended, however it ended. It needs root.
package headless
