"""Every error of this package: what happened, why, and what to do.

The words are the command's own, and none of them holds a token, a code or a URL
with a query. The codes are the closed list of the agent's wire.
"""

from __future__ import annotations

from typing import Dict, Type


class KeytetherError(Exception):
    """What all errors of this package are. str() is one line for a person."""

    def __init__(self, code: str, what: str, why: str = "", do: str = "") -> None:
        super().__init__(code, what, why, do)
        self.code = code
        self.what = what
        self.why = why
        self.do = do

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += ": " + self.why
        if self.do:
            text += ". " + self.do
        return text

    @property
    def exit_code(self) -> int:
        """The exit code with which the command keytether ends for this error."""
        return _EXIT_CODES.get(self.code, 1)


class UsageError(KeytetherError):
    """The call is wrong and will be wrong again."""


class BodyNotRepeatable(UsageError):
    """The API asked for the request again, and its body is a stream that was read already."""


class NotLoggedIn(KeytetherError):
    """Nobody is logged in, or the login was revoked or has expired, or no agent runs. Log in."""


class Denied(KeytetherError):
    """The person or policy said no; or the URL, resource or scope is not this login's."""


class Expired(KeytetherError):
    """Nobody finished the login in time."""


class Unreachable(KeytetherError):
    """The authorization server cannot be reached."""


class StoreUnusable(KeytetherError):
    """No credential store works, or the one that was named wants its passphrase."""


class AgentError(KeytetherError):
    """The agent is locked, too old, ended meanwhile, or is not who it should be."""


_EXIT_CODES: Dict[str, int] = {
    "failed": 1,
    "locked": 1,
    "clock": 1,
    "agent_gone": 1,
    "busy": 1,
    "unsupported": 1,
    "usage": 2,
    "not_logged_in": 3,
    "denied": 4,
    "scope": 4,
    "resource_not_allowed": 4,
    "account_mismatch": 4,
    "expired": 5,
    "unreachable": 6,
    "store_unusable": 7,
    "passphrase_wanted": 7,
    "new_passphrase_wanted": 7,
}

_CLASSES: Dict[str, Type[KeytetherError]] = {
    "usage": UsageError,
    "not_logged_in": NotLoggedIn,
    "denied": Denied,
    "scope": Denied,
    "resource_not_allowed": Denied,
    "account_mismatch": Denied,
    "expired": Expired,
    "unreachable": Unreachable,
    "store_unusable": StoreUnusable,
    "passphrase_wanted": StoreUnusable,
    "new_passphrase_wanted": StoreUnusable,
}


def of(code: str, what: str, why: str = "", do: str = "") -> KeytetherError:
    """The error of a code; of a code that only a newer agent has, an AgentError."""
    return _CLASSES.get(code, AgentError)(code, what, why, do)
