"""keytether.requests and keytether.httpx keep the same rules."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any, Callable, Dict, Iterator, List

import httpx
import pytest
import requests

import keytether
import keytether.httpx
import keytether.requests

NONCE = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "n-1"}
BAD = {"WWW-Authenticate": 'DPoP error="invalid_token"'}


def by_requests(method: str, url: str, resource: str, **kwargs: Any) -> int:
    with requests.Session() as s:
        s.auth = keytether.requests.Auth(resource)
        return s.request(method, url, **kwargs).status_code


def by_httpx(method: str, url: str, resource: str, **kwargs: Any) -> int:
    if "data" in kwargs:
        kwargs["content"] = kwargs.pop("data")
    with httpx.Client(auth=keytether.httpx.Auth(resource), follow_redirects=True) as c:
        return c.request(method, url, **kwargs).status_code


def by_async_httpx(method: str, url: str, resource: str, **kwargs: Any) -> int:
    if "data" in kwargs:
        content = kwargs.pop("data")
        kwargs["content"] = content if isinstance(content, (bytes, type(None))) else _async(content)

    async def run() -> int:
        async with httpx.AsyncClient(auth=keytether.httpx.Auth(resource), follow_redirects=True) as c:
            return (await c.request(method, url, **kwargs)).status_code

    return asyncio.run(run())


async def _async(content: Any) -> Any:
    for piece in content:
        yield piece


CALLS = [by_requests, by_httpx, by_async_httpx]
Call = Callable[..., int]
every = pytest.mark.parametrize("call", CALLS)


def bare(request: Dict[str, Any]) -> bool:
    return request["authorization"] is None and request["dpop"] is None


@every
def test_one_round_trip_gives_both_headers(call: Call, agent: Any, api: Any) -> None:
    assert call("GET", api.url + "/reports?year=2026#top", api.url) == 200
    assert [p for _, p, _ in agent.asked] == ["/v1/authorize"]
    assert agent.asked[0][2] == {"resource": api.url, "method": "GET", "url": api.url + "/reports"}
    (seen,) = api.seen
    assert seen["authorization"] == "DPoP made-up-token"
    assert seen["dpop"] == f"proof-1 GET {api.url}/reports -"


@every
def test_bearer_has_no_proof(call: Call, agent: Any, api: Any) -> None:
    agent.token_type = "Bearer"
    assert call("GET", api.url, api.url, headers={"DPoP": "somebody else's"}) == 200
    assert api.seen[0]["authorization"] == "Bearer made-up-token" and api.seen[0]["dpop"] is None


@every
def test_nonce_is_used_and_remembered(call: Call, agent: Any, api: Any) -> None:
    api.answer = lambda r: (200, {"DPoP-Nonce": "n-2"}) if r["dpop"].endswith(" n-1") else (401, NONCE)
    assert call("POST", api.url + "/x", api.url, data=b"body") == 200
    assert [r["body"] for r in api.seen] == [b"body", b"body"]
    assert [a.get("nonce") for a in agent.authorized()] == [None, "n-1"]


def test_nonce_is_remembered_for_the_next_request(agent: Any, api: Any) -> None:
    api.answer = lambda r: (200, {"DPoP-Nonce": f"n-{len(api.seen)}"})
    s = requests.Session()
    s.auth = keytether.requests.Auth(api.url)
    for _ in range(3):
        s.get(api.url)
    api.answer = lambda r: (200, {"DPoP-Nonce": "a b"})  # none that can be used
    s.get(api.url)
    s.get(api.url)
    assert [a.get("nonce") for a in agent.authorized()] == [None, "n-1", "n-2", "n-3", "n-3"]
    s.close()


@every
def test_endless_challenges_end(call: Call, agent: Any, api: Any) -> None:
    api.answer = lambda r: (401, dict(NONCE, **{"DPoP-Nonce": f"n-{len(api.seen)}"}))
    assert call("GET", api.url, api.url) == 401
    assert len(api.seen) == 2


@every
def test_challenge_without_a_nonce_is_not_answered(call: Call, agent: Any, api: Any) -> None:
    api.answer = lambda r: (401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"'})
    assert call("GET", api.url, api.url) == 401
    assert len(api.seen) == 1


@every
def test_refused_token_is_named_and_renewed(call: Call, agent: Any, api: Any) -> None:
    def authorize(body: Dict[str, Any]) -> Any:
        if body.get("rejected"):
            agent.token = "renewed"
        return agent.usual(body)

    agent.answers["/v1/authorize"] = authorize
    api.answer = lambda r: (200, {}) if r["authorization"] == "DPoP renewed" else (401, BAD)
    assert call("POST", api.url, api.url, data=b"x") == 200
    # base64url of the SHA-256 of "made-up-token", as "ath" is
    assert agent.authorized()[1]["rejected"] == "so2Q3SAJco-fGj-SQCZx5PRXtQVEAT3X2fNs3aV1_f4"


@every
def test_refused_token_that_is_not_renewed_is_not_repeated(call: Call, agent: Any, api: Any) -> None:
    api.answer = lambda r: (401, BAD)
    assert call("GET", api.url, api.url) == 401
    assert len(api.seen) == 1


@every
def test_agent_fails_in_between_and_the_api_has_the_word(call: Call, agent: Any, api: Any) -> None:
    def authorize(body: Dict[str, Any]) -> Any:
        if body.get("rejected"):
            return 401, {"code": "not_logged_in", "what": "revoked"}
        return agent.usual(body)

    agent.answers["/v1/authorize"] = authorize
    api.answer = lambda r: (401, BAD)
    assert call("GET", api.url, api.url) == 401


@every
def test_redirect_to_another_origin_goes_without_credentials(call: Call, agent: Any, api: Any, other: Any) -> None:
    api.answer = lambda r: (307, {"Location": other.url + "/steal"})
    other.answer = lambda r: (401, NONCE)
    assert call("POST", api.url, api.url, data=b"x") == 401
    assert bare(other.seen[0]) and len(other.seen) == 1
    assert len(agent.authorized()) == 1


@every
def test_other_origin_leads_back_and_gets_nothing(call: Call, agent: Any, api: Any, other: Any) -> None:
    api.answer = lambda r: (302, {"Location": other.url}) if r["path"] == "/" else (401, BAD)
    other.answer = lambda r: (302, {"Location": api.url + "/transfer"})
    assert call("GET", api.url + "/", api.url) == 401
    assert [r["path"] for r in api.seen] == ["/", "/transfer"]
    assert bare(api.seen[1])


@every
def test_redirect_within_the_resource_is_authorized_anew(call: Call, agent: Any, api: Any) -> None:
    def answer(r: Dict[str, Any]) -> Any:
        if r["path"] == "/reports":
            return 307, {"Location": "/reports/"}
        return (200, {}) if r["authorization"] else (401, {"WWW-Authenticate": "DPoP"})

    api.answer = answer
    assert call("POST", api.url + "/reports", api.url, data=b"x") == 200
    assert [r["path"] for r in api.seen] == ["/reports", "/reports/", "/reports/"]
    assert bare(api.seen[1])
    assert api.seen[2]["dpop"].startswith(f"proof-2 POST {api.url}/reports/ ") and api.seen[2]["body"] == b"x"


@every
def test_redirect_out_of_the_resource_goes_without(call: Call, agent: Any, api: Any) -> None:
    api.answer = lambda r: (302, {"Location": "/elsewhere"}) if r["path"] == "/v1/x" else (401, BAD)
    assert call("GET", api.url + "/v1/x", api.url + "/v1") == 401
    assert bare(api.seen[1]) and len(api.seen) == 2


@every
@pytest.mark.parametrize("path", ["/v2", "/v1/../v2", "/v1x", "/v1/%2e%2e/v2", "/"])
def test_nothing_is_sent_outside_the_resource(call: Call, path: str, agent: Any, api: Any, other: Any) -> None:
    for url in (api.url + path, other.url + "/v1/x"):
        with pytest.raises(keytether.Denied, match="is outside the resource"):
            call("GET", url, api.url + "/v1")
    assert not agent.asked and not api.seen and not other.seen


@every
def test_agents_errors_come_as_they_are(call: Call, agent: Any, api: Any) -> None:
    agent.answers["/v1/authorize"] = lambda b: (401, {"code": "not_logged_in", "what": "there is no login", "why": "a reason", "do": "Log in"})
    with pytest.raises(keytether.NotLoggedIn) as e:
        call("GET", api.url, api.url)
    assert str(e.value) == "there is no login: a reason. Log in" and e.value.exit_code == 3
    assert not api.seen


def stream() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


@every
def test_stream_is_sent_once_and_said_to_be(call: Call, agent: Any, api: Any) -> None:
    assert call("POST", api.url, api.url, data=stream()) == 200
    assert api.seen[0]["body"] == b"onetwo"
    api.answer = lambda r: (401, NONCE)
    with pytest.raises(keytether.BodyNotRepeatable, match="a stream that cannot be read again"):
        call("POST", api.url, api.url, data=stream())
    assert len(api.seen) == 2


def test_file_is_rewound(agent: Any, api: Any) -> None:
    api.answer = lambda r: (200, {}) if r["dpop"].endswith(" n-1") else (401, NONCE)
    f = io.BytesIO(b"0123456789")
    f.read(4)
    assert by_requests("PUT", api.url, api.url, data=f) == 200
    assert [r["body"] for r in api.seen] == [b"456789", b"456789"]


def test_answer_does_not_carry_the_credentials_on(agent: Any, api: Any) -> None:
    api.answer = lambda r: (200, {}) if r["dpop"].endswith(" n-1") else (401, NONCE)
    r = requests.get(api.url, auth=keytether.requests.Auth(api.url))
    h = httpx.get(api.url, auth=keytether.httpx.Auth(api.url))
    for answer in (r, h, *r.history, *h.history):
        assert "Authorization" not in answer.request.headers and "DPoP" not in answer.request.headers


def test_prepared_request_can_be_sent_again(agent: Any, api: Any) -> None:
    api.answer = lambda r: (200, {}) if r["authorization"] else (401, {"WWW-Authenticate": "DPoP"})
    with requests.Session() as s:
        p = s.prepare_request(requests.Request("GET", api.url, auth=keytether.requests.Auth(api.url)))
        assert [s.send(p).status_code for _ in range(3)] == [200, 200, 200]


def test_httpx_leaves_the_redirect_to_the_caller(agent: Any, api: Any, other: Any) -> None:
    api.answer = lambda r: (302, {"Location": other.url})
    with httpx.Client(auth=keytether.httpx.Auth(api.url)) as c:
        r = c.get(api.url)
        assert r.next_request is not None
        assert "Authorization" not in r.next_request.headers and "DPoP" not in r.next_request.headers
        with pytest.raises(keytether.Denied):
            c.send(r.next_request)
    assert not other.seen


def test_httpx_keeps_the_loop_going(agent: Any, api: Any) -> None:
    held = threading.Event()
    released: List[bool] = []

    def authorize(body: Dict[str, Any]) -> Any:
        released.append(held.wait(5))
        return agent.usual(body)

    agent.answers["/v1/authorize"] = authorize

    async def run() -> int:
        async with httpx.AsyncClient(auth=keytether.httpx.Auth(api.url)) as c:
            request = asyncio.ensure_future(c.get(api.url))
            await asyncio.sleep(0.05)
            assert not request.done()
            held.set()  # only a loop that goes on comes here before the agent answers
            return (await request).status_code

    assert asyncio.run(run()) == 200
    assert released == [True]


def test_many_threads_share_one_auth(agent: Any, api: Any) -> None:
    auth = keytether.requests.Auth(api.url)
    codes: List[int] = []

    def work() -> None:
        for _ in range(5):
            codes.append(requests.get(api.url, auth=auth).status_code)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert codes == [200] * 100
    assert len({r["dpop"] for r in api.seen}) == 100
