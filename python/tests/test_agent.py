"""The socket, the connections that are kept, secrets, logins and the module's functions."""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import os
import pathlib
import pickle
import socket
import stat
import subprocess
import sys
import threading
from typing import Any, Dict, List

import pytest

import keytether
from keytether import _agent, _socket


def test_where_the_socket_is() -> None:
    table = [
        ({"KEYTETHER_SOCKET": "/a/b.sock", "XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}, "/a/b.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/1", "XDG_STATE_HOME": "/s", "HOME": "/h"}, "/run/user/1/keytether/agent.sock"),
        ({"XDG_RUNTIME_DIR": "run", "HOME": "/h"}, "/h/.local/state/keytether/agent.sock"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/keytether/agent.sock"),
    ]
    for environ, want in table:
        assert _socket.path(environ) == want
    for environ in ({}, {"KEYTETHER_SOCKET": "b.sock", "HOME": "/h"}):
        with pytest.raises(keytether.AgentError, match="KEYTETHER_SOCKET"):
            _socket.path(environ)


def test_a_path_that_is_not_safe_is_refused(agent: Any) -> None:
    folder = os.path.dirname(agent.path)
    for path, mode in ((folder, 0o750), (folder, 0o701), (agent.path, 0o660), (agent.path, 0o602)):
        before = stat.S_IMODE(os.stat(path).st_mode)
        os.chmod(path, mode)
        with pytest.raises(keytether.AgentError, match="not safe to use.*others have access"):
            keytether.whoami()
        os.chmod(path, before)
    link = folder + ".link"
    os.symlink(folder, link)
    try:
        with pytest.raises(keytether.AgentError, match="it is not a folder"):
            keytether.Client(socket=link + "/agent.sock").whoami()
    finally:
        os.unlink(link)
    file = folder + "/file"
    pathlib.Path(file).touch(0o600)
    with pytest.raises(keytether.AgentError, match="it is not a socket"):
        keytether.Client(socket=file).whoami()
    assert not agent.asked
    keytether.whoami()


def test_another_user_is_refused_at_both_ends_of_the_check(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(keytether.AgentError, match="belongs to another user"):
        keytether.whoami()
    monkeypatch.undo()
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(agent.path)
        assert _socket.peer_uid(conn) == me  # as the kernel says
    monkeypatch.setattr(_socket, "peer_uid", lambda conn: me + 1)
    with pytest.raises(keytether.AgentError, match="the other end of its socket belongs to another user"):
        keytether.Client(socket=agent.path).whoami()
    assert not agent.asked


def test_without_an_agent_nobody_is_logged_in(agent: Any) -> None:
    agent.stop()
    for _ in range(2):
        with pytest.raises(keytether.NotLoggedIn) as e:
            keytether.token()
        assert str(e.value) == "you are not logged in: no agent is running, and only an agent holds a login. Run `keytether login`"
        pathlib.Path(agent.path).unlink(missing_ok=True)
        left = socket.socket(socket.AF_UNIX)
        left.bind(agent.path)  # a socket that nobody listens at any more
        os.chmod(agent.path, 0o600)
        left.close()
    os.unlink(agent.path)


def test_windows_is_told(monkeypatch: pytest.MonkeyPatch, agent: Any) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(keytether.AgentError, match="on Windows it listens at a named pipe"):
        keytether.Client(socket=agent.path).whoami()


def test_connections_are_kept(agent: Any) -> None:
    for _ in range(20):
        keytether.token()
    assert agent.connections == 1


def test_an_agent_that_was_replaced_is_found_again(agent: Any) -> None:
    client = keytether.Client()
    client.token()
    agent.stop()
    agent.start()
    assert client.token().access_token.reveal() == "made-up-token"
    agent.stop()
    with pytest.raises(keytether.NotLoggedIn):
        client.token()
    agent.start()
    client.token()


@pytest.mark.parametrize("dead, good", [(1, True), (3, True), (4, False)])
def test_a_dying_agent_is_asked_again(agent: Any, dead: int, good: bool) -> None:
    """A killed agent's socket may still take connections when the others have ended."""
    requests = serve(agent, [b""] * dead + [ok(b'{"access_token": "t", "token_type": "Bearer"}')] * good)
    if good:
        assert keytether.token().access_token.reveal() == "t"
    else:
        with pytest.raises(keytether.AgentError, match="the agent closed the connection"):
            keytether.token()
    assert len(requests) == dead + good and len(set(requests)) == 1


def serve(agent: Any, answers: List[bytes]) -> List[bytes]:
    """A socket in the agent's place that reads a request and writes one of answers each time."""
    agent.stop()
    ln = socket.socket(socket.AF_UNIX)
    ln.bind(agent.path)
    os.chmod(agent.path, 0o600)
    ln.listen(8)
    requests: List[bytes] = []

    def run() -> None:
        for answer in answers:
            conn, _ = ln.accept()
            requests.append(conn.recv(65536))
            conn.sendall(answer)
            conn.close()
        ln.close()

    threading.Thread(target=run, daemon=True).start()
    return requests


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    "answer, code",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "agent_gone"),
        (b"HTTP/1.1 200 OK\r\nConte", "agent_gone"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "agent_gone"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "agent_gone"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n{}", "agent_gone"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "agent_gone"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "agent_gone"),
        (b"x" * 20000, "agent_gone"),
        (ok(b"<html>"), "failed"),
        (ok(b"[]"), "failed"),
        (ok(b"{}"), "failed"),
        (ok(b'{"access_token":["hunter2"]}'), "failed"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n404", "unsupported"),
        (b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\n{}", "failed"),
        (b"HTTP/1.1 423 Locked\r\nContent-Length: 31\r\n\r\n" + b'{"code":"locked","what":"words"}'[:31], "failed"),
        (b"HTTP/1.1 423 Locked\r\nContent-Length: 32\r\n\r\n" + b'{"code":"locked","what":"words"}', "locked"),
    ],
)
def test_bad_answers_are_errors(agent: Any, answer: bytes, code: str) -> None:
    serve(agent, [answer])
    with pytest.raises(keytether.AgentError) as e:
        keytether.Client(socket=agent.path).token()
    assert e.value.code == code and "hunter2" not in str(e.value)


def test_long_answers_come_in_chunks(agent: Any) -> None:
    body = json.dumps({"access_token": "x" * 5000, "token_type": "DPoP"}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:10], body[10:4000], body[4000:])) + b"0\r\n\r\n"
    serve(agent, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks])
    assert keytether.Client(socket=agent.path).token().access_token.reveal() == "x" * 5000


def test_an_interrupted_call_leaves_no_half_answer_behind(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = keytether.Client()
    client.token()
    agent.token = "a"
    real = _agent._exchange

    def interrupted(conn: Any, request: bytes) -> Any:
        conn.sendall(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(_agent, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.token()
    monkeypatch.setattr(_agent, "_exchange", real)
    agent.token = "b"
    assert client.token().access_token.reveal() == "b"


def work(path: str, n: int, out: Any) -> None:
    client = keytether.Client(socket=path)
    out.put([client.authorize("GET", f"https://api.test/{n}").headers()["DPoP"].split()[2] for _ in range(50)])


def test_a_fork_does_not_share_connections(agent: Any) -> None:
    """Parent and children, all with the parent's kept connection in memory, ask at once and get their own answers."""
    keytether.token()
    fork = multiprocessing.get_context("fork")
    out = fork.Queue()
    children = [fork.Process(target=work, args=(agent.path, n, out)) for n in range(4)]
    for c in children:
        c.start()
    mine = keytether.Client(socket=agent.path)
    for _ in range(50):
        assert mine.authorize("GET", "https://api.test/mine").headers()["DPoP"].split()[2] == "https://api.test/mine"
    got = [out.get(timeout=20) for _ in children]
    for c in children:
        c.join(20)
        assert c.exitcode == 0
    assert sorted(g[0] for g in got) == [f"https://api.test/{n}" for n in range(4)]
    assert all(len(set(g)) == 1 and len(g) == 50 for g in got)


def test_secrets_redact_themselves(agent: Any) -> None:
    agent.token = "hunter2"
    t = keytether.token()
    a = keytether.Client().authorize("GET", "https://api.test/")
    shown = [f"{t}", repr(t), str(t), f"{a}", repr(a), "%s %r" % (t.access_token, t.access_token), f"{t.access_token:>30}"]
    shown += [repr(dataclasses.asdict(t)), repr(copy.deepcopy(t)), json.dumps(dataclasses.asdict(t), default=str), repr(vars(t))]
    assert "hunter2" not in "".join(shown) and "[redacted]" in shown[0]
    for dump in (lambda: pickle.dumps(t), lambda: pickle.dumps(t.access_token), lambda: json.dumps(t.access_token)):
        with pytest.raises(TypeError) as e:
            dump()
        assert "hunter2" not in str(e.value)
    with pytest.raises(TypeError):
        "Bearer " + t.access_token  # type: ignore[operator]
    with pytest.raises(AttributeError):
        t.access_token.value = 1  # type: ignore[attr-defined]
    assert t.access_token == keytether.Secret("hunter2") and t.access_token != keytether.Secret("x") and t.access_token != "hunter2"
    assert t.access_token.reveal() == "hunter2" and t.expires_at is not None and t.expires_at.year == 2026


def test_errors_cross_processes() -> None:
    e = pickle.loads(pickle.dumps(keytether.Denied("scope", "a", "b", "c")))
    assert type(e) is keytether.Denied and str(e) == "a: b. c" and e.exit_code == 4


def test_logout_says_what_it_could_not_do(agent: Any) -> None:
    keytether.logout()
    agent.answers["/v1/logout"] = lambda b: (200, {"profiles": ["default"], "wiped": True, "warning": "no network"})
    with pytest.raises(keytether.Unreachable, match="wiped here but not revoked at its server: no network"):
        keytether.logout()
    agent.answers["/v1/logout"] = lambda b: (200, {"profiles": ["default"]})
    with pytest.raises(keytether.AgentError, match="not wiped"):
        keytether.logout()


def test_profile_comes_from_the_environment(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTETHER_PROFILE", "work")
    keytether.token()
    keytether.token(profile="other")
    keytether.token(profile="")
    assert [b.get("profile") for _, _, b in agent.asked] == ["work", "other", None]


@pytest.mark.parametrize("bad", ["api.test", "https://u@api.test", "https://api.test/#x", "https://api.test/\n", "https://api.test:x/"])
def test_a_resource_that_is_none(agent: Any, bad: str) -> None:
    with pytest.raises(keytether.UsageError, match="the resource is wrong"):
        keytether.Client(resource=bad)


# What follows plays the command keytether.

COMMAND = """#!{python}
import json, os, sys
open({log!r}, "w").write(json.dumps([sys.argv[1:], os.environ["KEYTETHER_SOCKET"]]))
sys.stderr.write({stderr!r})
for line in {lines!r}:
    print(line, flush=True)
sys.exit({code})
"""


@pytest.fixture
def command(tmp_path: pathlib.Path, agent: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(lines: List[str], stderr: str = "", code: int = 0) -> pathlib.Path:
        log = tmp_path / "log"
        binary = tmp_path / "keytether"
        binary.write_text(COMMAND.format(python=sys.executable, log=str(log), stderr=stderr, lines=lines, code=code))
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return log

    return make


BROWSER = '{"event":"browser","url":"http://127.0.0.1:4/start/x"}'
CODE = '{"event":"device_code","user_code":"BCDF-GHJK","verification_uri":"https://auth.test/device","expires_at":"2026-03-01T08:00:00Z"}'
DONE = '{"event":"done","profile":"p","issuer":"https://auth.test","subject":"acc_1","client_id":"c","scope":"read","flow":"browser"}'


def test_login_runs_the_command_and_shows_what_to_do(command: Any, agent: Any, capfd: Any) -> None:
    log = command([BROWSER, '{"event":"newer"}', '{"event":"waiting"}', CODE, DONE], stderr="keytether: a note\n")
    who = keytether.login(issuer="https://auth.test", client_id="c", resource="https://api.test", scope="read write", profile="p", login_hint="me@x.test", open_browser=False)
    assert (who.subject, who.profile, who.expires_at) == ("acc_1", "p", None)
    args, where = json.loads(log.read_text())
    assert args == [
        "login", "--json", "--flow=auto", "--profile=p", "--resource=https://api.test", "--issuer=https://auth.test", "--client=c", "--login-hint=me@x.test",
        "--scope=read", "--scope=write", "--no-browser",
    ]  # fmt: skip
    assert where == agent.path
    out, err = capfd.readouterr()
    assert out == "" and "http://127.0.0.1:4/start/x" in err and "https://auth.test/device" in err and "BCDF-GHJK" in err and "a note" in err


def test_login_tells_its_events(command: Any, capfd: Any) -> None:
    command([BROWSER, CODE, DONE])
    events: List[Dict[str, Any]] = []
    keytether.login(on_event=lambda e: events.append(dict(e)))
    assert [e["event"] for e in events] == ["browser", "device_code"] and events[1]["expires_at"].hour == 8
    assert capfd.readouterr().err == ""


def test_login_that_fails(command: Any) -> None:
    command(['{"event":"error","code":"denied","what":"denied","why":"by the person"}'], code=4)
    with pytest.raises(keytether.Denied, match="denied: by the person"):
        keytether.login()
    command([], stderr="keytether: what code=0123456789abcdefghij\n", code=2)
    with pytest.raises(keytether.AgentError, match=r"was not finished: keytether: what code=\[redacted\]"):
        keytether.login()
    command(["not json"])
    with pytest.raises(keytether.AgentError, match="not understood"):
        keytether.login()


def test_login_is_called_off_with_its_caller(command: Any) -> None:
    command([BROWSER])
    with pytest.raises(ZeroDivisionError):
        keytether.login(on_event=lambda e: 1 / 0)  # type: ignore[arg-type,return-value]


def test_login_needs_the_command(agent: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "keytether").write_text("")
    (tmp_path / "keytether").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", ":", "/nowhere:."):  # never from the folder that we happen to be in
        monkeypatch.setenv("PATH", path)
        with pytest.raises(keytether.AgentError, match="keytether is not installed: no keytether in PATH. Install Keytether"):
            keytether.login()


def module(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "keytether", *args], capture_output=True, text=True, env=dict(os.environ, **env), timeout=60)


def test_agent_is_started_where_a_login_is_kept(command: Any, agent: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = command([])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    agent.stop()
    with pytest.raises(keytether.NotLoggedIn):
        keytether.token()
    assert not log.exists()
    (tmp_path / "state" / "keytether").mkdir(parents=True)
    (tmp_path / "state" / "keytether" / "stores").touch()
    with pytest.raises(keytether.NotLoggedIn):
        keytether.token()  # this command starts none
    assert json.loads(log.read_text()) == [["whoami"], agent.path]


def test_version_and_doctor(command: Any, agent: Any, tmp_path: pathlib.Path) -> None:
    assert module("--version").stdout == f"keytether {keytether.__version__}\n"
    assert module().returncode == 2
    command([], code=1)
    agent.answers["/v1/version"] = lambda b: (200, {"version": "1.2.3", "protocol": 1, "pid": 7})
    agent.answers["/v1/status"] = lambda b: (200, {"agent": {"version": "1.2.3"}, "profiles": [{"profile": "work"}]})
    (tmp_path / "keytether").write_text("#!/bin/sh\n[ $1 = --version ] && echo keytether 1.2.3 || echo general help\n")
    got = module("doctor")
    assert got.returncode == 0, got.stdout + got.stderr
    for words in ("agent      ok    version 1.2.3, process 7, logged in: work", f"binary     ok    keytether 1.2.3 at {tmp_path}", "requests 2", agent.path):
        assert words in got.stdout
    (tmp_path / "ca.pem").write_text("no certificate")
    got = module("doctor", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert got.returncode == 1 and "cannot be read" in got.stdout
    got = module("doctor", SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt", REQUESTS_CA_BUNDLE="", CURL_CA_BUNDLE="")
    assert got.returncode == 0 and "Set REQUESTS_CA_BUNDLE" in got.stdout
    agent.answers["/v1/version"] = lambda b: (200, {"version": "9.0.0", "protocol": 9, "protocol_min": 9})
    got = module("doctor", PATH="/nowhere")
    assert got.returncode == 1 and "speaks protocol 9 to 9" in got.stdout and "Install Keytether" in got.stdout
    (tmp_path / "keytether").write_text("#!/bin/sh\n[ $2 ] && echo usage: keytether doctor && exit\necho $1 of the command\n[ $1 = --version ] || exit 5\n")
    agent.stop()
    got = module("doctor")
    assert got.returncode == 5 and got.stdout.endswith("doctor of the command\n") and "no agent is running" in got.stdout


def test_what_holds_connections_can_be_copied_and_sent_to_another_process(agent: Any) -> None:
    client = keytether.Client(socket=agent.path)
    client.whoami()
    assert client._agent._idle
    for other in (pickle.loads(pickle.dumps(client)), copy.deepcopy(client)):
        assert not other._agent._idle and other._agent.path == agent.path
        assert other.whoami() == client.whoami()
