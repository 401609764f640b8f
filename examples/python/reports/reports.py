"""A tool that reads reports as the person who is logged in. Copy it and put your own requests in.

    reports.py                                      after keytether login --resource URL
    reports.py --issuer http://127.0.0.1:8430       logs in itself when nobody is
    reports.py --every 60 --times 1440              a day of work; tokens are renewed on the way
    reports.py --logout                             ends the login
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import requests

import keytether
import keytether.logging
from keytether.requests import Auth


def main() -> int:
    parser = argparse.ArgumentParser(description="Read reports as the person who is logged in.")
    parser.add_argument("--issuer", default="", help="log in at this server when nobody is logged in")
    parser.add_argument("--client", default="", help="client id at the issuer")
    parser.add_argument("--resource", default="http://127.0.0.1:8431", help="the API's URL")
    parser.add_argument("--every", type=float, default=60, help="seconds between two reports")
    parser.add_argument("--times", type=int, default=1, help="how many reports")
    parser.add_argument("--logout", action="store_true", help="end the login")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what goes on, secrets masked")
    args = parser.parse_args()

    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.WARNING)
    keytether.logging.install()
    try:
        if args.logout:
            keytether.logout()
            return 0
        if args.issuer:
            ensure(args.issuer, args.client, args.resource)
        read(args.resource, args.every, args.times)
        return 0
    except keytether.KeytetherError as e:
        print(f"reports: {e}", file=sys.stderr)
        return e.exit_code
    except requests.RequestException as e:
        print(f"reports: {e}", file=sys.stderr)
        return 1


def ensure(issuer: str, client: str, resource: str) -> None:
    """Log the person in when nobody is."""
    try:
        keytether.whoami()
    except keytether.NotLoggedIn:
        who = keytether.login(issuer=issuer, client_id=client, resource=resource)
        print(f"Logged in as {who.username or who.subject}", file=sys.stderr)


def read(resource: str, every: float, times: int) -> None:
    """The same session for as long as it takes: no token is ever kept here."""
    api = requests.Session()
    api.auth = Auth(resource)
    for n in range(times):
        if n:
            time.sleep(every)
        answer = api.get(resource + "/reports", timeout=30)
        answer.raise_for_status()
        print(answer.text.strip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
