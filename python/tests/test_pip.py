"""Debian's pip, which asks keyring, at an index that takes Bearer tokens in its password field."""

from __future__ import annotations

import base64
import os
import pathlib
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, List

WHEEL = "ktsample-1.0-py3-none-any.whl"


def wheel(path: pathlib.Path) -> bytes:
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("ktsample.py", "")
        z.writestr("ktsample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: ktsample\nVersion: 1.0\n")
        z.writestr("ktsample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("ktsample-1.0.dist-info/RECORD", "")
    return path.read_bytes()


def test_pip_downloads_by_the_login(agent: Any, tmp_path: pathlib.Path) -> None:
    package = wheel(tmp_path / WHEEL)
    seen: List[Any] = []

    class Index(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            want = "Basic " + base64.b64encode(b"keytether:made-up-token").decode()
            if self.headers.get("Authorization") != want:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = package if self.path.endswith(".whl") else f'<a href="/simple/{WHEEL}">{WHEEL}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    index = f"http://127.0.0.1:{server.server_port}/simple"
    agent.token_type = "Bearer"
    agent.answers["/v1/status"] = lambda b: (200, {"profiles": [{"profile": "index", "resource": index, "token_type": "Bearer"}]})
    out = tmp_path / "out"
    try:
        for url in (index, index.replace("//", "//keytether@")):
            seen.clear()
            got = subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--isolated", "--disable-pip-version-check",
                 "--index-url", url, "--dest", str(out), "ktsample"],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, env=dict(os.environ, HOME=str(tmp_path)),
            )  # fmt: skip
            assert got.returncode == 0, got.stdout + got.stderr
            assert (out / WHEEL).read_bytes() == package
            assert "made-up-token" not in got.stdout + got.stderr
            (out / WHEEL).unlink()
    finally:
        server.shutdown()
        server.server_close()
