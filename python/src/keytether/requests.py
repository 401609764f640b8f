"""Authorization for requests.

    session.auth = keytether.requests.Auth(resource="https://api.example.test")

Each request costs one round trip to the agent. A nonce that the API asks for is
remembered, a token that it refuses is renewed, and either leads to one repetition.
After a redirect to another host nothing is sent. The errors are those of keytether;
a request that the agent does not authorize is not sent.
"""

from __future__ import annotations

from typing import Any, Optional
from urllib.parse import urljoin

import requests.auth
import requests.cookies
import requests.utils

from ._client import Client
from ._exchange import HEADERS, Exchange

__all__ = ["Auth"]


class Auth(requests.auth.AuthBase):  # type: ignore[misc]
    """For one resource and login, any number of sessions and threads. The arguments are those of Client."""

    def __init__(
        self, resource: str = "", *, profile: Optional[str] = None, scope: str = "", socket: Optional[str] = None
    ) -> None:
        self.client = Client(profile=profile, resource=resource, scope=scope, socket=socket)

    def __call__(self, r: Any) -> Any:
        exchange = Exchange(self.client, r.method or "GET", r.url)
        assert exchange.sent is not None
        r.headers.pop("DPoP", None)
        r.headers.update(exchange.sent.headers())
        original = r

        def answered(response: Any, **kwargs: Any) -> Any:
            if response.request is original:
                exchange.restart()
            return _settle(exchange, response, kwargs)

        r.register_hook("response", answered)
        return r


def _settle(exchange: Exchange, response: Any, kwargs: Any) -> Any:
    """Repeat the request as long as there is reason to, and give the last answer."""
    while True:
        request = response.request
        # requests copies the headers to the request that follows a redirect, so they must be gone by then.
        _strip(request)
        new = exchange.again(
            request.method, request.url, response.status_code, response.headers.get("DPoP-Nonce", ""),
            [response.headers.get("WWW-Authenticate", "")], _rewindable(request),
        )  # fmt: skip
        if new is None:
            if response.is_redirect:
                exchange.redirected(_target(response))
            return response
        response.content  # read to the end, so that its connection can be used again
        response.close()
        repeated = request.copy()
        requests.cookies.extract_cookies_to_jar(repeated._cookies, request, response.raw)
        repeated.headers.pop("Cookie", None)
        repeated.prepare_cookies(repeated._cookies)
        if repeated._body_position is not None:
            requests.utils.rewind_body(repeated)
        repeated.headers.update(new.headers())
        answer = response.connection.send(repeated, **kwargs)
        answer.history.append(response)
        answer.request = repeated
        response = answer


def _target(response: Any) -> str:
    location: str = requests.utils.requote_uri(response.headers["location"])
    target: str = urljoin(response.url, location)
    return target


def _strip(request: Any) -> None:
    for name in HEADERS:
        request.headers.pop(name, None)


def _rewindable(request: Any) -> bool:
    """requests notes where a file began, and an object() where it could not find out."""
    return request.body is None or isinstance(request.body, (bytes, str)) or isinstance(request._body_position, int)
