// Package proxies runs the built programs behind real proxies: a squid that wants a password, a
// mitmproxy that looks into TLS, a browser that sends even loopback through a proxy, and networks
// that show everybody their sign-in page.
//
// The test runs itself a second time within a network namespace of its own, where the names of
// its servers are known and nothing else can be reached, and takes that away when it has ended.
// It needs root.
package proxies
