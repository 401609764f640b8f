package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// place is what was seen of a file or folder.
type place struct {
	path    string
	missing bool
	err     error
	dir     bool
	mode    fs.FileMode // permissions
	owner   int         // -1: the system does not say
}

func look(path string) place {
	fi, err := os.Stat(path)
	if err != nil {
		return place{path: path, missing: errors.Is(err, fs.ErrNotExist), err: err, owner: -1}
	}
	return place{path: path, dir: fi.IsDir(), mode: fi.Mode().Perm(), owner: owner(fi)}
}

// foreign: it is neither this user's nor, where that will do, root's.
func (p place) foreign(uid int, rootToo bool) bool {
	return p.owner >= 0 && uid >= 0 && p.owner != uid && !(rootToo && p.owner == 0)
}

func checkConfig(_ context.Context, o *Options) []Finding {
	if o.Config == "" {
		return one(Finding{"config", Warning, "no place for it", "neither KEYTETHER_CONFIG, XDG_CONFIG_HOME nor HOME is set", "Set HOME"})
	}
	return one(judgeConfig(o, look(filepath.Dir(o.Config)), look(o.Config)))
}

// judgeConfig: who can write the config decides where a person signs in.
func judgeConfig(o *Options, dir, file place) Finding {
	const why = "who writes it decides which server you sign in at"
	switch {
	case file.missing:
		return ok("config", "none yet; a login writes it")
	case o.ConfigErr != nil:
		return Finding{"config", Problem, file.path + " cannot be used", o.ConfigErr.Error(), "Correct it, or remove it: `keytether login --issuer URL` writes a new one"}
	case file.foreign(o.UID, true) || dir.foreign(o.UID, true):
		return Finding{"config", Problem, file.path + " is another user's", why, "Make it yours: chown -R $(id -u) " + dir.path}
	case file.owner >= 0 && (file.mode&0o022 != 0 || dir.mode&0o022 != 0):
		return Finding{"config", Problem, file.path + " can be written by others", why, "chmod go-w " + dir.path + " " + file.path}
	}
	return ok("config", file.path)
}

func checkState(_ context.Context, o *Options) []Finding {
	if o.State == "" {
		return one(Finding{"state", Warning, "no place for it", "neither XDG_STATE_HOME nor HOME is set: sealed stores and the agent's log have no place", "Set HOME"})
	}
	return one(judgeState(o, look(o.State)))
}

func judgeState(o *Options, p place) Finding {
	switch {
	case p.missing:
		return ok("state", "none yet; the agent makes it")
	case p.err != nil:
		return Finding{"state", Problem, p.path + " cannot be looked at", p.err.Error(), "Make it yours: chown -R $(id -u) " + p.path}
	case !p.dir:
		return Finding{"state", Problem, p.path + " is not a folder", "the agent keeps its log and sealed stores there", "Move it away"}
	case p.foreign(o.UID, false):
		return Finding{"state", Problem, p.path + " is another user's", "the agent can keep nothing there that is safe", "Make it yours: chown -R $(id -u) " + p.path}
	case p.owner >= 0 && p.mode&0o022 != 0:
		return Finding{"state", Problem, p.path + " can be written by others", "stores in it are refused", "chmod 700 " + p.path}
	case p.owner >= 0 && p.mode&0o077 != 0:
		return Finding{"state", Warning, p.path + fmt.Sprintf(" can be read by others (%#o)", p.mode), "they see the agent's log", "chmod 700 " + p.path}
	}
	return ok("state", p.path)
}

func checkRuntimeDir(_ context.Context, o *Options) []Finding {
	dir := o.Getenv("XDG_RUNTIME_DIR")
	if o.UID < 0 || dir == "" || o.Getenv("KEYTETHER_SOCKET") != "" {
		return one(none("runtime-dir", "XDG_RUNTIME_DIR is not used"))
	}
	return one(judgeRuntimeDir(o, dir, look(dir)))
}

// judgeRuntimeDir: after su or sudo the variable often names the other user's.
func judgeRuntimeDir(o *Options, dir string, p place) Finding {
	mend := fmt.Sprintf("Sign in as this user, or: export XDG_RUNTIME_DIR=/run/user/%d (if that is there), else unset XDG_RUNTIME_DIR", o.UID)
	switch {
	case !filepath.IsAbs(dir):
		return Finding{"runtime-dir", Warning, "XDG_RUNTIME_DIR is not an absolute path", "it is passed over, so that programs look for the socket in other places", mend}
	case p.missing:
		return Finding{"runtime-dir", Problem, dir + " is not there", "XDG_RUNTIME_DIR names it, and the agent's socket goes there", mend}
	case p.err != nil || !p.dir:
		return Finding{"runtime-dir", Problem, dir + " cannot be used", "XDG_RUNTIME_DIR names it, and the agent's socket goes there", mend}
	case p.foreign(o.UID, false):
		return Finding{"runtime-dir", Warning, fmt.Sprintf("%s belongs to user %d, and you are %d", dir, p.owner, o.UID), "after su or sudo XDG_RUNTIME_DIR is still the other user's; it is passed over", mend}
	case p.mode&0o077 != 0:
		return Finding{"runtime-dir", Warning, dir + fmt.Sprintf(" is open to others (%#o)", p.mode), "it should be this user's alone; the socket's own folder within is closed all the same", "chmod 700 " + dir}
	}
	return ok("runtime-dir", dir)
}
