from __future__ import annotations

from typing import Any, Dict, List

import keyring.backend
import keyring.backends.chainer
import keyring.errors
import pytest

from keytether.keyring_backend import KeytetherKeyring


@pytest.fixture
def packages(agent: Any) -> Any:
    """An agent that is logged in at an index that takes Bearer tokens, and at an API that does not."""
    profiles: List[Dict[str, Any]] = [
        {"profile": "default", "resource": "https://api.test", "token_type": "DPoP"},  # takes bound tokens alone
        {"profile": "index", "resource": "https://pypi.test/simple", "token_type": "Bearer"},
        {"profile": "all", "resource": "https://whole.test", "token_type": "Bearer"},
    ]
    agent.token_type = "Bearer"
    agent.answers["/v1/status"] = lambda b: (200, {"profiles": profiles})

    def token(body: Dict[str, Any]) -> Any:
        assert body["token_type"] == "Bearer"
        return (403, {"code": "denied", "what": "bound"}) if body["profile"] == "default" else agent.usual(body)

    agent.answers["/v1/token"] = token
    return agent


def test_only_the_login_for_that_index(packages: Any) -> None:
    backend = KeytetherKeyring()
    table = [
        ("https://pypi.test/simple", "index"),
        ("https://pypi.test/simple/", "index"),
        ("https://pypi.test:443/simple/keytether/", "index"),
        ("https://whole.test/x", "all"),
        ("whole.test", "all"),
        ("pypi.test", None),
        ("https://pypi.test/legacy", None),
        ("http://pypi.test/simple", None),
        ("https://pypi.test.evil.test/simple", None),
        ("https://api.test/", "refused"),
        ("https://upload.pypi.org/legacy/", None),
        ("my-service", None),
        ("", None),
        ("a b\n", None),
    ]
    for service, profile in table:
        packages.asked.clear()
        got = backend.get_credential(service, None)
        asked = [b["profile"] for _, path, b in packages.asked if path == "/v1/token"]
        if profile == "refused":
            assert got is None and asked == ["default"]
            continue
        assert (got is not None) == (profile is not None), service
        assert asked == ([profile] if profile else []), service
        if got is not None:
            assert (got.username, got.password) == ("keytether", "made-up-token")
    assert backend.get_password("https://whole.test", "keytether") == "made-up-token"
    assert backend.get_password("https://whole.test", "person") is None
    assert backend.get_credential("https://whole.test", "person") is None


def test_a_bound_token_is_never_given(packages: Any) -> None:
    packages.token_type = "DPoP"
    assert KeytetherKeyring().get_credential("https://whole.test", None) is None


def test_without_an_agent_there_is_nothing(agent: Any) -> None:
    agent.stop()
    assert KeytetherKeyring().get_credential("https://whole.test", None) is None


class Other(keyring.backend.KeyringBackend):
    priority = 1
    stored: Dict[Any, str] = {}

    def get_password(self, service: str, username: str) -> Any:
        return self.stored.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.stored[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.stored[service, username]


def test_it_takes_nothing_over(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {type(b) for b in keyring.backend.get_all_keyring()}
    assert KeytetherKeyring in found, "the entry point of the wheel is not there"
    chain = [KeytetherKeyring(), Other()]
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", sorted(chain, key=lambda b: -b.priority))
    both = keyring.backends.chainer.ChainerBackend()
    both.set_password("https://whole.test", "keytether", "theirs")
    assert both.get_password("https://whole.test", "keytether") == "theirs"
    both.delete_password("https://whole.test", "keytether")
    assert both.get_password("https://whole.test", "keytether") == "made-up-token"
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", chain)
    both.set_password("x", "y", "z")  # even if it came first
    assert both.get_password("x", "y") == "z"


def test_storing_is_refused_with_words() -> None:
    with pytest.raises(keyring.errors.PasswordSetError, match="keytether login"):
        KeytetherKeyring().set_password("a", "b", "c")
    with pytest.raises(keyring.errors.PasswordDeleteError, match="keytether logout"):
        KeytetherKeyring().delete_password("a", "b")
