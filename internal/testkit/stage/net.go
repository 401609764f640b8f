package stage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/testkit"
)

// transport reaches the stage's servers by their names.
func (s *Stage) transport() *http.Transport {
	t := &http.Transport{MaxIdleConnsPerHost: 128}
	if s.proxy != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Hostname() == "127.0.0.1" {
				return nil, nil
			}
			return url.Parse(s.proxy.URL())
		}
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

// buildTLS makes the authority, the certificates and the way to the names.
func (s *Stage) buildTLS() error {
	var err error
	if s.CA, err = testkit.NewCA(); err != nil {
		return err
	}
	files, err := s.CA.WriteFiles(s.Dir, "auth.test", "api.test")
	if err != nil {
		return err
	}
	if s.front, err = testkit.NewFront(s.CA, s.apiAddr, "api.test"); err != nil {
		return err
	}
	if s.proxy, err = testkit.NewProxy(map[string]string{"auth.test": s.serverAddr, "api.test": s.front.Addr()}); err != nil {
		return err
	}
	s.Issuer, s.Resource = "https://auth.test", "https://api.test"
	s.env = []string{"HTTPS_PROXY=" + s.proxy.URL(), "SSL_CERT_FILE=" + files.CA}
	return nil
}

// buildBetween puts Options.Between where the issuer is reached, and the server
// behind it.
func (s *Stage) buildBetween() error {
	var err error
	if s.listen, err = testkit.FreeLoopback(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.serverAddr)
	if err != nil {
		return err
	}
	if s.opt.TLS {
		conf, err := s.CA.TLS("auth.test")
		if err != nil {
			return err
		}
		l = tls.NewListener(l, conf)
	}
	quiet := log.New(io.Discard, "", 0)
	server := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.listen})
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1, ErrorLog: quiet,
	}
	s.between = &http.Server{Handler: s.opt.Between(server), ErrorLog: quiet}
	go func() { _ = s.between.Serve(l) }()
	return nil
}
