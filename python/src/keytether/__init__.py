"""Call APIs as the person who is logged in on this computer.

    import requests
    from keytether.requests import Auth

    api = requests.Session()
    api.auth = Auth(resource="https://api.example.test")
    api.get("https://api.example.test/reports")

This package contains no OAuth, holds no key and stores nothing. It asks the Keytether
agent of this user, over a local socket whose other end it checks, for the headers of
each request: a short access token, and a proof by a key that never leaves the agent
(DPoP, RFC 9449). Renewal is the agent's work.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from ._client import Authorization, Client, Token, Whoami
from ._secret import Secret
from ._version import __version__
from .errors import (
    AgentError,
    BodyNotRepeatable,
    Denied,
    Expired,
    KeytetherError,
    NotLoggedIn,
    StoreUnusable,
    Unreachable,
    UsageError,
)

__all__ = [
    "AgentError",
    "Authorization",
    "BodyNotRepeatable",
    "Client",
    "Denied",
    "Expired",
    "KeytetherError",
    "NotLoggedIn",
    "Secret",
    "StoreUnusable",
    "Token",
    "Unreachable",
    "UsageError",
    "Whoami",
    "__version__",
    "login",
    "logout",
    "token",
    "whoami",
]


def token(*, resource: str = "", scope: str = "", profile: Optional[str] = None) -> Token:
    """An access token, for something that can only take a token. Ask again instead of keeping it."""
    return Client(profile=profile, resource=resource, scope=scope).token()


def whoami(*, profile: Optional[str] = None) -> Whoami:
    """Whose login this is. NotLoggedIn if nobody is logged in."""
    return Client(profile=profile).whoami()


def login(
    *,
    issuer: str = "",
    client_id: str = "",
    resource: str = "",
    scope: str = "",
    profile: Optional[str] = None,
    login_hint: str = "",
    flow: str = "auto",
    open_browser: bool = True,
    on_event: Optional[Callable[[Mapping[str, Any]], None]] = None,
) -> Whoami:
    """Log the person in with the browser or with a device code: see Client.login."""
    client = Client(profile=profile, resource=resource, scope=scope)
    return client.login(
        issuer=issuer, client_id=client_id, login_hint=login_hint, flow=flow, open_browser=open_browser, on_event=on_event
    )


def logout(*, profile: Optional[str] = None) -> None:
    """Revoke the login at its server and wipe it here: see Client.logout."""
    Client(profile=profile).logout()
