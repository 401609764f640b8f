package agentwire

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// Env is what of the caller's environment goes along with a login. A proxy's URL may hold a
// password, so its LogValue gives names only.
type Env map[string]string

// LogValue gives the names, not the values.
func (e Env) LogValue() slog.Value {
	names := make([]string, 0, len(e))
	for k := range e {
		names = append(names, k)
	}
	slices.Sort(names)
	return slog.StringValue(strings.Join(names, " "))
}

// callerNames is the closed list: what decides how a login is run, and nothing that is a
// credential of something else.
var callerNames = []string{
	"KEYTETHER_ISSUER", "KEYTETHER_CLIENT", "KEYTETHER_PROFILE", "KEYTETHER_CONFIG", "KEYTETHER_NO_BROWSER",
	"BROWSER", "DISPLAY", "WAYLAND_DISPLAY",
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"CI", "SSH_CONNECTION", "SSH_TTY", "WSL_DISTRO_NAME", "container", "KUBERNETES_SERVICE_HOST",
	"XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_SESSION_TYPE",
	"NO_COLOR",
}

// CallerNames gives the names that CallerEnv lets through.
func CallerNames() []string { return slices.Clone(callerNames) }

// CallerEnv picks from an environment, given as os.Environ gives it, what goes along with a
// login. It is pure. Of a doubled name the first counts, as in getenv(3); an empty value is left out.
func CallerEnv(environ []string) Env {
	out := Env{}
	seen := make(map[string]bool, len(callerNames))
	for _, kv := range environ {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || seen[k] || !slices.Contains(callerNames, k) {
			continue
		}
		seen[k] = true
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// In makes SSL_CERT_FILE absolute where it is relative to dir, the caller's folder: the agent runs
// in another.
func (e Env) In(dir string) Env {
	if file := e["SSL_CERT_FILE"]; file != "" && dir != "" && !filepath.IsAbs(file) {
		e["SSL_CERT_FILE"] = filepath.Join(dir, file)
	}
	return e
}
