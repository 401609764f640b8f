"""A keyring backend, so that pip, twine and uv need no stored password.

For a service (an index URL) that lies under the resource of a login here, and for no
other, it gives the user name "keytether" and a short access token. Only Bearer tokens
are given: to its API a bound token in a password field is a copy that somebody found.
It comes after every other backend.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

import keyring.backend
import keyring.credentials
import keyring.errors

from ._client import Client
from ._resource import covers, locate, parse
from .errors import KeytetherError

USERNAME = "keytether"


class ReadOnly(keyring.errors.PasswordSetError, keyring.errors.PasswordDeleteError, NotImplementedError):  # type: ignore[misc]
    """Nothing can be stored here. keyring's chain of backends goes on to the next one."""


class KeytetherKeyring(keyring.backend.KeyringBackend):  # type: ignore[misc]
    """Asks the agent, and keeps nothing."""

    # The lowest that counts: whoever else has something for a service comes first.
    priority = 0.1

    def get_password(self, service: str, username: str) -> Optional[str]:
        """A token for the service, if it is asked for under our user name."""
        if username != USERNAME:
            return None
        return _token(service)

    def get_credential(self, service: str, username: Optional[str]) -> Any:
        """User name and token for the service, whoever asks."""
        if username not in (None, "", USERNAME):
            return None
        token = _token(service)
        return None if token is None else keyring.credentials.SimpleCredential(USERNAME, token)

    def set_password(self, service: str, username: str, password: str) -> None:
        """Refuse."""
        raise ReadOnly("keytether stores no passwords: log in with `keytether login --resource URL`")

    def delete_password(self, service: str, username: str) -> None:
        """Refuse."""
        raise ReadOnly("keytether stores no passwords: `keytether logout` ends a login")


def _token(service: str) -> Optional[str]:
    """The Bearer token of the one login whose resource covers the service; never an error."""
    try:
        profile = _profile(service)
        if profile is None:
            return None
        token = Client(profile=profile["profile"], resource=profile["resource"]).token(token_type="Bearer")
    except KeytetherError:
        return None  # other backends may know, and who asks says what is missing
    return token.access_token.reveal() if token.token_type.lower() == "bearer" else None


def _profile(service: str) -> Optional[Dict[str, Any]]:
    """The login that is meant. pip asks for a URL, and then for its host and port alone."""
    at = locate(service if "://" in service else "https://" + service)
    if "://" not in service and at.path:
        return None
    found = None
    for one in Client().status().get("profiles", []):
        if one.get("resource") and covers(parse(one["resource"]), at):
            if found is not None and len(found["resource"]) >= len(one["resource"]):
                continue
            found = one
    return found
