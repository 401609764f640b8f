package helper

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// GitQuestion is what git tells a helper (gitcredentials, git-credential).
type GitQuestion struct {
	Protocol, Host, Path, Username string
	Password                       string // at `erase`: what was refused
	Bearer                         bool   // git can send a Bearer token itself (capability authtype)
}

// URL is what the credential is for. Without credential.useHttpPath git leaves the path out.
func (q GitQuestion) URL() string {
	return q.Protocol + "://" + q.Host + "/" + strings.TrimPrefix(q.Path, "/")
}

// ReadGit reads lines of KEY=VALUE up to an empty one or the end.
func ReadGit(r io.Reader) (GitQuestion, error) {
	var q GitQuestion
	lines := bufio.NewScanner(io.LimitReader(r, maxQuestion))
	lines.Buffer(nil, maxQuestion)
	for lines.Scan() && lines.Text() != "" {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			return GitQuestion{}, ErrQuestion
		}
		switch key {
		case "protocol":
			q.Protocol = value
		case "host":
			q.Host = value
		case "path":
			q.Path = value
		case "username":
			q.Username = value
		case "password", "credential":
			q.Password = value
		case "capability[]":
			q.Bearer = q.Bearer || value == "authtype"
		}
	}
	if lines.Err() != nil || q.Protocol == "" || q.Host == "" || strings.ContainsAny(q.Protocol+q.Host, "\r\x00 ") {
		return GitQuestion{}, ErrQuestion
	}
	return q, nil
}

// WriteGit answers `get`. A git that knows how sends the token as Bearer, and is told to have
// nobody keep it; an older one gets it as the password of Basic, with its end.
func WriteGit(w io.Writer, q GitQuestion, t Token) error {
	if q.Bearer {
		_, err := fmt.Fprintf(w, "capability[]=authtype\nauthtype=Bearer\ncredential=%s\nephemeral=1\npassword_expiry_utc=%d\n", t.Value.Reveal(), t.ExpiresAt.Unix())
		return err
	}
	name := q.Username
	if name == "" {
		name = Username
	}
	_, err := fmt.Fprintf(w, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", name, t.Value.Reveal(), t.ExpiresAt.Unix())
	return err
}
