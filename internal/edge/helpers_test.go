package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// read takes the body of a request that has not been sent.
func read(r *http.Request) string {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// chunks hides its length.
func chunks(s string) io.ReadCloser { return io.NopCloser(io.MultiReader(strings.NewReader(s))) }

func manyParams() string {
	var b strings.Builder
	for i := range oauth.MaxParams {
		fmt.Fprintf(&b, "&p%d=x", i)
	}
	return b.String()
}

// grantHandshakeLate is just too late for a handshake.
const grantHandshakeLate = grant.HandshakeLife + time.Millisecond
