"""A fake agent and a fake API, each a real server on a real socket."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Tuple

import pytest

Answer = Tuple[int, Dict[str, Any]]


class FakeAgent:
    """Speaks the agent's wire. Tests set what it answers and look at what it was asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.asked: List[Tuple[str, str, Dict[str, Any]]] = []
        self.answers: Dict[str, Callable[[Dict[str, Any]], Answer]] = {}
        self.connections = 0
        self.token = "made-up-token"
        self.token_type = "DPoP"
        self.live: List[Any] = []
        self.start()

    def start(self) -> None:
        agent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                agent.connections += 1
                agent.live.append(self.request)
                super().setup()

            def address_string(self) -> str:
                return "local"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.respond({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.respond(json.loads(body or b"{}"))

            def respond(self, body: Dict[str, Any]) -> None:
                path = self.path.partition("?")[0]
                agent.asked.append((self.command, self.path, body))
                status, got = agent.answers.get(path, agent.usual)(dict(body, path=path))
                data = json.dumps(got).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(self.path, Handler)
        os.chmod(self.path, 0o600)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End as a killed agent does: the connections too."""
        self.server.shutdown()
        self.server.server_close()
        for conn in self.live:
            try:
                conn.shutdown(2)
            except OSError:
                pass
        self.live.clear()
        os.unlink(self.path)

    def usual(self, body: Dict[str, Any]) -> Answer:
        path = body["path"]
        if path == "/v1/authorize":
            n = len(self.authorized())
            got = {"authorization": f"{self.token_type} {self.token}", "token_type": self.token_type, "expires_at": "2026-03-01T09:05:00Z"}
            if self.token_type == "DPoP":
                got["dpop"] = f"proof-{n} {body['method']} {body['url']} {body.get('nonce', '-')}"
            return 200, got
        if path == "/v1/token":
            return 200, {"access_token": self.token, "token_type": self.token_type, "expires_at": "2026-03-01T09:05:00Z", "scope": "read"}
        if path == "/v1/whoami":
            return 200, {"profile": "default", "issuer": "https://auth.test", "subject": "acc_1", "client_id": "keytether", "scope": "read", "flow": "browser"}
        if path == "/v1/logout":
            return 200, {"profiles": ["default"], "revoked": True, "wiped": True}
        return 404, {"code": "unsupported", "what": "not here"}

    def authorized(self) -> List[Dict[str, Any]]:
        return [body for _, path, body in self.asked if path == "/v1/authorize"]


class FakeAPI:
    """Answers by a function of each request, and remembers them all."""

    def __init__(self) -> None:
        self.seen: List[Dict[str, Any]] = []
        self.answer: Callable[[Dict[str, Any]], Tuple[int, Dict[str, str]]] = lambda r: (200, {})
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def any(self) -> None:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while True:
                        size = int(self.rfile.readline(), 16)
                        body += self.rfile.read(size)
                        self.rfile.readline()
                        if size == 0:
                            break
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = {
                    "method": self.command, "path": self.path, "body": body, "host": self.headers.get("Host"),
                    "authorization": self.headers.get("Authorization"), "dpop": self.headers.get("DPoP"),
                }  # fmt: skip
                api.seen.append(request)
                status, headers = api.answer(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST = do_PUT = any

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tempfile.mkdtemp(prefix="kt")  # 0700, and short: a socket's path is
    fake = FakeAgent(os.path.join(folder, "agent.sock"))
    monkeypatch.setenv("KEYTETHER_SOCKET", fake.path)
    monkeypatch.delenv("KEYTETHER_PROFILE", raising=False)
    yield fake
    if os.path.exists(fake.path):
        fake.stop()
    shutil.rmtree(folder)


@pytest.fixture
def api() -> Any:
    fake = FakeAPI()
    yield fake
    fake.close()


@pytest.fixture
def other() -> Any:
    """Another origin."""
    fake = FakeAPI()
    yield fake
    fake.close()
