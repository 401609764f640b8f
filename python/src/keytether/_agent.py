"""One exchange with the agent: HTTP/1.1 over its socket, written by hand.

http.client would cost more than everything else here together. What is read is what
the agent's server writes: a Content-Length, or chunks, and no trailers.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Dict, List, Optional, Tuple, Type

from . import _login, _socket, _wire
from .errors import AgentError, KeytetherError, NotLoggedIn, of

_MAX_HEAD = 16 << 10
_MAX_IDLE = 8  # connections that are kept
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
# How long to wait before each further try of a call whose connection ended without an
# answer. A killed agent's connections may end before its socket does, so that a new one
# still reaches it.
_PAUSES = (0.0, 0.02, 0.2)
_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # a dead agent is an error, never a signal


class _Dead(Exception):
    """The connection ended before a byte of the answer came."""


class _Broken(Exception):
    """The answer broke off or is none."""


class Agent:
    """The agent at one socket. For any number of threads, and across fork.

    There are no locks, which a fork could copy in the locked state: taking from and
    adding to a list are atomic.
    """

    def __init__(self, where: str) -> None:
        self.path = where
        self._idle: List[socket.socket] = []
        self._pid = os.getpid()

    def __reduce__(self) -> Tuple[Type[Agent], Tuple[str]]:
        """Copied, or sent to another process, it makes connections of its own."""
        return Agent, (self.path,)

    def call(self, method: str, path: str, schema: _wire.Schema, body: Optional[bytes] = None) -> Dict[str, Any]:
        """One call and its answer, read by the schema. Raises what the agent says, as a KeytetherError."""
        if body is None:
            head = f"{method} {path} HTTP/1.1\r\nHost: keytether\r\n\r\n"
            status, answer = self._exchange(head.encode("ascii"))
        else:
            head = f"{method} {path} HTTP/1.1\r\nHost: keytether\r\nContent-Length: {len(body)}\r\n\r\n"
            status, answer = self._exchange(head.encode("ascii") + body)
        try:
            if status == 200:
                return _wire.decode(answer, schema)
            raise _said(status, answer)
        except _wire.Malformed as e:
            raise AgentError("failed", "the agent's answer is not understood", str(e)) from None

    def close(self) -> None:
        """Close what is kept. A later call connects again."""
        idle, self._idle = self._idle, []
        for conn in idle:
            conn.close()

    def _exchange(self, request: bytes) -> Tuple[int, bytes]:
        conn = self._take()
        pauses = list(_PAUSES)
        try:
            while True:
                try:
                    status, answer, keep = _exchange(conn, request)
                    break
                except _Dead:
                    # No call does harm when it is repeated. What else was kept is of the same agent.
                    conn.close()
                    self.close()
                    if not pauses:
                        raise AgentError(
                            "agent_gone", "the agent was not reached", "the agent closed the connection",
                            "Try again; it starts anew by itself. If that repeats, see `keytether status`",
                        ) from None  # fmt: skip
                    time.sleep(pauses.pop(0))
                    conn = self._connect()
        except _Broken:
            conn.close()
            raise AgentError("agent_gone", "the agent's answer broke off", "the agent closed the connection", "Try again") from None
        except BaseException:  # KeyboardInterrupt too: half an answer may still come
            conn.close()
            raise
        if keep and len(self._idle) < _MAX_IDLE:
            self._idle.append(conn)
        else:
            conn.close()
        return status, answer

    def _take(self) -> socket.socket:
        pid = os.getpid()
        if pid != self._pid:  # we were forked: those connections are our parent's
            self._idle, self._pid = [], pid
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> socket.socket:
        """Connect, and have the agent started first if none runs and one would find a login."""
        try:
            return _socket.connect(self.path)
        except NotLoggedIn:
            if not _login.kept(os.environ):
                raise
        _login.wake(self.path)
        return _socket.connect(self.path)


def _exchange(conn: socket.socket, request: bytes) -> Tuple[int, bytes, bool]:
    try:
        conn.sendall(request, _NOSIGNAL)
        got = conn.recv(65536)
    except BlockingIOError:
        raise _slow() from None
    except ConnectionError:
        raise _Dead from None
    if not got:
        raise _Dead
    end = got.find(b"\r\n\r\n")
    while end < 0:
        if len(got) > _MAX_HEAD:
            raise _Broken
        got += _more(conn)
        end = got.find(b"\r\n\r\n")
    head, rest = got[: end + 2], got[end + 4 :]
    if head[:9] != b"HTTP/1.1 " or not head[9:12].isdigit():
        raise _Broken
    length = _LENGTH.search(head)
    if length is not None:
        size = int(length[1])
        if size > _wire.MAX_BODY:
            raise _Broken
        while len(rest) < size:
            rest += _more(conn)
        body, rest = rest[:size], rest[size:]
    elif _CHUNKED.search(head):
        body, rest = _chunks(conn, rest)
    else:
        raise _Broken
    return int(head[9:12]), body, not rest and _CLOSE.search(head) is None


def _chunks(conn: socket.socket, rest: bytes) -> Tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            if len(rest) > 1024:
                raise _Broken
            rest += _more(conn)
        line, rest = rest.split(b"\r\n", 1)
        try:
            size = int(line, 16)
        except ValueError:
            raise _Broken from None
        if size < 0 or size + len(body) > _wire.MAX_BODY:
            raise _Broken
        while len(rest) < size + 2:
            rest += _more(conn)
        if rest[size : size + 2] != b"\r\n":
            raise _Broken
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest


def _more(conn: socket.socket) -> bytes:
    try:
        got = conn.recv(65536)
    except BlockingIOError:
        raise _slow() from None
    except ConnectionError:
        raise _Broken from None
    if not got:
        raise _Broken
    return got


def _slow() -> KeytetherError:
    return AgentError("agent_gone", "the agent does not answer", f"nothing came for {_socket.TIMEOUT} seconds", "See `keytether status`")


def _said(status: int, answer: bytes) -> KeytetherError:
    """The error in an answer that is not 200."""
    try:
        e = _wire.decode(answer, _wire.ERROR)
    except _wire.Malformed:
        e = {}
    if e.get("code"):
        return of(e["code"], e.get("what", ""), e.get("why", ""), e.get("do", ""))
    if status == 404:
        return AgentError(
            "unsupported", "the agent does not know this call", "it is older than this program",
            "Run `keytether agent stop` and try again; that ends its logins",
        )  # fmt: skip
    return AgentError("failed", "the agent's answer is not understood", f"status {status} without an error body")
