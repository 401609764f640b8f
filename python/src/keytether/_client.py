from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional
from urllib.parse import quote

from . import _login, _resource, _socket, _wire
from ._agent import Agent
from ._secret import Secret
from .errors import AgentError, Unreachable

MAX_NONCE = 512  # characters of one DPoP-Nonce
MAX_ORIGINS = 64  # origins whose nonce is remembered


@dataclass(frozen=True)
class Token:
    """An access token for something that can only take a token.

    A token of type DPoP is refused by its API without a proof, which only the agent
    can make: use keytether.requests.Auth or keytether.httpx.Auth for those.
    """

    access_token: Secret
    token_type: str  # "DPoP" or "Bearer"
    expires_at: Optional[datetime]  # UTC, whole seconds
    scope: str  # names separated by spaces
    resource: str  # empty if the server does not say


@dataclass(frozen=True)
class Whoami:
    """Whose login it is. Fields are empty where the server does not say."""

    profile: str
    issuer: str  # the authorization server (RFC 8414)
    subject: str  # the account's id at the issuer
    username: str  # what a person calls the account
    client_id: str
    grant_id: str
    scope: str  # names separated by spaces
    resource: str
    flow: str  # "browser" or "device"
    expires_at: Optional[datetime]  # end of the whole login, UTC


class Authorization(NamedTuple):
    """The header values of one request."""

    authorization: Secret
    dpop: Optional[Secret]  # None for a Bearer token

    def headers(self) -> Dict[str, str]:
        """Both headers, to be put on the request and nowhere else."""
        out = {"Authorization": self.authorization.reveal()}
        if self.dpop is not None:
            out["DPoP"] = self.dpop.reveal()
        return out


def whoami_of(got: Mapping[str, Any]) -> Whoami:
    return Whoami(
        profile=got.get("profile", ""), issuer=got.get("issuer", ""), subject=got.get("subject", ""),
        username=got.get("username", ""), client_id=got.get("client_id", ""), grant_id=got.get("grant_id", ""),
        scope=got.get("scope", ""), resource=got.get("resource", ""), flow=got.get("flow", ""),
        expires_at=got.get("expires_at"),
    )  # fmt: skip


class Client:
    """Asks the agent of this user. For any number of threads; make one per profile and resource.

    profile: which login, when there are several; else KEYTETHER_PROFILE, else "default".
    resource: the API's resource indicator (RFC 8707). No request outside it gets a credential.
    scope: narrows the login's scope, names separated by spaces; it cannot widen it.
    socket: path of the agent's socket; else as the environment says.
    """

    def __init__(
        self, *, profile: Optional[str] = None, resource: str = "", scope: str = "", socket: Optional[str] = None
    ) -> None:
        self.profile = os.environ.get("KEYTETHER_PROFILE", "") if profile is None else profile
        self.resource = resource
        self.scope = scope
        environ = os.environ if socket is None else {"KEYTETHER_SOCKET": socket}
        self._within = _resource.parse(resource) if resource else None
        self._agent = _agent_at(_socket.path(environ))
        self._nonces: Dict[str, str] = {}

    def __repr__(self) -> str:
        return f"keytether.Client(profile={self.profile!r}, resource={self.resource!r}, scope={self.scope!r})"

    def token(self, *, token_type: str = "") -> Token:
        """An access token. The agent renews it when it is about to end: ask again instead of keeping it.

        token_type "Bearer" asks for one that is bound to no key, for a program that cannot
        prove one. There is one only where the server lets client and resource do without.
        """
        got = self._agent.call("POST", "/v1/token", _wire.TOKEN, _wire.encode(dict(self._asked(), token_type=token_type)))
        if "access_token" not in got:
            raise AgentError("failed", "the agent's answer is not understood", "there is no token in it")
        return Token(
            got["access_token"], got.get("token_type", ""), got.get("expires_at"), got.get("scope", ""), got.get("resource", "")
        )

    def whoami(self) -> Whoami:
        """Whose login this is."""
        query = "?profile=" + quote(self.profile, safe="") if self.profile else ""
        return whoami_of(self._agent.call("GET", "/v1/whoami" + query, _wire.WHOAMI))

    def login(
        self,
        *,
        issuer: str = "",
        client_id: str = "",
        login_hint: str = "",
        flow: str = "auto",
        open_browser: bool = True,
        callback_port: int = 0,
        on_event: Optional[Callable[[Mapping[str, Any]], None]] = None,
        binary: str = "",
    ) -> Whoami:
        """Log the person in by `keytether login`, which starts an agent if none runs.

        login_hint is the account meant: if another signs in, the login is refused.
        on_event gets each event as a dict: "browser" (url), "device_code" (user_code,
        verification_uri, expires_at), "waiting". Without it what the person has to do
        is written to stderr.
        """
        done = _login.run(
            _login.arguments(
                profile=self.profile, resource=self.resource, scope=self.scope, issuer=issuer, client_id=client_id, login_hint=login_hint,
                flow=flow, open_browser=open_browser, callback_port=callback_port,
            ),
            binary=binary, socket=self._agent.path, on_event=on_event,
        )  # fmt: skip
        return whoami_of(done)

    def logout(self) -> None:
        """Revoke the login at its server and wipe it here.

        It is wiped even when the server cannot be reached. Then Unreachable is raised,
        and the login lives on at the server until it expires.
        """
        got = self._agent.call("POST", "/v1/logout", _wire.LOGOUT, _wire.encode({"profile": self.profile}))
        if not got.get("wiped"):
            raise AgentError("failed", "the login was not wiped", got.get("warning", ""))
        if not got.get("revoked") and not got.get("no_revocation"):
            raise Unreachable("unreachable", "the login was wiped here but not revoked at its server", got.get("warning", ""))

    def authorize(self, method: str, url: str, *, rejected: str = "") -> Authorization:
        """The headers of one request, which are good once. One round trip to the agent.

        rejected names an access token that the API refused, as token_hash does.
        """
        at = _resource.locate(url)
        if self._within is not None and not _resource.covers(self._within, at):
            raise _resource.outside(self._within, at)
        asked = self._asked()
        # The proof is made without query and fragment (RFC 9449 section 4.2), so the agent need not see them.
        asked.update(method=method, url=at.url, nonce=self._nonces.get(at.origin, ""), rejected=rejected)
        got = self._agent.call("POST", "/v1/authorize", _wire.AUTHORIZE, _wire.encode(asked))
        if "authorization" not in got:
            raise AgentError("failed", "the agent's answer is not understood", "there is no token in it")
        return Authorization(got["authorization"], got.get("dpop"))

    def remember_nonce(self, origin: str, nonce: str) -> bool:
        """Keep an API's DPoP-Nonce (RFC 9449 section 8.2), and say whether it is one that can be used."""
        if not nonce or len(nonce) > MAX_NONCE or not nonce.isascii() or any(c <= " " or c > "~" for c in nonce):
            return False
        if origin not in self._nonces and len(self._nonces) >= MAX_ORIGINS:
            self._nonces.clear()
        self._nonces[origin] = nonce
        return True

    def status(self) -> Dict[str, Any]:
        """The agent and all its logins, with the field names of the wire."""
        return self._agent.call("GET", "/v1/status", _wire.STATUS)

    def _asked(self) -> Dict[str, str]:
        return {"profile": self.profile, "resource": self.resource, "scope": self.scope}


_agents: Dict[str, Agent] = {}


def _agent_at(path: str) -> Agent:
    """One Agent per socket, so that all clients of a process share its connections."""
    return _agents.setdefault(path, Agent(path))
