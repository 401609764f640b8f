"""Masks secrets in text that is about to be seen.

The same recognition as the Go package internal/redact, to the letter: its package
comment says what is recognised, and conformance/redact holds the cases that both
must answer alike.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import List, NoReturn, Optional

MASK = "[redacted]"

_MAX_HEADER = 2048  # characters of a JWS header
_MAX_LABEL = 40  # characters of a PEM label
_MIN_VALUE = 16  # characters of a parameter's value outside a query

_NAMES = ("code", "code_verifier", "handshake_nonce", "device_code", "access_token", "refresh_token")

# The whole length of a minted secret by its third character.
_MINTED = {"r": 102, "c": 53, "d": 53, "u": 53, "s": 53, "i": 53, "p": 53}

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BEGIN = "-----BEGIN "
_END = "-----"
_ESCAPED_AND = "\\u0026"  # "&" as encoders write it that want JSON to be fit for HTML

_BASE62_RUN = re.compile(r"[A-Za-z0-9]*")
_BASE64_RUN = re.compile(r"[A-Za-z0-9_-]*")
_VALUE_RUN = re.compile(r"[A-Za-z0-9_\-.~%+/=:@!$*]*")
_LABEL_RUN = re.compile(r"[A-Z0-9 ]*")
_PEM_RUN = re.compile(r"[A-Za-z0-9_.~%+/=:@!$* \t\r\n\\,]*")  # without the dash
_WORD = frozenset(_BASE62 + "-_")
_LABEL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ")

# Text without any of these has no secret.
_MARKERS = re.compile(r"kt[rcdusip]_|eyJ|(?:code|code_verifier|handshake_nonce|access_token|refresh_token)=|" + _BEGIN)
_MINTED_MARKER = re.compile(r"kt[rcdusip]_")
_PARAM = re.compile(r"(?:code_verifier|handshake_nonce|device_code|access_token|refresh_token|code)=")


class _Match:
    def __init__(self, keep: int, end: int, mode: str) -> None:
        self.keep = keep  # up to here the text stays
        self.end = end  # up to here it is masked
        self.mode = mode  # "", "value" or "pem": what follows is masked as well


def redact(text: str) -> str:
    """Mask the secrets in text. Gives text itself if there are none."""
    if _MARKERS.search(text) is None:
        return text
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.base = 0  # where the present stretch of text begins
        self.before_base = ""  # the character before it: "]" after a mask

    def run(self) -> str:
        text, out, pos = self.text, [], 0
        at: List[int] = [-1, -1, -1, -1]
        while True:
            if pos > 0 and any(text.startswith(n + "=", pos) for n in _NAMES):
                at[2] = pos  # a mask came before it, so that it is a name now
            found = self._next(at, pos)
            if found is None:
                out.append(text[pos:])
                return "".join(out)
            out.append(text[pos : found.keep])
            out.append(MASK)
            pos = found.end
            if found.mode == "value":
                pos = _end(_VALUE_RUN, text, pos)
            elif found.mode == "pem":
                pos = _pem_end(text, pos)
            self.base, self.before_base = pos, "]"
            if pos == len(text):
                return "".join(out)

    def _next(self, at: List[int], pos: int) -> Optional[_Match]:
        """The first secret at or after pos. at is where the next marker of each kind is."""
        while True:
            first = 0
            for kind in range(4):
                if at[kind] < pos:
                    at[kind] = self._find(kind, pos)
                if at[kind] < at[first]:
                    first = kind
            start = at[first]
            if start == len(self.text):
                return None
            found = (self._minted, self._jws, self._param, self._pem)[first](start)
            if found is not None:
                return found
            at[first] = self._find(first, start + 1)

    def _find(self, kind: int, pos: int) -> int:
        text = self.text
        if kind == 0:
            m = _MINTED_MARKER.search(text, pos)
            return m.start() if m else len(text)
        if kind == 2:
            return self._find_param(pos)
        i = text.find("eyJ" if kind == 1 else _BEGIN, pos)
        return i if i >= 0 else len(text)

    def _find_param(self, pos: int) -> int:
        text = self.text
        i = text.find("=", pos + 4)
        while i >= 0:
            name = ""
            for n in _NAMES:
                if len(n) > len(name) and i - len(n) >= pos and text.startswith(n, i - len(n)):
                    name = n
            if name and self._before(i - len(name)) not in _WORD:
                return i - len(name)
            i = text.find("=", i + 1)
        return len(text)

    def _before(self, i: int) -> str:
        """The character before a place. An ampersand stands in JSON in two ways."""
        if i == self.base:
            return self.before_base
        if i - len(_ESCAPED_AND) >= self.base and self.text.startswith(_ESCAPED_AND, i - len(_ESCAPED_AND)):
            return "&"
        return self.text[i - 1]

    def _minted(self, start: int) -> Optional[_Match]:
        end = start + _MINTED[self.text[start + 2]]
        whole = self.text[start:end]
        if start + 4 + len(_run(_BASE62_RUN, whole, 4)) < end or not _checksum_holds(whole):
            return None
        return _Match(start + 4, end, "")

    def _jws(self, start: int) -> Optional[_Match]:
        header = _run(_BASE64_RUN, self.text[start : start + _MAX_HEADER + 1], 0)
        end = start + len(header)
        if len(header) > _MAX_HEADER or self.text[end : end + 1] != "." or not _is_header(header):
            return None
        return _Match(start + 3, end, "value")

    def _param(self, start: int) -> Optional[_Match]:
        begin = self.text.index("=", start) + 1
        need = 1 if self._before(start) in ("?", "&") else _MIN_VALUE
        if len(_run(_VALUE_RUN, self.text[begin : begin + need], 0)) < need:
            return None
        return _Match(begin, begin, "value")

    def _pem(self, start: int) -> Optional[_Match]:
        begin = start + len(_BEGIN)
        label = _run(_LABEL_RUN, self.text[begin : begin + _MAX_LABEL + 1], 0)
        end = begin + len(label)
        if len(label) > _MAX_LABEL or not self.text.startswith(_END, end) or not label.endswith("PRIVATE KEY"):
            return None
        return _Match(begin, end + len(_END), "pem")


def _run(pattern: re.Pattern[str], text: str, pos: int) -> str:
    m = pattern.match(text, pos)
    return m[0] if m else ""


def _end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    return pos + len(_run(pattern, text, pos))


def _pem_end(text: str, pos: int) -> int:
    """Where a PEM key ends that began before pos: behind its END line, or at what no key holds."""
    mode, dashes = "pem", 0
    while pos < len(text):
        c = text[pos]
        if mode == "pem":
            if c == "-":
                dashes += 1
            elif dashes >= len(_END) and c == "E":  # of END; another BEGIN does not end it
                mode, dashes = "label", 0
            else:
                end = _end(_PEM_RUN, text, pos)
                if end == pos:
                    return pos
                # Dashes that ended here were no END line; go on behind what has none.
                pos, dashes = end, 0
                continue
        elif c == "-":
            mode = "last"
            dashes += 1
            if dashes == len(_END):
                return pos + 1
        elif mode != "label" or c not in _LABEL:
            mode, dashes = "pem", 0  # no END line after all
            if _end(_PEM_RUN, text, pos) == pos:
                return pos
        pos += 1
    return pos


def _checksum_holds(secret: str) -> bool:
    total = zlib.crc32(secret[:-6].encode("ascii"))
    for c in reversed(secret[-6:]):
        if c != _BASE62[total % 62]:
            return False
        total //= 62
    return True


def _is_header(header: str) -> bool:
    """Whether this is the base64url of a JSON text with "alg"."""
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        if b'"alg"' not in raw:
            return False
        json.loads(raw.decode("latin-1"), parse_constant=_no_constant)
    except RecursionError:
        return True  # deeper than anybody's header: it is masked
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and its like are no JSON


def redact_bytes(data: bytes) -> bytes:
    """The same for bytes, whatever their encoding."""
    return redact(data.decode("latin-1")).encode("latin-1")


