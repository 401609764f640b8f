"""Logins, which the command keytether runs: it starts the agent and opens the browser."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import IO, Any, Callable, Dict, List, Mapping, Optional

from . import _wire
from ._redact import redact
from .errors import AgentError, KeytetherError, of

OnEvent = Callable[[Mapping[str, Any]], None]


def find_binary(environ: Mapping[str, str]) -> str:
    """The command keytether in PATH, never from the folder that we happen to be in."""
    name = "keytether.exe" if sys.platform == "win32" else "keytether"
    for folder in environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isabs(folder) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise AgentError(
        "failed", "keytether is not installed", f"no {name} in PATH",
        "Install Keytether, or name the agent's socket in KEYTETHER_SOCKET",
    )  # fmt: skip


def kept(environ: Mapping[str, str]) -> bool:
    """A store that outlives the agent holds a login, as the last agent left word."""
    for name, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        folder = environ.get(name, "")
        if os.path.isabs(folder):
            return os.path.exists(os.path.join(folder, below, "keytether", "stores"))
    return False


def wake(socket: str) -> None:
    """Have the command start the agent, which finds its logins. Whether it did shows at the next connect."""
    env = dict(os.environ, KEYTETHER_SOCKET=socket)
    try:
        subprocess.run(
            [find_binary(env), "whoami"], env=env, timeout=30, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise AgentError("failed", "the agent did not start", str(e), "Run `keytether agent run` to see why") from e


def arguments(
    *, profile: str, resource: str, scope: str, issuer: str, client_id: str, login_hint: str, flow: str, open_browser: bool, callback_port: int
) -> List[str]:
    args = ["login", "--json", "--flow=" + flow]
    named = {"--profile": profile, "--resource": resource, "--issuer": issuer, "--client": client_id, "--login-hint": login_hint}
    for flag, value in named.items():
        if value:
            args.append(flag + "=" + value)
    args += ["--scope=" + s for s in scope.split()]
    if not open_browser:
        args.append("--no-browser")
    if callback_port:
        args.append(f"--callback-port={callback_port}")
    return args


def run(args: List[str], *, binary: str, socket: str, on_event: Optional[OnEvent]) -> Dict[str, Any]:
    """Run a login, give each event to on_event, and return the fields of "done"."""
    tell = on_event or show
    env = dict(os.environ, KEYTETHER_SOCKET=socket)
    with subprocess.Popen(
        [binary or find_binary(env), *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
    ) as child:  # fmt: skip
        assert child.stdout is not None and child.stderr is not None
        said: List[bytes] = []
        reader = threading.Thread(target=_read, args=(child.stderr, said), daemon=True)
        reader.start()
        last: Optional[Dict[str, Any]] = None
        try:
            for line in child.stdout:
                if not line.strip():
                    continue
                event = _wire.decode_event(line)
                if event["event"] in ("done", "error"):
                    last = event
                elif event["event"] in _wire.EVENTS:
                    tell(event)
        except BaseException as e:  # Ctrl-C, or the caller's own: the login is called off
            child.terminate()
            if isinstance(e, _wire.Malformed):
                raise AgentError("failed", "keytether's answer is not understood", str(e)) from None
            raise
        child.wait()
        reader.join()
    notes = redact(b"".join(said).decode("utf-8", "replace")).strip()
    if last is not None and last["event"] == "done":
        if last.get("warning"):
            notes = (notes + "\n" + "keytether: " + str(last["warning"])).strip()
        if notes:
            print(notes, file=sys.stderr)
        return last
    if last is not None:
        raise _error(last)
    raise AgentError("failed", "the login was not finished", notes or f"keytether ended with exit code {child.returncode}")


def _read(stream: IO[bytes], into: List[bytes]) -> None:
    into.append(stream.read())


def _error(event: Mapping[str, Any]) -> KeytetherError:
    return of(event.get("code", "failed"), event.get("what", "the login failed"), event.get("why", ""), event.get("do", ""))


def show(event: Mapping[str, Any]) -> None:
    """Tell the person what to do, on stderr."""
    if event["event"] == "browser":
        print(
            "To sign in, use your browser. If it does not open, open this link on this computer:\n\n"
            f"  {event.get('url', '')}\n",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    elif event["event"] == "device_code":
        print(
            f"To sign in, open {event.get('verification_uri', '')} on any device and enter {event.get('user_code', '')}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
