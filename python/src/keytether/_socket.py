"""Where the agent's socket is, and who is at its other end.

The rules are those of the Go package internal/peersock: a socket in a folder that
only this user may enter, and a peer that the kernel says is this user.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from typing import Mapping

from .errors import AgentError, KeytetherError, NotLoggedIn

# How long an answer may take: the agent gives a renewal 40 seconds, and a person a minute to say yes.
TIMEOUT = 120


def path(environ: Mapping[str, str]) -> str:
    """KEYTETHER_SOCKET, else below XDG_RUNTIME_DIR, else below the user's state folder."""
    own = environ.get("KEYTETHER_SOCKET", "")
    if own:
        if not os.path.isabs(own):
            raise _insecure(own, "KEYTETHER_SOCKET is not an absolute path", "Give the whole path")
        return os.path.normpath(own)
    for name, below in (("XDG_RUNTIME_DIR", ""), ("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        folder = environ.get(name, "")
        if os.path.isabs(folder):
            return os.path.normpath(os.path.join(folder, below, "keytether", "agent.sock"))
    raise AgentError(
        "failed", "the agent's socket is not known",
        "neither KEYTETHER_SOCKET, XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME says where it is",
        "Set HOME or KEYTETHER_SOCKET",
    )  # fmt: skip


def connect(where: str) -> socket.socket:
    """Connect to the agent of this user, or raise why that cannot be."""
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        raise AgentError(
            "unsupported", "the agent cannot be reached from Python here",
            "on Windows it listens at a named pipe, which this package does not speak yet",
            "Use `keytether exec` or `keytether token`",
        )  # fmt: skip
    _check_folder(os.path.dirname(where))
    _check_socket(where)
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel's own timeouts: with Python's every call would poll first.
        limit = struct.pack("@ll", TIMEOUT, 0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        conn.connect(where)
        _check_peer(conn)
    except (ConnectionRefusedError, FileNotFoundError):
        conn.close()
        raise not_running() from None
    except KeytetherError:
        conn.close()
        raise
    except OSError as e:
        conn.close()
        raise AgentError("failed", "the agent cannot be used", e.strerror or str(e)) from e
    except BaseException:
        conn.close()
        raise
    return conn


def not_running() -> KeytetherError:
    return NotLoggedIn(
        "not_logged_in", "you are not logged in", "no agent is running, and only an agent holds a login",
        "Run `keytether login`",
    )  # fmt: skip


def _check_folder(folder: str) -> None:
    info = _lstat(folder)
    if not stat.S_ISDIR(info.st_mode):  # a symbolic link is none either
        raise _insecure(folder, "it is not a folder", "Remove it, or set KEYTETHER_SOCKET")
    _check_mode(folder, info, "chmod 700 " + folder)


def _check_socket(where: str) -> None:
    info = _lstat(where)
    if not stat.S_ISSOCK(info.st_mode):
        raise _insecure(where, "it is not a socket", "Remove it, or set KEYTETHER_SOCKET")
    _check_mode(where, info, "Stop the agent and remove it")


def _lstat(where: str) -> os.stat_result:
    try:
        return os.lstat(where)
    except FileNotFoundError:
        raise not_running() from None
    except OSError as e:
        raise AgentError("failed", "the agent cannot be used", where + ": " + (e.strerror or str(e))) from e


def _check_mode(where: str, info: os.stat_result, do: str) -> None:
    if info.st_uid != os.geteuid():
        raise _insecure(where, "it belongs to another user", "Set KEYTETHER_SOCKET to a path of your own")
    if info.st_mode & 0o077:
        raise _insecure(where, f"others have access ({stat.S_IMODE(info.st_mode):#o})", do)


def _check_peer(conn: socket.socket) -> None:
    uid = peer_uid(conn)
    if uid != os.geteuid():
        raise AgentError(
            "failed", "the agent cannot be used",
            f"the other end of its socket belongs to another user (uid {uid}, not {os.geteuid()})",
            "Set KEYTETHER_SOCKET to a path of your own",
        )  # fmt: skip


def peer_uid(conn: socket.socket) -> int:
    """The effective user id at the other end, as the kernel tells it."""
    if sys.platform == "darwin":
        # struct xucred at level SOL_LOCAL, option LOCAL_PEERCRED: version, uid, …
        version, uid = struct.unpack_from("@II", conn.getsockopt(0, 1, 76))
        return int(uid)
    # struct ucred: pid, uid, gid (unix(7))
    _, uid, _ = struct.unpack("@iII", conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _insecure(where: str, why: str, do: str) -> KeytetherError:
    return AgentError("failed", "the agent's socket is not safe to use", where + ": " + why, do)
