"""What one request of a Python tool costs on top of the socket.

    python cost.py [CALLS]

Another process plays the agent: it reads a request and writes an answer of a real
one's size. Two things are timed in turn: the call that Auth makes for each request
(checking the URL, asking, reading and checking the answer, giving two headers), and the
floor, the same bytes over the same kind of socket by sendall and recv alone. One line
of JSON: both medians in microseconds, and what is left between them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from typing import List

import keytether

RESOURCE = "https://api.example.test"
URL = RESOURCE + "/reports/2026/11?page=3"


def answer() -> bytes:
    body = json.dumps(
        {"authorization": "DPoP " + "t" * 900, "dpop": "p" * 600, "token_type": "DPoP", "expires_at": "2026-03-01T09:05:00Z"}
    ).encode()
    head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nDate: Sun, 01 Mar 2026 09:00:00 GMT\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def serve(path: str) -> int:
    """The other process. The size of a request does not matter: each comes in one piece."""
    ln = socket.socket(socket.AF_UNIX)
    ln.bind(path)
    os.chmod(path, 0o600)
    ln.listen(4)
    pid = os.fork()
    if pid:
        ln.close()
        return pid
    try:
        data = answer()
        while True:
            conn, _ = ln.accept()
            if os.fork():
                conn.close()
                continue
            while conn.recv(65536):
                conn.sendall(data)
            os._exit(0)
    finally:
        os._exit(1)


def floor(conn: socket.socket, request: bytes, size: int) -> float:
    begin = time.perf_counter_ns()
    conn.sendall(request)
    left = size
    while left:
        left -= len(conn.recv(65536))
    return (time.perf_counter_ns() - begin) / 1000


def call(client: keytether.Client) -> float:
    begin = time.perf_counter_ns()
    client.authorize("GET", URL).headers()
    return (time.perf_counter_ns() - begin) / 1000


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = tempfile.mkdtemp(prefix="kt")
    path = os.path.join(folder, "agent.sock")
    pid = serve(path)
    try:
        client = keytether.Client(resource=RESOURCE, socket=path)
        client.remember_nonce(RESOURCE, "n" * 40)
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(path)
        request, size = b"q" * 300, len(answer())
        ours: List[float] = []
        floors: List[float] = []
        for i in range(calls + 200):
            a, b = call(client), floor(raw, request, size)
            if i >= 200:
                ours.append(a)
                floors.append(b)
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)
        shutil.rmtree(folder)
    per_request, least = statistics.median(ours), statistics.median(floors)
    print(
        json.dumps(
            {
                "calls": calls,
                "per_request_us": round(per_request, 1),
                "floor_us": round(least, 1),
                "own_us": round(per_request - least, 1),
                "ratio": round(per_request / least, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
