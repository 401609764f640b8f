package leak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Keeper is who may write something down.
type Keeper int

const (
	Nobody Keeper = iota
	// Chrome: a browser has to keep cookies, and remembers where it was and what
	// form it sent there last: a request's handle, the listener's signed answer, a
	// form's token. Without the cookies beside them they are worth nothing.
	Chrome
	// Storage: the server gives state and the ID token's nonce back to who sent
	// them. They grant nothing.
	Storage
)

// keepers are the parameters and members that a Recorder looks for, and who may
// keep each.
var keepers = map[string]Keeper{
	"access_token": Nobody, "refresh_token": Nobody, "id_token": Nobody, "code": Nobody,
	"code_verifier": Nobody, "handshake_nonce": Nobody, "password": Nobody, "token": Nobody,
	"client_assertion": Nobody, "device_code": Nobody,
	"csrf": Chrome, "request_uri": Chrome, "handshake": Chrome,
	"state": Storage, "nonce": Storage,
}

// Recorder stands between everybody and an authorization server, and knows every
// secret: the agent's and the browser's requests go through it, and what they are
// answered. The zero value is ready.
type Recorder struct {
	mu   sync.Mutex
	seen map[string]recorded // by value
}

type recorded struct {
	kind   string
	keeper Keeper
}

// Add notes a secret that nobody may keep and that does not go by here.
func (r *Recorder) Add(kind, v string) { r.add(kind, v, Nobody) }

func (r *Recorder) add(kind, v string, k Keeper) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]recorded{}
	}
	if _, known := r.seen[v]; v != "" && !known {
		r.seen[v] = recorded{kind, k}
	}
}

// Secrets gives what was collected, by who may keep it and under a name, and how
// many there are of each kind.
func (r *Recorder) Secrets() (secrets map[Keeper]map[string]string, count map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	secrets, count = map[Keeper]map[string]string{Nobody: {}, Chrome: {}, Storage: {}}, map[string]int{}
	for v, s := range r.seen {
		count[s.kind]++
		secrets[s.keeper][fmt.Sprintf("%s %d", s.kind, count[s.kind])] = v
	}
	return secrets, count
}

// Request notes what a request brings: its token and its proof.
func (r *Recorder) Request(q *http.Request) {
	r.Add("proof", q.Header.Get("DPoP"))
	scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	if _, password, ok := q.BasicAuth(); ok {
		r.Add("access_token", password)
	} else if scheme != "Basic" {
		r.Add("access_token", token)
	}
}

// Between passes requests on to the server, and notes the secrets of both sides:
// tokens, codes, proofs, nonces, cookies, and the hidden fields of forms.
func (r *Recorder) Between(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.Request(q)
		form, _ := url.ParseQuery(string(body))
		r.form(form)
		r.form(q.URL.Query())
		if q.URL.Path == "/oauth/revocations" { // a stream without secrets
			server.ServeHTTP(w, q)
			return
		}
		t := &tee{ResponseWriter: w}
		server.ServeHTTP(t, q)
		r.Add("DPoP-Nonce", w.Header().Get("DPoP-Nonce"))
		for _, c := range (&http.Response{Header: w.Header()}).Cookies() {
			r.add("cookie", c.Value, Chrome)
		}
		r.answer(t.body.Bytes())
	})
}

func (r *Recorder) form(f url.Values) {
	for name := range f {
		if k, ok := keepers[name]; ok {
			r.add(name, f.Get(name), k)
		}
	}
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)"`)

func (r *Recorder) answer(body []byte) {
	var doc map[string]any
	if json.Unmarshal(body, &doc) == nil {
		for name, v := range doc {
			if text, ok := v.(string); ok && name != "token" {
				r.form(url.Values{name: {text}})
			}
		}
		return
	}
	for _, m := range hidden.FindAllSubmatch(body, -1) {
		r.form(url.Values{string(m[1]): {string(m[2])}})
	}
}

// tee keeps a copy of the answer.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }
