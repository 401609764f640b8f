"""What would go wrong here, and the mend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
import subprocess
import sys
from typing import Callable, Mapping, Tuple

from . import _login, _socket, _wire
from ._agent import Agent
from ._redact import redact
from ._version import __version__
from .errors import KeytetherError, NotLoggedIn

Result = Tuple[str, str]  # "ok", "note" or "bad", and the words

_LIBRARIES = ("requests", "httpx", "keyring")


def run(environ: Mapping[str, str]) -> int:
    """Print every check, then what the command's own doctor finds. 1 if something is bad."""
    bad = False
    checks: Tuple[Tuple[str, Callable[[Mapping[str, str]], Result]], ...] = (
        ("python", _python), ("libraries", _libraries), ("socket", _path), ("agent", _agent),
        ("binary", _binary), ("CA", _authorities),
    )  # fmt: skip
    for name, check in checks:
        try:
            grade, words = check(environ)
        except NotLoggedIn as e:
            grade, words = "note", str(e)
        except KeytetherError as e:
            grade, words = "bad", str(e)
        bad = bad or grade == "bad"
        print(f"{name:<10} {grade:<5} {redact(words)}")
    sys.stdout.flush()
    return max(int(bad), _binary_doctor(environ))


def _python(environ: Mapping[str, str]) -> Result:
    return "ok", f"keytether {__version__}, Python {platform.python_version()} at {sys.executable}"


def _libraries(environ: Mapping[str, str]) -> Result:
    have = []
    for name in _LIBRARIES:
        try:
            have.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "ok", ", ".join(have) or "none of requests, httpx and keyring is installed"


def _path(environ: Mapping[str, str]) -> Result:
    return "ok", _socket.path(environ)


def _agent(environ: Mapping[str, str]) -> Result:
    agent = Agent(_socket.path(environ))
    version = agent.call("GET", "/v1/version", _wire.VERSION)
    newest, oldest = version.get("protocol", 0), version.get("protocol_min", 0) or version.get("protocol", 0)
    words = f"version {version.get('version', '?')}, process {version.get('pid', '?')}"
    if not oldest <= _wire.PROTOCOL <= newest:
        return "bad", f"{words} speaks protocol {oldest} to {newest}, this package {_wire.PROTOCOL}. Update the older one"
    status = agent.call("GET", "/v1/status", _wire.STATUS)
    if status.get("agent", {}).get("locked"):
        return "bad", words + " is locked. Run `keytether agent unlock`"
    names = [p.get("profile", "") for p in status.get("profiles", [])]
    if not names:
        return "note", words + " holds no login. Run `keytether login`"
    return "ok", f"{words}, logged in: {', '.join(names)}"


def _binary(environ: Mapping[str, str]) -> Result:
    path = _login.find_binary(environ)
    try:
        said = subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        return "bad", f"{path} cannot be run: {e}"
    if said.returncode != 0:
        return "bad", f"{path} --version ends with exit code {said.returncode}"
    return "ok", f"{said.stdout.decode('utf-8', 'replace').strip()} at {path}"


def _authorities(environ: Mapping[str, str]) -> Result:
    """requests reads other variables than the agent, Python's ssl and httpx do."""
    general = environ.get("SSL_CERT_FILE", "")
    own = environ.get("REQUESTS_CA_BUNDLE", "") or environ.get("CURL_CA_BUNDLE", "")
    for path in (general, own):
        if not path or os.path.isdir(path):
            continue
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(path)
        except OSError as e:  # ssl.SSLError is one
            return "bad", f"the certificates in {path} cannot be read: {e}. Name a PEM file"
    if general and not own:
        return "note", f"SSL_CERT_FILE is {general}, which requests does not look at. Set REQUESTS_CA_BUNDLE to the same file"
    return "ok", own or general or "those of the system and of certifi"


def _binary_doctor(environ: Mapping[str, str]) -> int:
    try:
        path = _login.find_binary(environ)
        known = subprocess.run([path, "doctor", "--help"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)
        if b"keytether doctor" not in known.stdout:  # an older one shows its general help
            return 0
        print()
        sys.stdout.flush()
        return subprocess.run([path, "doctor"], stdin=subprocess.DEVNULL, check=False).returncode
    except (KeytetherError, OSError, subprocess.TimeoutExpired):
        return 0  # the check above has said so
