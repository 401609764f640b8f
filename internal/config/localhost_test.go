package config

import "testing"

// TestPlainHTTPByNumber: an issuer or resource that our own clients and APIs
// would refuse is refused here, where it is written.
func TestPlainHTTPByNumber(t *testing.T) {
	for host, good := range map[string]bool{"127.0.0.1": true, "[::1]": true, "localhost": false, "a.localhost": false} {
		if _, problem := checkIssuer("http://" + host + ":8430"); (problem == "") != good {
			t.Errorf("issuer on %s: %q", host, problem)
		}
		if problem := checkResource("http://"+host+":8431", ""); (problem == "") != good {
			t.Errorf("resource on %s: %q", host, problem)
		}
		if _, err := Defaults(t.TempDir(), host+":8430"); (err == nil) != good {
			t.Errorf("--listen %s: %v", host, err)
		}
	}
}
