"""Authorization for httpx, for Client and AsyncClient.

    client = httpx.Client(auth=keytether.httpx.Auth(resource="https://api.example.test"))

The rules are those of keytether.requests. An AsyncClient asks the agent in a thread,
so that its event loop goes on.
"""

from __future__ import annotations

import functools
from typing import Any, AsyncGenerator, Dict, Generator, List, Optional, Tuple

import anyio.to_thread
import httpx

from ._client import Authorization, Client
from ._exchange import HEADERS, Exchange
from .errors import AgentError

__all__ = ["Auth"]


class Auth(httpx.Auth):
    """For one resource and login, any number of clients and threads. The arguments are those of Client."""

    def __init__(
        self, resource: str = "", *, profile: Optional[str] = None, scope: str = "", socket: Optional[str] = None
    ) -> None:
        self.client = Client(profile=profile, resource=resource, scope=scope, socket=socket)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with headers made for it, and again where that helps."""
        exchange = Exchange(self.client, request.method, str(request.url))
        new = exchange.sent
        while new is not None:
            response = yield _with(request, new)
            new = exchange.again(*_answer(exchange, request, response))
            _strip(request)
            request = response.request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The same, without blocking the event loop."""
        exchange = await _in_thread(Exchange, self.client, request.method, str(request.url))
        new = exchange.sent
        while new is not None:
            response = yield _with(request, new)
            question = _answer(exchange, request, response)
            # Nothing of this asks the agent unless the answer was 401.
            new = await _in_thread(exchange.again, *question) if response.status_code == 401 else exchange.again(*question)
            _strip(request)
            request = response.request


async def _in_thread(f: Any, *args: Any) -> Any:
    return await anyio.to_thread.run_sync(functools.partial(f, *args))


def _answer(
    exchange: Exchange, sent: httpx.Request, response: httpx.Response
) -> Tuple[str, str, int, str, List[str], bool]:
    """What Exchange.again wants to know, after it was told of the redirects that httpx followed."""
    request = response.request
    for hop in [*response.history[_hops(response.history, sent) :], response]:
        if hop.request is not sent:
            exchange.redirected(str(hop.request.url))
    headers = response.headers
    return (
        request.method, str(request.url), response.status_code, headers.get("DPoP-Nonce", ""),
        headers.get_list("WWW-Authenticate"), _rewindable(request.stream),
    )  # fmt: skip


def _hops(history: List[httpx.Response], sent: httpx.Request) -> int:
    """Where in the history what was sent last begins."""
    for i in range(len(history), 0, -1):
        if history[i - 1].request is sent:
            return i
    return len(history)


def _rewindable(stream: Any) -> bool:
    """What httpx makes of bytes, text, JSON and forms can be sent again; iterators and plain files cannot."""
    return isinstance(stream, httpx.ByteStream) or type(stream).__name__ == "MultipartStream"


class _Once(httpx.Headers):
    """The headers of one request, with credentials that no copy has.

    httpx makes the request that follows a redirect from a copy of these. Its own rule
    for what to leave out knows nothing of DPoP, and lets Authorization go from http to
    https of a host.
    """

    _own: Dict[str, str] = {}

    def __init__(self, headers: httpx.Headers, own: Dict[str, str]) -> None:
        super().__init__(headers)
        for name in HEADERS:
            if name in self:
                del self[name]
        self._own = own
        if any(name in httpx.Headers(self) for name in HEADERS):
            raise AgentError(
                "unsupported", "the request was not sent", f"httpx {httpx.__version__} copies headers in a way that this package does not know",
                "Use a version of httpx that it was tested with, or update keytether",
            )  # fmt: skip

    def _both(self) -> httpx.Headers:
        return httpx.Headers([*super().raw, *((k.encode(), v.encode()) for k, v in self._own.items())])

    @property
    def raw(self) -> List[Tuple[bytes, bytes]]:
        return self._both().raw

    def __getitem__(self, key: str) -> str:
        for name, value in self._own.items():
            if name.lower() == key.lower():
                return value
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(key) or any(isinstance(key, str) and key.lower() == n.lower() for n in self._own)

    def __repr__(self) -> str:
        return repr(httpx.Headers(self))


def _strip(request: httpx.Request) -> None:
    request.headers = httpx.Headers(request.headers)


def _with(request: httpx.Request, new: Authorization) -> httpx.Request:
    request.headers = _Once(request.headers, new.headers())
    return request


