"""`/v1/generate`: the same request with the decision in the body."""

from __future__ import annotations

from typing import Any

import pytest

from cache_service.answer import Failed, Report, Result, Served
from cache_service.decision import Directives
from cache_service.errors import UpstreamTimeout
from tests.fakes.service import BODY, HIT, KEY, Asked, Bench, make_bench
from tests.fakes.upstream import FakeUpstream

REQUEST = {"operation": "images", "request": {"prompt": "a fox"}}


@pytest.fixture
def bench() -> Bench:
    """Anonymous."""
    return make_bench()


def _answer(bench: Bench, result: Result) -> None:
    async def answer(asked: Asked) -> Result:
        return result

    bench.cache.answer = answer


async def test_the_decision_stands_beside_the_answer(bench: Bench) -> None:
    """Why it is what it is, the answer byte for byte, and the same headers as elsewhere."""
    report = Report(
        "hit", key=KEY, kind="semantic", reason="no rule objects", similarity=0.97, matched_prompt="the fox", age=3.0,
        saved_usd=0.05,
    )  # fmt: skip
    _answer(bench, Served(200, b'{ "data" : [1.0] }', "application/json", report))
    async with bench.client() as client:
        response = await client.post("/v1/generate", json=REQUEST)
    assert response.json() == {
        "cache": {
            "decision": "hit", "kind": "semantic", "reason": "no rule objects", "detail": "", "similarity": 0.97, "key": KEY,
            "age": 3.0, "ttl": None, "stored": False, "matched_prompt": "the fox", "fallback": None,
            "provider": None, "usd": None, "estimated_usd": None, "saved_usd": 0.05,
        },
        "response": {"data": [1.0]},
    }  # fmt: skip
    assert b'"response":{ "data" : [1.0] }}' in response.content
    assert response.headers["cache-status"].startswith("cache_service; hit; ")
    assert response.headers["age"] == "3"


async def test_the_request_reaches_the_operation_as_it_is(bench: Bench) -> None:
    """The body is OpenAI's; directives and tags of header and body count together, the stricter of each."""
    cache: dict[str, Any] = {"max_age": 60, "similarity": 0.93, "tags": ["b"], "exact_only": None}
    async with bench.client() as client:
        headers = {"cache-control": "max-age=90, similarity=0.95, no-store", "cache-tag": "a"}
        await client.post("/v1/generate", json={**REQUEST, "cache": cache}, headers=headers)
    (asked,) = bench.cache.asked
    assert (asked.operation, asked.body, asked.tags) == ("images", {"prompt": "a fox"}, frozenset("ab"))
    assert asked.directives == Directives(no_store=True, max_age=60, similarity=0.95)


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b'{"a":1}x', b"\xff"])
async def test_an_answer_that_is_no_json_is_a_string(bench: Bench, body: bytes) -> None:
    """Whatever an upstream sends, this body is JSON."""
    _answer(bench, Served(200, body, "application/json", Report("miss", forwarded="miss")))
    async with bench.client() as client:
        response = await client.post("/v1/generate", json=REQUEST)
    assert response.json()["response"] == body.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "operation", "images"),
        ({"operation": "images"}, "request", "object"),
        ({"operation": "music", "request": {}}, "operation", "chat, images"),
        ({"operation": 1, "request": {}}, "operation", "images"),
        ({"operation": "images", "request": []}, "request", "object"),
        ({**REQUEST, "cach": {}}, "cach", "did you mean 'cache'?"),
        ({**REQUEST, "cache": []}, "cache", "object"),
        ({**REQUEST, "cache": {"max_agee": 1}}, "cache.max_agee", "did you mean 'max_age'?"),
        ({**REQUEST, "cache": {"ttl": 1}}, "cache.ttl", "known are"),
        ({**REQUEST, "cache": {"max_age": "1"}}, "cache.max_age", "number"),
        ({"operation": "images", "request": {"prompt": ""}}, "prompt", "empty"),
        ({"operation": "images", "request": {"prompt": "a", "stream": True}}, "request.stream", "own route"),
    ],
)
async def test_what_is_wrong_is_said_by_name(bench: Bench, body: Any, param: str, says: str) -> None:
    """As problem details, with the member at fault."""
    async with bench.client() as client:
        response = await client.post("/v1/generate", json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["param"] == param
    assert says in response.json()["detail"]
    assert response.headers["cache-status"].startswith("cache_service; detail=")
    assert not bench.cache.asked


async def test_a_failure_is_problem_details(bench: Bench) -> None:
    """With `Cache-Status` of how far it got."""
    _answer(bench, Failed(UpstreamTimeout("too slow"), Report("miss", key=KEY, forwarded="miss")))
    async with bench.client() as client:
        response = await client.post("/v1/generate", json=REQUEST)
    assert (response.status_code, response.json()["code"]) == (504, "upstream_timeout")
    assert "fwd=miss" in response.headers["cache-status"]


async def test_the_simulator_is_named() -> None:
    """On answers and failures, so that nobody takes its pictures for real ones."""
    bench = make_bench(upstream=FakeUpstream(simulated=True))
    async with bench.client() as client:
        for result in (Served(200, BODY, "application/json", HIT), Failed(UpstreamTimeout("x"), HIT)):
            _answer(bench, result)
            response = await client.post("/v1/generate", json=REQUEST)
            assert response.headers["x-cache-service-upstream"] == "simulator"


@pytest.mark.parametrize("beside", [True, False])
async def test_a_preset_may_stand_beside_the_request_or_in_it(beside: bool) -> None:
    bench = make_bench()
    body: dict[str, Any] = {"operation": "images", "request": {"prompt": "p"}}
    (body if beside else body["request"])["preset"] = "speed"
    async with bench.client() as client:
        assert (await client.post("/v1/generate", json=body)).status_code == 200
    assert bench.cache.asked[0].body == {"prompt": "p", "preset": "speed"}


async def test_an_empty_word_in_the_request_does_not_hide_the_one_beside_it() -> None:
    """`null` says nothing, there as anywhere; the word beside it is read, and judged."""
    bench = make_bench()
    body = {"operation": "images", "preset": "speed", "request": {"prompt": "p", "preset": None}}
    async with bench.client() as client:
        assert (await client.post("/v1/generate", json=body)).status_code == 200
    assert bench.cache.asked[0].body == {"prompt": "p", "preset": "speed"}


@pytest.mark.parametrize("word", ["preset", "use_case"])
async def test_a_word_said_twice_is_refused_rather_than_left_unread(bench: Bench, word: str) -> None:
    body = {"operation": "images", word: {}, "request": {"prompt": "p", word: "icon"}}
    async with bench.client() as client:
        refused = await client.post("/v1/generate", json=body)
    assert (refused.status_code, refused.json()["param"]) == (400, word)
    assert not bench.cache.asked
