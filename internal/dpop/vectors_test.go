package dpop

import (
	"testing"
	"time"
)

const (
	rfcHeader = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfcJKT    = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

// The proofs of RFC 9449 §4.1 (token request) and §7.1 (resource request), and
// the thumbprint of §6.1.
func TestRFC9449Vectors(t *testing.T) {
	token := rfcHeader + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	p, err := Verify(token, Expect{
		Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0), MaxAge: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Thumbprint != rfcJKT || p.ID != "-BwC3ESc6acc2lTc" || p.IssuedAt.Unix() != 1562262616 || p.Nonce != "" {
		t.Errorf("%+v", p)
	}
	resource := rfcHeader + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	if _, err := Verify(resource, Expect{
		Method: "GET", URL: "https://resource.example.org/protectedresource", AccessToken: testToken, Thumbprint: rfcJKT,
		Now: time.Unix(1562262618, 0), MaxAge: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
}
