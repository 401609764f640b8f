package helper

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// DockerNotFound is the answer that docker takes for "nothing is kept for this registry"; it goes
// on without a credential (docker-credential-helpers, the errors of its client).
const DockerNotFound = "credentials not found in native keychain"

// ReadDocker reads a registry's address, as `get` and `erase` send it.
func ReadDocker(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxQuestion))
	at := strings.TrimSpace(string(b))
	if err != nil || at == "" || strings.ContainsAny(at, "\n\r\x00 ") {
		return "", errors.Join(ErrQuestion, err)
	}
	return at, nil
}

// WriteDocker answers `get`.
func WriteDocker(w io.Writer, server string, t Token) error {
	return json.NewEncoder(w).Encode(struct {
		ServerURL, Username, Secret string
	}{server, Username, t.Value.Reveal()})
}

// WriteDockerList answers `list`: registries, and the user name of each.
func WriteDockerList(w io.Writer, servers []string) error {
	list := map[string]string{}
	for _, s := range servers {
		list[s] = Username
	}
	return json.NewEncoder(w).Encode(list)
}
