// Package depot has the servers of tools that know passwords alone: git's own server
// of repositories, and an index of Python packages. Both take a bearer token as the
// password of Basic.
package depot

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Basic hands the password of a request to a guard as a bearer token, as servers of
// git and of packages do. Where the guard asks for a token, the tool is asked for a
// password. What next sees has no credential any more.
func Basic(guard func(http.Handler) http.Handler, next http.Handler) http.Handler {
	guarded := guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization") // git's server would find it in its environment
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, ok := r.BasicAuth()
		r.Header.Del("Authorization")
		if ok && password != "" {
			r.Header.Set("Authorization", "Bearer "+password)
		}
		guarded.ServeHTTP(asksBasic{w}, r)
	})
}

type asksBasic struct{ http.ResponseWriter }

// WriteHeader asks for a password where the guard asked for a token.
func (a asksBasic) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Git serves new repositories below the folder root, each by its name, such as
// reports.git, by git's http-backend. Whoever reaches it may push.
func Git(root string, names ...string) (http.Handler, error) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("depot: git (scripts/setup installs it): %w", err)
	}
	for _, name := range names {
		c := exec.Command("git", "init", "-q", "--bare", "--initial-branch=main", filepath.Join(root, name))
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("depot: git init: %w: %s", err, out)
		}
	}
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Dir: root,
		Env:    []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=person", "HOME=" + root},
		Stderr: os.Stderr,
	}, nil
}

// Index serves one package as PEP 503 says: a wheel with a module of the package's
// name, whose total is 42.
func Index(name, version string) (http.Handler, error) {
	wheel, err := wheelOf(name, version)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	file := name + "-" + version + "-py3-none-any.whl"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simple/"+name+"/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>%[1]s</title><a href="/files/%[2]s">%[2]s</a>`, name, file)
	})
	mux.HandleFunc("GET /files/"+file, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wheel) })
	return mux, nil
}

func wheelOf(name, version string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := name + "-" + version + ".dist-info/"
	for _, f := range [][2]string{
		{name + ".py", "total = 42\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(f[0])
		if err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}
