"""The vectors of conformance/, which the Go packages read too. KEYTETHER_CONFORMANCE names the folder."""

from __future__ import annotations

import json
import os
import pathlib
from datetime import datetime
from typing import Any, Dict, List

import pytest

from keytether import _client, _wire, errors
from keytether._secret import Secret
from keytether.logging import redact

FOLDER = pathlib.Path(os.environ.get("KEYTETHER_CONFORMANCE") or pathlib.Path(__file__).parents[2] / "conformance")

SPOKEN: Dict[str, _wire.Schema] = {
    "Version": _wire.VERSION, "LogoutRequest": _wire.LOGOUT_REQUEST, "LogoutResponse": _wire.LOGOUT, "Whoami": _wire.WHOAMI,
    "StatusResponse": _wire.STATUS, "TokenRequest": _wire.TOKEN_REQUEST, "TokenResponse": _wire.TOKEN,
    "AuthorizeRequest": _wire.AUTHORIZE_REQUEST, "AuthorizeResponse": _wire.AUTHORIZE, "Error": _wire.ERROR,
}  # fmt: skip

# Of these a tool has no use for every field.
IN_PART = {"Version", "StatusResponse", "Whoami", "LogoutResponse", "Event"}


def vectors(name: str) -> List[Dict[str, Any]]:
    return json.loads((FOLDER / name).read_text())["vectors"]


def read(kind: str, body: bytes) -> Dict[str, Any]:
    return _wire.decode_event(body) if kind == "Event" else _wire.decode(body, SPOKEN[kind])


def plain(value: Any) -> Any:
    """Back to what stands in JSON."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def spoken(name: str) -> List[Dict[str, Any]]:
    """Of the other messages a tool has no use: logins, locks and forwarded sockets are the command's."""
    return [v for v in vectors(name) if v["type"] in SPOKEN or v["type"] == "Event"]


def within(got: Any, whole: Any) -> bool:
    if isinstance(got, dict):
        return all(k in whole and within(v, whole[k]) for k, v in got.items())
    if isinstance(got, list):
        return len(got) == len(whole) and all(within(a, b) for a, b in zip(got, whole))
    return bool(got == whole)


def test_every_message_is_read() -> None:
    seen = set()
    for v in spoken("agentwire/messages.json"):
        seen.add(v["type"])
        got = plain(read(v["type"], json.dumps(v["json"]).encode()))
        assert got and (within(got, v["json"]) if v["type"] in IN_PART else got == v["json"]), v
    assert seen == {*SPOKEN, "Event"}


def test_requests_are_written_as_the_vectors_are(agent: Any) -> None:
    by_path: Dict[str, Dict[str, Any]] = {}
    for v in vectors("agentwire/messages.json"):
        by_path.setdefault(v.get("path", ""), v)  # the first one has most fields
    token = by_path["/v1/token"]["json"]
    client = _client.Client(profile=token["profile"], resource=token["resource"], scope=token["scope"])
    client.token()
    client.whoami()
    client.logout()
    authorize = by_path["/v1/authorize"]["json"]
    client.remember_nonce("https://api.example.test", authorize["nonce"])
    client.authorize(authorize["method"], authorize["url"], rejected=authorize["rejected"])
    asked = {path: (method, body) for method, path, body in agent.asked}
    del token["rejected"]  # names a refused token; this package does that with authorize alone
    assert asked["/v1/token"] == ("POST", token)
    assert asked["/v1/whoami?profile=work"] == ("GET", {})
    assert asked["/v1/logout"] == ("POST", {"profile": "work"})
    authorize["url"] = authorize["url"].partition("?")[0]
    assert asked["/v1/authorize"] == ("POST", authorize)


def test_newer_writers_are_tolerated() -> None:
    for v in spoken("agentwire/tolerated.json"):
        assert plain(read(v["type"], json.dumps(v["json"]).encode())) == v["same_as"]


@pytest.mark.parametrize("v", spoken("agentwire/refused.json"), ids=lambda v: v["why"])
def test_wrong_shapes_are_refused(v: Dict[str, Any]) -> None:
    with pytest.raises(_wire.Malformed):
        read(v["type"], v["body"].encode())


def test_refusals_do_not_repeat_the_input() -> None:
    for body in (b'{"scope": hunter2}', b'{"scope": ["hunter2"]}', b"hunter2", b'{"hunter2"', b'{"a":' + b"[" * 100000):
        with pytest.raises(_wire.Malformed) as e:
            _wire.decode(body, _wire.TOKEN_REQUEST)
        assert "hunter2" not in str(e.value) and e.value.__cause__ is None


def test_every_code_has_its_class_and_exit_code() -> None:
    codes = json.loads((FOLDER / "agentwire/errors.json").read_text())["codes"]
    assert {c["code"]: c["exit"] for c in codes} == errors._EXIT_CODES
    expected = {2: errors.UsageError, 3: errors.NotLoggedIn, 4: errors.Denied, 5: errors.Expired, 6: errors.Unreachable, 7: errors.StoreUnusable}
    for c in codes:
        e = errors.of(c["code"], "what", "why", "do")
        assert type(e) is expected.get(c["exit"], errors.AgentError) and e.exit_code == c["exit"]
        assert str(e) == "what: why. do"
    assert type(errors.of("weather", "rain")) is errors.AgentError and errors.of("weather", "rain").exit_code == 1


def test_login_stream_is_read() -> None:
    lines = (FOLDER / "agentwire/login_stream.ndjson").read_bytes().splitlines()
    events = [_wire.decode_event(line) for line in lines]
    assert [e["event"] for e in events if e["event"] in _wire.EVENTS] == ["browser", "waiting", "done"]


@pytest.mark.parametrize("v", vectors("redact/vectors.json"), ids=lambda v: v["name"])
def test_redaction_is_gos(v: Dict[str, str]) -> None:
    assert redact(v["in"]) == v["want"]
    assert redact(v["want"]) == v["want"]


def test_redaction_of_what_go_made_up() -> None:
    """KEYTETHER_REDACTED is a file of random texts and what Go's package made of them."""
    name = os.environ.get("KEYTETHER_REDACTED")
    if name is None:
        return
    cases = json.loads(pathlib.Path(name).read_text())
    assert len(cases) >= 1000
    for case in cases:
        assert redact(case["in"]) == case["want"], case["in"]
