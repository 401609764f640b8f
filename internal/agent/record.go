package agent

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// recordVersion grows when an older agent would misread a newer one's record.
const recordVersion = 1

// record stands beside a refresh token in the store, without a secret: with it
// an agent that starts anew goes on with the login.
type record struct {
	Version int `json:"v"`
	agentwire.Whoami
	JKT  string   `json:"jkt,omitempty"`  // empty where the server takes no proofs
	Lack []string `json:"lack,omitempty"` // what the login does without
	Why  string   `json:"why,omitempty"`  // why the login is not in a store that comes before
	Time int64    `json:"time"`           // of the writing, Unix nanoseconds: of two records of a profile the later counts
}

var errRecord = errors.New("agent: not a record of a login")

// readRecord reads the metadata of a login's entry.
func readRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, errRecord
	}
	if r.Version < 1 || r.Version > recordVersion || r.Issuer == "" || keystore.CheckName(r.Profile) != nil {
		return record{}, errRecord
	}
	return r, nil
}

// holding is what stands beside a key without a login: it is held for one by a process, and is of
// no use once that has ended.
type holding struct {
	PID int `json:"held_by"`
}

func holdOf(key string) keystore.Entry {
	b, _ := json.Marshal(holding{os.Getpid()}) // a number has no such error
	return keystore.Entry{Key: key, Metadata: b}
}

// holder is who holds such an entry; 0 for what is none, and for those of before they said it.
func holder(metadata []byte) int {
	var h holding
	if json.Unmarshal(metadata, &h) != nil {
		return 0
	}
	return h.PID
}

// reachNames are the caller's variables that decide how the server is reached. A
// proxy's may hold a password.
var reachNames = []string{
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

func reachOf(env agentwire.Env) agentwire.Env {
	out := agentwire.Env{}
	for _, name := range reachNames {
		if v := env[name]; v != "" {
			out[name] = v
		}
	}
	return out
}

// pack puts into the secret half of an entry the refresh token and, on a second
// line, the variables.
func pack(refresh secret.Value, reach agentwire.Env) secret.Value {
	if len(reach) == 0 {
		return refresh
	}
	b, err := json.Marshal(map[string]string(reach))
	if err != nil { // a map of strings has no such error
		return refresh
	}
	return secret.New(refresh.Reveal() + "\n" + string(b))
}

// unpack undoes pack.
func unpack(v secret.Value) (refresh secret.Value, reach agentwire.Env) {
	token, rest, found := strings.Cut(v.Reveal(), "\n")
	if !found {
		return v, nil
	}
	if err := json.Unmarshal([]byte(rest), &reach); err != nil {
		reach = nil
	}
	return secret.New(token), reach
}
