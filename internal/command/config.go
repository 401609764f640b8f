package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/keytether/keytether/internal/agentwire"
)

// config is config.yaml: what each profile logs in at, and never a secret.
type config struct {
	Store         string                   `yaml:"store,omitempty"`           // where new logins are kept: one of agentwire.Stores
	LockAfter     duration                 `yaml:"lock_after,omitempty"`      // the agent locks when nobody asked for so long
	LockOnSuspend bool                     `yaml:"lock_on_suspend,omitempty"` // and when the machine was suspended
	Profiles      map[string]profileConfig `yaml:"profiles,omitempty"`
}

type profileConfig struct {
	Issuer   string `yaml:"issuer,omitempty"`
	Client   string `yaml:"client,omitempty"`
	Resource string `yaml:"resource,omitempty"`
	Scope    string `yaml:"scope,omitempty"` // names separated by spaces

	Registered string `yaml:"registered_client,omitempty"` // that the server gave to this profile (RFC 7591)

	Allow   []AllowRule `yaml:"allow,omitempty"`   // who may ask; absent: every program of the user's
	Confirm bool        `yaml:"confirm,omitempty"` // the first use by a program waits for the person
}

// duration is one as people write it: 30m, 8h.
type duration time.Duration

// UnmarshalText reads it; anything but a time of a second or more is an error.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < time.Second {
		return errDuration
	}
	*d = duration(v)
	return nil
}

// MarshalText writes it.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

var errDuration = errors.New("not a time such as 30m or 8h")

const configHead = "# What `keytether login` remembers. Edit it as you like; it never holds a secret.\n"

// maxConfig is the largest config that is read, in bytes.
const maxConfig = 1 << 20

// configPath is KEYTETHER_CONFIG, else keytether/config.yaml in the user's config folder.
func (a *app) configPath() (string, error) {
	if p := a.getenv("KEYTETHER_CONFIG"); p != "" {
		return p, nil
	}
	dir := a.getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		var err error
		if dir, err = userConfigDir(a.getenv); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "keytether", "config.yaml"), nil
}

var errNoHome = errors.New("neither KEYTETHER_CONFIG, XDG_CONFIG_HOME nor HOME is set")

// readConfig reads the config; without a file it is empty. What is wrong in it is wrong usage,
// with its line.
func (a *app) readConfig() (config, error) {
	path, err := a.configPath()
	if err != nil {
		return config{}, nil // nothing can have been written there
	}
	c, _, err := loadConfig(path)
	return c, err
}

func loadConfig(path string) (config, yaml.CommentMap, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, nil, nil
	}
	if err != nil {
		return config{}, nil, agentwire.NewError(agentwire.Usage, "the config cannot be read", path+": "+cause(err).Error(), "Make it readable, or set KEYTETHER_CONFIG to another file", err)
	}
	if len(b) > maxConfig {
		return config{}, nil, agentwire.NewError(agentwire.Usage, "the config is not understood", path+" is larger than 1 MiB", "Look at it: something else was written there", nil)
	}
	return parseConfig(path, b)
}

func parseConfig(path string, b []byte) (config, yaml.CommentMap, error) {
	var c config
	comments := yaml.CommentMap{}
	if len(b) == 0 {
		return c, nil, nil
	}
	wrong := func(why string, err error) (config, yaml.CommentMap, error) {
		return config{}, nil, agentwire.NewError(agentwire.Usage, "the config is not understood", path+why, "Correct that line, or remove the file: `keytether login --issuer URL` writes a new one", err)
	}
	if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict(), yaml.CommentToMap(comments)); err != nil {
		return wrong(where(err), err)
	}
	if c.Store != "" && !slices.Contains(agentwire.Stores(), c.Store) {
		return wrong(": store is none of "+strings.Join(agentwire.Stores(), ", "), nil)
	}
	for name := range c.Profiles {
		if !validProfile(name) {
			return wrong(": "+quote(name)+" is not a profile's name", nil)
		}
	}
	if why := checkAllow(b, c); why != "" {
		return wrong(why, nil)
	}
	return c, comments, nil
}

// where gives line, column and reason of a YAML error, on one line and without the text itself.
func where(err error) string {
	if e, ok := errors.AsType[yaml.Error](err); ok {
		if t := e.GetToken(); t != nil && t.Position != nil {
			return ":" + strconv.Itoa(t.Position.Line) + ":" + strconv.Itoa(t.Position.Column) + ": " + e.GetMessage()
		}
		return ": " + e.GetMessage()
	}
	return ": " + err.Error()
}

// remember writes what a login was for into its profile, if that says anything new. The file is
// replaced in one step, so that it is never half there; comments stay.
func (a *app) remember(w wanted) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	c, comments, err := loadConfig(path)
	if err != nil {
		return err
	}
	p := profileConfig{Issuer: w.Issuer, Client: w.Client, Resource: w.Resource, Scope: w.Scope, Registered: w.Registered}
	if p.Client == builtinClient {
		p.Client = ""
	}
	old := c.Profiles[w.Profile]
	p.Allow, p.Confirm = old.Allow, old.Confirm // the person's alone
	if reflect.DeepEqual(old, p) {
		return nil
	}
	if c.Profiles == nil {
		c.Profiles = map[string]profileConfig{}
	}
	c.Profiles[w.Profile] = p
	b, err := yaml.MarshalWithOptions(c, yaml.WithComment(comments))
	if err != nil {
		return err
	}
	if len(comments) == 0 {
		b = append([]byte(configHead), b...)
	}
	return replaceFile(path, b)
}

// replaceFile writes beside path and renames. A path that is a link stays one.
func replaceFile(path string, b []byte) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".config-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
