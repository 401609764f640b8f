"""Calls an API over and over and logs all that its libraries can say, headers too.

    calls.py requests|httpx RESOURCE TIMES EVERY LOGFILE [--careless]

--careless leaves the filter out.
"""

from __future__ import annotations

import http.client
import logging
import sys
import time

import keytether.logging

library, resource, times, every, log = sys.argv[1:6]
logging.basicConfig(level=logging.DEBUG, filename=log, format="%(process)d %(name)s %(message)s")
if "--careless" not in sys.argv:
    keytether.logging.install()

# What http.client shows of a connection goes to the log, as Python's logging cookbook has it.
http.client.HTTPConnection.debuglevel = 1
http.client.print = lambda *args: logging.getLogger("http.client").debug(" ".join(map(str, args)))  # type: ignore[attr-defined]


def sent(request: object) -> None:
    logging.getLogger("httpx").debug("sent %s", dict(request.headers))  # type: ignore[attr-defined]


if library == "requests":
    import requests

    from keytether.requests import Auth

    api = requests.Session()
    api.auth = Auth(resource)
else:
    import httpx

    from keytether.httpx import Auth

    api = httpx.Client(auth=Auth(resource), event_hooks={"request": [sent]})

done = 0
for n in range(int(times)):
    if n:
        time.sleep(float(every))
    answer = api.get(resource + "/reports")
    answer.raise_for_status()
    logging.debug("sent with %r, got %s", answer.request.headers, answer.text)
    done += 1
print(done)
