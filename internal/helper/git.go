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
	// git has undone the escapes of the host, so that good.test%23.evil.test arrives as another
	// beginning of a URL than it is.
	if lines.Err() != nil || q.Protocol == "" || q.Host == "" || strings.ContainsAny(q.Protocol+q.Host, "\r\x00 /?#@\\%") {
		return GitQuestion{}, ErrQuestion
	}
	return q, nil
}

// GitConfigKeys are the keys of git's config that name helpers, as `git config --get-regexp` takes them.
const GitConfigKeys = `^credential\.(.*\.)?helper$`

// Others reads what `git config --null --get-regexp` says of GitConfigKeys and names the other
// helpers that git would hand our answer to, to be kept: those behind the last empty value, which
// takes out what stands before it. None are named where none of ours is there, since then it is
// not git that asks. Where it cannot be told whether one is meant for this address, it is.
func (q GitQuestion) Others(config string) (others []string) {
	ours := false
	for _, entry := range strings.Split(strings.TrimSuffix(config, "\x00"), "\x00") {
		key, value, _ := strings.Cut(entry, "\n")
		at := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(key, "credential."), "helper"), ".")
		surely := at == "" || Covers(at, q.URL())
		switch {
		case value == "" && surely:
			ours, others = false, nil
		case value == "", !surely && !strings.Contains(at, "*") && !strings.Contains(at, q.Host):
		case strings.Contains(value, Username):
			ours = true
		default:
			others = append(others, value)
		}
	}
	if !ours {
		return nil
	}
	return others
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
