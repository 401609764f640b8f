"""Fifty threads in each of four processes, all at once. Prints what they got."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import threading
from typing import Any, List

import keytether
from keytether.requests import Auth

resource = sys.argv[1]
auth = Auth(resource)
auth.client.whoami()  # so that a connection is kept when the processes are forked

fork = multiprocessing.get_context("fork")
ready = fork.Barrier(4)


def process(out: Any) -> None:
    gate = threading.Barrier(50)
    seen: List[str] = []

    def ask() -> None:
        gate.wait()
        try:
            got = auth.client.authorize("GET", resource + "/reports")
            seen.append(hashlib.sha256(got.authorization.reveal().encode()).hexdigest())
        except keytether.KeytetherError as e:
            seen.append(str(e))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    ready.wait()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    out.put(seen)


queue = fork.Queue()
children = [fork.Process(target=process, args=(queue,)) for _ in range(4)]
for c in children:
    c.start()
answers: List[str] = []
for _ in children:
    answers += queue.get(timeout=60)
for c in children:
    c.join()
if len(set(answers)) == 1 and len(answers[0]) == 64:
    print(f"{len(answers)} answers, 1 token")
else:
    print(len(answers), sorted(set(answers)))
