package stage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"

	"github.com/keytether/keytether/internal/jws"
)

// transport reaches the stage's servers by their names.
func (s *Stage) transport() *http.Transport {
	t := &http.Transport{MaxIdleConnsPerHost: 128}
	if s.proxy != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12}
		t.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(s.proxy.URL()) }
	}
	return t
}

// apiKey makes the sample API's own key pair: PEM and JWKS.
func apiKey() (keyPEM, jwks string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	pub, err := jws.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	set, err := jws.NewSet(jws.Entry{KeyID: "api", Key: pub})
	if err != nil {
		return "", "", err
	}
	doc, err := json.Marshal(set)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(doc), err
}
