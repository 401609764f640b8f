"""Which URLs a resource covers, as the Go package login decides it.

The agent decides the same. This is the second lock, in the process that would send
the credential.
"""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import Denied, UsageError

_ODD = re.compile(r"[^\x21-\x7e]|\\")  # what two readers could read differently
_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    origin: str  # scheme://host[:port], the scheme's own port left out
    path: str  # as written, without query and fragment

    @property
    def url(self) -> str:
        return self.origin + self.path


def parse(resource: str) -> Place:
    """A resource indicator (RFC 8707 section 2)."""
    wrong = UsageError("usage", "the resource is wrong", "it is not an absolute URI without a fragment (RFC 8707 section 2)")
    if _ODD.search(resource) or "#" in resource:
        raise wrong
    try:
        parts = urlsplit(resource)
        if not parts.scheme or "@" in parts.netloc:
            raise wrong
        return Place(_origin(parts), parts.path)
    except ValueError:
        raise wrong from None


def locate(url: str) -> Place:
    """Where a request goes."""
    wrong = UsageError("usage", "the request was not sent", "its URL is not an absolute http or https URL that is read in one way only")
    if _ODD.search(url):
        raise wrong
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in _PORTS or not parts.hostname:
            raise wrong
        return Place(_origin(parts), parts.path)
    except ValueError:
        raise wrong from None


def covers(resource: Place, at: Place) -> bool:
    """The same scheme, host and port, and a path that lies under the resource's."""
    if resource.origin != at.origin:
        return False
    # Whole path elements: as they are sent, and as a server reads them that decodes
    # and cleans a path first.
    sent = resource.path.rstrip("/")
    if sent == "":
        return True
    clean = posixpath.normpath("/" + unquote(at.path).replace("\\", "/").lstrip("/"))
    return _inside(sent, at.path) and _inside(unquote(sent), clean)


def outside(resource: Place, at: Place) -> Denied:
    return Denied(
        "resource_not_allowed", "the request was not sent", f"{at.origin} is outside the resource {resource.url}",
        "Use another Auth for that API",
    )  # fmt: skip


def _inside(base: str, path: str) -> bool:
    return path == base or path.startswith(base + "/")


def _origin(parts: SplitResult) -> str:
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if ":" in host:
        host = "[" + host + "]"
    port = parts.port
    if port is not None and port != _PORTS.get(scheme):
        host += f":{port}"
    return scheme + "://" + host
