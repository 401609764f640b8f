package helper

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

var token = Token{Value: secret.New("made-up-token"), ExpiresAt: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)}

// TestCovers: a credential is for what lies under its resource, and for nothing that only looks
// like it.
//
// Invariant: HP-1
func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		resource, target string
		want             bool
	}{
		{"https://git.example.test", "https://git.example.test/a/b.git", true},
		{"https://git.example.test", "https://git.example.test", true},
		{"https://git.example.test", "https://GIT.example.test:443/", true},
		{"https://git.example.test/team", "https://git.example.test/team/b.git", true},
		{"https://git.example.test/team/", "https://git.example.test/team", true},
		{"https://registry.example.test:5000", "registry.example.test:5000", true},
		{"http://127.0.0.1:5000", "127.0.0.1:5000/v2/", true},
		{"https://pypi.example.test/simple", "https://keytether@pypi.example.test/simple/", true},
		{"https://git.example.test/team", "https://git.example.test/", false},
		{"https://git.example.test/team", "https://git.example.test/team2/b.git", false},
		{"https://git.example.test/team", "https://git.example.test/team/../other", false},
		{"https://git.example.test/team", `https://git.example.test/team\..\other`, false},
		{"https://git.example.test/team", "https://git.example.test/other/../team/b.git", false},
		{"https://git.example.test/team", "https://git.example.test/other/..%2fteam/b.git", false},
		{"https://git.example.test", "http://git.example.test/", false},
		{"https://git.example.test", "https://git.example.test:8443/", false},
		{"https://git.example.test", "https://git.example.test.evil.test/", false},
		{"https://git.example.test", "https://git.example.test@evil.test/", false},
		{"https://git.example.test", "ssh://git.example.test/", false},
		{"https://git.example.test", "", false},
		{"", "https://git.example.test", false},
		{"urn:example:api", "urn:example:api", false},
	} {
		if got := Covers(tt.resource, tt.target); got != tt.want {
			t.Errorf("Covers(%q, %q) = %t", tt.resource, tt.target, got)
		}
	}
}

func TestGit(t *testing.T) {
	for _, tt := range []struct{ name, in, out string }{
		{
			"an old git", "protocol=https\nhost=git.example.test\npath=a/b.git\n\nignored",
			"username=keytether\npassword=made-up-token\npassword_expiry_utc=1773480413\n",
		},
		{
			"with a user name", "protocol=https\nhost=git.example.test\nusername=somebody\nwwwauth[]=Basic realm=x\n",
			"username=somebody\npassword=made-up-token\npassword_expiry_utc=1773480413\n",
		},
		{
			"one that sends tokens itself", "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example.test\n",
			"capability[]=authtype\nauthtype=Bearer\ncredential=made-up-token\nephemeral=1\npassword_expiry_utc=1773480413\n",
		},
	} {
		q, err := ReadGit(strings.NewReader(tt.in))
		if err != nil || !strings.HasPrefix(q.URL(), "https://git.example.test/") {
			t.Fatalf("%s: %+v, %v", tt.name, q, err)
		}
		var out bytes.Buffer
		if err := WriteGit(&out, q, token); err != nil || out.String() != tt.out {
			t.Errorf("%s: %q, %v", tt.name, out.String(), err)
		}
	}
	for _, in := range []string{
		"", "\n", "protocol=https\n", "host=x\n", "nonsense\n", "protocol=https\nhost=a b\n",
		"protocol=https\nhost=git.example.test#.evil.test\n", "protocol=https\nhost=git.example.test/.evil.test\n", "protocol=https\nhost=git.example.test?.evil.test\n",
		"protocol=https\nhost=evil.test@git.example.test\n", "protocol=https://git.example.test/\nhost=evil.test\n", strings.Repeat("a", maxQuestion+1) + "=1\n",
	} {
		if _, err := ReadGit(strings.NewReader(in)); !errors.Is(err, ErrQuestion) {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

// TestGitOthers: who else would be handed a token by git.
//
// Invariant: HP-2
func TestGitOthers(t *testing.T) {
	const ours = "!keytether helper git"
	for _, tt := range []struct {
		name    string
		entries []string // key, value
		want    string
	}{
		{"nothing is configured", nil, ""},
		{"ours alone", []string{"credential.https://git.example.test.helper", ours}, ""},
		{"taken out", []string{"credential.helper", "store", "credential.https://git.example.test.helper", "", "credential.https://git.example.test.helper", ours}, ""},
		{"not taken out", []string{"credential.helper", "store", "credential.https://git.example.test.helper", ours}, "store"},
		{"behind ours", []string{"credential.https://git.example.test.helper", "", "credential.https://git.example.test.helper", ours, "credential.helper", "store"}, "store"},
		{"several", []string{"credential.helper", "cache", "credential.helper", ours, "credential.helper", "store --file x"}, "cache, store --file x"},
		{"another host's", []string{"credential.https://git.example.test.helper", ours, "credential.https://other.example.test.helper", "store"}, ""},
		{"another host's empty value", []string{"credential.helper", "store", "credential.https://other.example.test.helper", "", "credential.helper", ours}, "store"},
		{"an empty value for a path, which may not be ours", []string{"credential.helper", "store", "credential.https://git.example.test/a.helper", "", "credential.helper", ours}, "store"},
		{"a pattern", []string{"credential.https://git.example.test.helper", ours, "credential.https://*.example.test.helper", "store"}, "store"},
		{"a host without scheme", []string{"credential.https://git.example.test.helper", ours, "credential.git.example.test.helper", "store"}, "store"},
		{"not asked by git", []string{"credential.helper", "store"}, ""},
	} {
		var config string
		for i := 0; i < len(tt.entries); i += 2 {
			config += tt.entries[i] + "\n" + tt.entries[i+1] + "\x00"
		}
		q := GitQuestion{Protocol: "https", Host: "git.example.test"}
		if got := strings.Join(q.Others(config), ", "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDocker(t *testing.T) {
	if at, err := ReadDocker(strings.NewReader("registry.example.test\n")); err != nil || at != "registry.example.test" {
		t.Errorf("%q, %v", at, err)
	}
	for _, in := range []string{"", "\n", "a b", "a\nb"} {
		if _, err := ReadDocker(strings.NewReader(in)); !errors.Is(err, ErrQuestion) {
			t.Errorf("%q: %v", in, err)
		}
	}
	var out bytes.Buffer
	if err := WriteDocker(&out, "registry.example.test", token); err != nil || out.String() != `{"ServerURL":"registry.example.test","Username":"keytether","Secret":"made-up-token"}`+"\n" {
		t.Errorf("%s, %v", out.String(), err)
	}
	out.Reset()
	if err := WriteDockerList(&out, []string{"a.example.test"}); err != nil || out.String() != `{"a.example.test":"keytether"}`+"\n" {
		t.Errorf("%s, %v", out.String(), err)
	}
}

func TestKube(t *testing.T) {
	for _, tt := range []struct{ in, version, server string }{
		{"", kubeV1, ""},
		{`{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{"interactive":false}}`, kubeBeta, ""},
		{`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"cluster":{"server":"https://kube.example.test"}}}`, kubeV1, "https://kube.example.test"},
	} {
		q, err := ReadKube(tt.in)
		if err != nil || q.APIVersion != tt.version || q.Server != tt.server {
			t.Errorf("%s: %+v, %v", tt.in, q, err)
		}
		var out bytes.Buffer
		want := `{"apiVersion":"` + tt.version + `","kind":"ExecCredential","status":{"expirationTimestamp":"2026-03-14T09:26:53Z","token":"made-up-token"}}` + "\n"
		if err := WriteKube(&out, q, token); err != nil || out.String() != want {
			t.Errorf("%s, %v", out.String(), err)
		}
	}
	for _, in := range []string{"x", `{}`, `{"apiVersion":"client.authentication.k8s.io/v1alpha1","kind":"ExecCredential"}`, `{"apiVersion":"client.authentication.k8s.io/v1","kind":"Pod"}`} {
		if _, err := ReadKube(in); !errors.Is(err, ErrQuestion) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

const awsAnswer = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><Credentials>
    <SessionToken>session</SessionToken><SecretAccessKey>secret</SecretAccessKey>
    <Expiration>2026-03-14T10:26:53Z</Expiration><AccessKeyId>ASIAEXAMPLE</AccessKeyId>
  </Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>`

func TestAWS(t *testing.T) {
	form := AWSRequest("arn:aws:iam::1:role/r", "s", token)
	if form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("WebIdentityToken") != "made-up-token" || form.Get("RoleArn") != "arn:aws:iam::1:role/r" {
		t.Errorf("%v", form)
	}
	k, err := ReadAWS([]byte(awsAnswer))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := WriteAWS(&out, k); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"Version": 1.0, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "SessionToken": "session", "Expiration": "2026-03-14T10:26:53Z"} {
		if got[name] != want {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	for _, in := range []string{"", "<html>", "<AssumeRoleWithWebIdentityResponse/>", strings.Replace(awsAnswer, "2026", "soon", 1)} {
		if _, err := ReadAWS([]byte(in)); !errors.Is(err, ErrQuestion) {
			t.Errorf("%.40q: %v", in, err)
		}
	}
	if c := AWSProblem([]byte("<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>")); c != "InvalidIdentityToken" {
		t.Errorf("%q", c)
	}
}

func FuzzQuestions(f *testing.F) {
	for _, s := range []string{"protocol=https\nhost=x\n", "registry.example.test", `{"kind":"ExecCredential"}`, awsAnswer} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if q, err := ReadGit(strings.NewReader(s)); err == nil && (q.Host == "" || strings.ContainsAny(q.Host, "\r\n\x00")) {
			t.Errorf("%+v", q)
		}
		GitQuestion{Protocol: "https", Host: "x"}.Others(s)
		if at, err := ReadDocker(strings.NewReader(s)); err == nil && strings.ContainsAny(at, "\r\n\x00 ") {
			t.Errorf("%q", at)
		}
		_, _ = ReadKube(s)
		_, _ = ReadAWS([]byte(s))
		Covers("https://api.example.test/a", s)
		Covers(s, "https://api.example.test/a")
	})
}
