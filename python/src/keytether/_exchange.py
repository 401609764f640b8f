"""What an answer of an API means for the credentials, whatever the HTTP library.

One Exchange is one request of the program, with all that redirects and repetitions
make of it. It does no I/O but ask the agent.

A request that comes of a redirect is sent without credentials. If it is refused,
and no redirect has led to another origin so far, and it lies under the resource,
then it is sent once more with headers made for it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import List, Optional, Set

from ._client import Authorization, Client
from ._resource import locate
from .errors import BodyNotRepeatable, KeytetherError

USE_NONCE = "use_dpop_nonce"  # RFC 9449 section 9
BAD_TOKEN = "invalid_token"  # RFC 6750 section 3.1
_BARE = "bare"  # the request had no credentials

HEADERS = ("Authorization", "DPoP")


class Exchange:
    def __init__(self, client: Client, method: str, url: str) -> None:
        self._client = client
        self._at = locate(url)
        self._tried: Set[str] = set()
        self._left = False
        self.sent: Optional[Authorization] = client.authorize(method, url)

    def restart(self) -> None:
        """The request of the program itself is answered, perhaps not for the first time."""
        self._left = False

    def redirected(self, url: str) -> None:
        """The library follows a redirect to url, without credentials."""
        self._reset()
        try:
            self._left = self._left or locate(url).origin != self._at.origin
        except KeytetherError:
            self._left = True

    def again(self, method: str, url: str, status: int, nonce: str, challenges: List[str], repeatable: bool) -> Optional[Authorization]:
        """The headers to send the request once more with, or None if the answer is to be taken as it is."""
        new = self._again(method, url, status, nonce, challenges, repeatable)
        if new is None:
            self._reset()
        return new

    def _reset(self) -> None:
        self.sent = None
        self._tried = set()

    def _again(self, method: str, url: str, status: int, nonce: str, challenges: List[str], repeatable: bool) -> Optional[Authorization]:
        if self._left:
            return None
        fresh = self._client.remember_nonce(self._at.origin, nonce)
        if status != 401:
            return None
        why = self._reason(challenges)
        if not why or why in self._tried or (why == USE_NONCE and not fresh):
            return None
        self._tried.add(why)
        if not repeatable:
            raise BodyNotRepeatable(
                "usage", "the request was not repeated",
                f"the API refused it ({why if why != _BARE else 'after a redirect'}) and its body is a stream that cannot be read again",
                "Give the body as bytes or as a file that can be rewound",
            )  # fmt: skip
        old = self.sent
        rejected = token_hash(old.authorization.reveal()) if old is not None and why == BAD_TOKEN else ""
        try:
            new = self._client.authorize(method, url, rejected=rejected)
        except KeytetherError:
            return None  # the API's own answer says more than ours would
        if why == BAD_TOKEN and old is not None and new.authorization == old.authorization:
            return None
        self.sent = new
        return new

    def _reason(self, challenges: List[str]) -> str:
        if self.sent is None:
            return _BARE
        # The values that matter hold no comma and no quote, so a search for the whole parameter suffices.
        for value in challenges:
            for name in (USE_NONCE, BAD_TOKEN):
                if f'error="{name}"' in value or f"error={name}" in value:
                    return name
        return ""


def token_hash(authorization: str) -> str:
    """The name of the token in an Authorization header, as "ath" is (RFC 9449 section 4.2)."""
    token = authorization.partition(" ")[2]
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
