"""What else a tool may want, each in a few lines. The test of the guide runs all of it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import httpx
import requests

import keytether
import keytether.httpx
import keytether.logging
import keytether.requests

RESOURCE = "http://127.0.0.1:8431"


def with_httpx() -> str:
    with httpx.Client(auth=keytether.httpx.Auth(RESOURCE)) as api:
        return api.get(RESOURCE + "/reports").text


async def with_asyncio() -> list[str]:
    async with httpx.AsyncClient(auth=keytether.httpx.Auth(RESOURCE)) as api:
        answers = await asyncio.gather(*(api.get(RESOURCE + "/reports") for _ in range(10)))
        return [answer.text for answer in answers]


def when_nobody_is_logged_in(issuer: str) -> None:
    try:
        who = keytether.whoami()
    except keytether.NotLoggedIn:
        who = keytether.login(issuer=issuer, resource=RESOURCE)
    print(f"Hello {who.username or who.subject}")


def with_own_words(issuer: str) -> None:
    def tell(event):
        if event["event"] == "browser":
            print("Sign in here:", event["url"])
        elif event["event"] == "device_code":
            print("Open", event["verification_uri"], "and enter", event["user_code"])

    keytether.login(issuer=issuer, resource=RESOURCE, on_event=tell)


def what_went_wrong() -> int:
    session = requests.Session()
    session.auth = keytether.requests.Auth("http://127.0.0.1:8431/elsewhere")
    try:
        session.get(RESOURCE + "/reports").raise_for_status()
    except keytether.KeytetherError as e:
        print(e, file=sys.stderr)  # what happened, why, what to do
        return e.exit_code  # as the command keytether ends
    return 0


def a_log_without_secrets() -> None:
    logging.basicConfig(level=logging.DEBUG)
    keytether.logging.install()
    logging.info("callback: /callback?code=%s", "c0de")  # /callback?code=[redacted]


def a_program_that_can_only_take_a_token() -> None:
    token = keytether.token(resource=RESOURCE)
    print(token)  # access_token=[redacted]
    subprocess.run([sys.executable, "-c", "input()"], input=token.access_token.reveal(), text=True, check=True)
