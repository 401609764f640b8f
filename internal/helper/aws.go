package helper

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

// AWSKeys are temporary credentials of AWS, as its security token service gives them for a token.
type AWSKeys struct {
	AccessKeyID     string
	SecretAccessKey secret.Value
	SessionToken    secret.Value
	Expires         time.Time
}

// AWSRequest is the form of AssumeRoleWithWebIdentity (AWS STS API, version 2011-06-15), which is
// signed by nobody: the token is all that counts. It goes into a POST's body.
func AWSRequest(role, session string, t Token) url.Values {
	return url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {role}, "RoleSessionName": {session}, "WebIdentityToken": {t.Value.Reveal()},
	}
}

// ReadAWS reads the answer of AssumeRoleWithWebIdentity.
func ReadAWS(body []byte) (AWSKeys, error) {
	var x struct {
		Result struct {
			Credentials struct {
				AccessKeyID     string `xml:"AccessKeyId"`
				SecretAccessKey string `xml:"SecretAccessKey"`
				SessionToken    string `xml:"SessionToken"`
				Expiration      string `xml:"Expiration"`
			} `xml:"Credentials"`
		} `xml:"AssumeRoleWithWebIdentityResult"`
	}
	if xml.Unmarshal(body, &x) != nil {
		return AWSKeys{}, ErrQuestion
	}
	c := x.Result.Credentials
	expires, err := time.Parse(time.RFC3339, c.Expiration)
	if err != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" {
		return AWSKeys{}, ErrQuestion
	}
	return AWSKeys{c.AccessKeyID, secret.New(c.SecretAccessKey), secret.New(c.SessionToken), expires}, nil
}

// AWSProblem is the code of an error answer of STS, such as InvalidIdentityToken, or empty.
func AWSProblem(body []byte) string {
	var x struct {
		Error struct {
			Code string `xml:"Code"`
		} `xml:"Error"`
	}
	if xml.Unmarshal(body, &x) != nil {
		return ""
	}
	return x.Error.Code
}

// WriteAWS answers a credential_process, version 1.
func WriteAWS(w io.Writer, k AWSKeys) error {
	return json.NewEncoder(w).Encode(struct {
		Version                                                int
		AccessKeyId, SecretAccessKey, SessionToken, Expiration string
	}{1, k.AccessKeyID, k.SecretAccessKey.Reveal(), k.SessionToken.Reveal(), k.Expires.UTC().Format(time.RFC3339)})
}
