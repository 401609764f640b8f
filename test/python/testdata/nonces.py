"""Calls an API that wants nonces by requests and both kinds of httpx, and one that the login is not for."""

from __future__ import annotations

import asyncio
import sys

import httpx
import requests

import keytether
import keytether.httpx
import keytether.requests

api, elsewhere = sys.argv[1:]
url = api + "/whoami"

s = requests.Session()
s.auth = keytether.requests.Auth(api)
for _ in range(3):
    r = s.get(url)
    assert r.status_code == 200, (r.status_code, r.text, r.headers)
    subject = r.json()

with httpx.Client(auth=keytether.httpx.Auth(api)) as c:
    for _ in range(3):
        assert c.get(url).json() == subject


async def many() -> None:
    async with httpx.AsyncClient(auth=keytether.httpx.Auth(api)) as a:
        await a.get(url)
        answers = await asyncio.gather(*(a.get(url) for _ in range(20)))
        assert [x.status_code for x in answers] == [200] * 20, answers


asyncio.run(many())

# Without a resource the agent alone decides.
assert requests.get(url, auth=keytether.requests.Auth()).status_code == 200
for auth in (keytether.requests.Auth(), keytether.requests.Auth(elsewhere)):
    try:
        requests.get(elsewhere + "/reports", auth=auth)
    except keytether.Denied as e:
        assert e.exit_code == 4 and "--resource" in str(e), e
    else:
        raise AssertionError("a token for elsewhere")
for at in ("/oauth/token", "/me"):
    try:
        requests.post(api[: -len("/api/v1")] + at, auth=keytether.requests.Auth())
    except keytether.Denied:
        pass
    else:
        raise AssertionError("a token for an endpoint of the issuer")
