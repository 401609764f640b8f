"""What crosses the agent's socket, as the Go package internal/agentwire documents it.

A message is read strictly: a field of another type than documented is an error, a
field that is not known is dropped, and an absent, an empty and a zero one mean the
same. conformance/agentwire holds the vectors that both languages read. Here are the messages,
and of the status the fields, that a tool has a use for.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any, Dict, Mapping, Optional

from ._secret import Secret

PROTOCOL = 1
MAX_BODY = 256 << 10
MAX_LINE = 64 << 10


class Malformed(Exception):
    """Not one JSON object of the expected shape. It never repeats the input."""


class ListOf:
    def __init__(self, item: Any) -> None:
        self.item = item


Schema = Dict[str, Any]  # field -> str, int, bool, Secret, datetime, a Schema or a ListOf

ERROR: Schema = {"code": str, "what": str, "why": str, "do": str}
WHOAMI: Schema = {
    "profile": str, "issuer": str, "subject": str, "username": str, "client_id": str,
    "grant_id": str, "scope": str, "resource": str, "flow": str, "expires_at": datetime,
}  # fmt: skip
VERSION: Schema = {
    "version": str, "protocol": int, "protocol_min": int, "pid": int,
    "started_at": datetime, "grants": int, "logins": int,
}  # fmt: skip
PROFILE: Schema = {**WHOAMI, "access_token_expires_at": datetime, "token_type": str, "key_store": str}
STATUS: Schema = {"agent": {**VERSION, "locked": bool}, "profiles": ListOf(PROFILE)}
LOGOUT_REQUEST: Schema = {"profile": str, "all": bool}
LOGOUT: Schema = {"profiles": ListOf(str), "revoked": bool, "no_revocation": bool, "wiped": bool, "warning": str}
TOKEN_REQUEST: Schema = {"profile": str, "resource": str, "scope": str, "token_type": str, "rejected": str}
TOKEN: Schema = {"access_token": Secret, "token_type": str, "expires_at": datetime, "scope": str, "resource": str}
AUTHORIZE_REQUEST: Schema = {
    "profile": str, "resource": str, "scope": str, "method": str, "url": str, "nonce": str, "rejected": str,
}  # fmt: skip
AUTHORIZE: Schema = {"authorization": Secret, "dpop": Secret, "token_type": str, "expires_at": datetime}

EVENTS: Dict[str, Schema] = {
    "browser": {"event": str, "url": str, "flow": str, "reason": str},
    "device_code": {
        "event": str, "user_code": str, "verification_uri": str, "expires_at": datetime,
        "interval": int, "flow": str, "reason": str,
    },
    "waiting": {"event": str},
    "done": {"event": str, **WHOAMI, "warning": str},
    "error": {"event": str, **ERROR},
}  # fmt: skip


def decode(body: bytes, schema: Schema) -> Dict[str, Any]:
    """Read one JSON object of a schema. Absent fields are absent in the result."""
    return _pick(_object(body), schema)


def decode_event(line: bytes) -> Dict[str, Any]:
    """Read one line of a login. A kind that is not known keeps its name and nothing else."""
    got = _object(line)
    kind = got.get("event")
    if not isinstance(kind, str) or kind == "":
        raise Malformed("an event without its name")
    return _pick(got, EVENTS.get(kind, {"event": str}))


def encode(message: Mapping[str, Any]) -> bytes:
    """Write a request: what is empty is left out."""
    return json.dumps({k: v for k, v in message.items() if v}, separators=(",", ":")).encode()


def _object(body: bytes) -> Dict[str, Any]:
    if len(body) > MAX_BODY:
        raise Malformed("it is too large")
    try:
        got = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(got, dict):
        raise Malformed("it is not an object")
    return got


def _pick(got: Dict[str, Any], schema: Schema) -> Dict[str, Any]:
    out = {}
    for name, kind in schema.items():
        value = got.get(name)
        if value is not None:
            out[name] = _value(name, value, kind)
    return out


def _value(name: str, value: Any, kind: Any) -> Any:
    if kind is str or kind is int or kind is bool:
        if type(value) is kind:
            return value
    elif kind is Secret:
        if type(value) is str:
            return Secret(value)
    elif kind is datetime:
        moment = parse_time(value)
        if moment is not None:
            return moment
    elif isinstance(kind, ListOf):
        if type(value) is list:
            return [_value(name, v, kind.item) for v in value]
    elif type(value) is dict:
        return _pick(value, kind)
    raise Malformed(f'field "{name}" is not of the expected type')


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def parse_time(text: object) -> Optional[datetime]:
    """RFC 3339 with whole seconds, as UTC; None if it is something else."""
    m = _TIME.match(text) if isinstance(text, str) else None
    if m is None:
        return None
    try:
        moment = datetime.fromisoformat(m[1] + ("+00:00" if m[2] == "Z" else m[2]))
        return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
