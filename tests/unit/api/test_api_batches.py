"""Batches over HTTP: what comes when, what is refused and where, who sees whose, and that the client may go."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from cache_service.answer import Failed, Report, Result, Served
from cache_service.decision import Directives
from cache_service.errors import UpstreamTimeout
from tests.fakes.service import BODY, HIT, Asked, Bench, make_bench, serve

BATCHES = "/v1/generate/batches"
NDJSON = {"content-type": "application/x-ndjson"}
ASYNC = {"prefer": "wait=1, respond-async"}


def images(*prompts: str, **members: Any) -> list[dict[str, Any]]:
    return [{"operation": "images", "request": {"prompt": prompt}, **members} for prompt in prompts]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def whole(client: httpx.AsyncClient, url: str, **params: Any) -> list[dict[str, Any]]:
    """Every line until the batch has ended."""
    return lines((await client.get(url, params={"follow": "true", **params})).text)


def held(bench: Bench) -> asyncio.Event:
    """The cache answers nothing until the event is set."""
    gate = asyncio.Event()

    async def answer(asked: Asked) -> Result:
        await gate.wait()
        return await serve(asked)

    bench.cache.answer = answer
    return gate


async def test_results_come_as_lines_between_how_it_stands_first_and_last() -> None:
    bench = make_bench()
    async with bench.client() as client:
        response = await client.post(BATCHES, json=images("a fox", "an owl"))
        assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
        first, *results, last = lines(response.text)
        assert response.headers["location"] == f"{BATCHES}/{first['batch']['id']}"
        assert (await client.get(response.headers["location"])).json()["state"] == "completed"
    assert (first["batch"]["state"], first["batch"]["total"], first["batch"]["ended"]) == ("running", 2, 0)
    assert [one["number"] for one in results] == [1, 2]
    assert {one["index"] for one in results} == {0, 1}
    for one in results:
        assert one["cache"]["decision"] == "hit"
        assert one["response"]["data"][0]["url"].startswith("/v1/blobs/")
    assert (last["batch"]["state"], last["batch"]["progress"], last["batch"]["counts"]["hits"]) == ("completed", 1.0, 2)


@pytest.mark.parametrize("as_lines", [True, False])
async def test_lines_or_a_list_with_options_or_without(as_lines: bool) -> None:
    bench = make_bench()
    options, requests = (
        {"concurrency": 1, "budget_usd": 3},
        images("a fox", "an owl", cache={"max_stale": True, "tags": ["x"]}),
    )
    async with bench.client() as client:
        if as_lines:
            text = "\n\n".join(map(json.dumps, [{"batch": options}, *requests]))
            response = await client.post(BATCHES, content=text.encode(), headers={**NDJSON, "cache-tag": "y"})
        else:
            response = await client.post(
                BATCHES, json={"batch": options, "requests": requests}, headers={"cache-tag": "y"}
            )
    assert lines(response.text)[0]["batch"]["options"] | options == lines(response.text)[0]["batch"]["options"]
    asked = [one for one in bench.cache.asked if not one.directives.only_if_cached]
    assert [one.body["prompt"] for one in bench.cache.asked] == ["a fox", "an owl"]
    assert not asked  # with a budget what is there is looked for first
    assert bench.cache.asked[0].tags == {"x", "y"}
    assert bench.cache.asked[0].directives == Directives(max_stale=float("inf"), only_if_cached=True)
    assert bench.cache.asked[0].priority < 0


WRONG: dict[str, tuple[Any, str, int | None]] = {
    "an operation": ([*images("a"), {"operation": "video", "request": {}}], "unknown_operation", 1),
    "no request": ([{"operation": "images"}], "invalid_type", 0),
    "a member": (images("a", "b", cahce={}), "unknown_member", 0),
    "a stream": (
        [*images("a", "b"), {"operation": "images", "request": {"prompt": "a", "stream": True}}],
        "stream_not_supported",
        2,
    ),
    "a stream that is none": ([{"operation": "images", "request": {"prompt": "a", "stream": 0}}], "invalid_type", 0),
    "no-store": (images("a", cache={"no_store": True}), "not_in_a_batch", 0),
    "a tag": (images("a", cache={"tags": [""]}), "invalid_tag", 0),
    "a string": (["a"], "invalid_type", 0),
    "nothing": ([], "empty_batch", None),
    "no list": ({"batch": {}}, "invalid_type", None),
    "another member": ({"requests": images("a"), "bach": {}}, "unknown_member", None),
    "an option": ({"requests": images("a"), "batch": {"budget": 1}}, "unknown_member", None),
    "an option's value": ({"requests": images("a"), "batch": {"budget_usd": -1}}, "invalid_type", None),
    "no concurrency": ({"requests": images("a"), "batch": {"concurrency": 0}}, "invalid_type", None),
    "a flag": ({"requests": images("a"), "batch": {"via_batch_api": 1}}, "invalid_type", None),
}


@pytest.mark.parametrize(("body", "code", "index"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_names_the_item_and_nothing_is_begun(body: Any, code: str, index: int | None) -> None:
    bench = make_bench()
    async with bench.client() as client:
        responses = [await client.post(BATCHES, json=body)]
        if isinstance(body, list) and body:
            responses.append(
                await client.post(BATCHES, content="\n".join(map(json.dumps, body)).encode(), headers=NDJSON)
            )
    for response in responses:
        assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
        assert (response.json()["code"], response.json().get("index")) == (code, index)
    assert not bench.batches.batches
    assert not bench.cache.asked


async def test_a_broken_line_names_itself_and_the_item() -> None:
    async with make_bench().client() as client:
        text = "\n".join(
            [*map(json.dumps, images("a", "b")), "", '{"operation": "images", "request": {"prompt": NaN}}']
        )
        refused = (await client.post(BATCHES, content=text.encode(), headers=NDJSON)).json()
    assert (refused["code"], refused["index"], "line 4" in refused["detail"]) == ("invalid_json", 2, True)


async def test_items_and_bytes_are_bounded_and_this_route_alone_takes_more() -> None:
    bench = make_bench(max_batch_items=2, max_batch_bytes=4000, max_body_bytes=300)
    async with bench.client() as client:
        assert (await client.post(BATCHES, json=images("a", "b", "c"))).json()["code"] == "too_many_items"
        assert (await client.post(BATCHES, json=images("a" * 4000))).json()["code"] == "body_too_large"
        assert (await client.post(BATCHES, json=images("a" * 1000))).status_code == 200
        assert (await client.post("/v1/generate", json=images("a" * 1000)[0])).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-ndjson2", "multipart/form-data; boundary=x", ""])
async def test_no_web_page_can_send_one(kind: str) -> None:
    async with make_bench().client() as client:
        response = await client.post(BATCHES, content=b"[]", headers={"content-type": kind})
    assert response.status_code == 415


async def test_a_client_may_go_and_come_back_for_the_rest() -> None:
    bench = make_bench()
    gate = held(bench)
    async with bench.client() as client:
        accepted = await client.post(BATCHES, json=images("a", "b", "c"), headers=ASYNC)
        assert (accepted.status_code, accepted.headers["preference-applied"]) == (202, "respond-async")
        url = accepted.headers["location"]
        assert (await client.get(url)).json()["counts"]["waiting"] == 3
        gate.set()
        everything = await whole(client, url)
        assert [one["number"] for one in everything[1:-1]] == [1, 2, 3]
        assert (await whole(client, url, offset=2))[1:-1] == everything[3:-1]
        so_far = await client.get(url, headers={"accept": "application/x-ndjson"}, params={"offset": 1})
        assert lines(so_far.text)[1:-1] == everything[2:-1]
        page = (await client.get(url, params={"limit": 2})).json()
        assert (page["results"], page["next"]) == (everything[1:3], 2)
        rest = (await client.get(url, params={"offset": page["next"]})).json()
        assert (rest["results"], rest["next"]) == (everything[3:-1], 3)


async def test_an_item_that_has_no_answer_has_a_problem() -> None:
    bench = make_bench()

    async def fail(asked: Asked) -> Result:
        if asked.body["prompt"] == "b":
            return Failed(UpstreamTimeout("too long"), Report("miss", key="k"))
        return Served(200, BODY, "application/json", HIT)

    bench.cache.answer = fail
    async with bench.client() as client:
        results = {one["index"]: one for one in lines((await client.post(BATCHES, json=images("a", "b"))).text)[1:-1]}
    assert (results[0]["outcome"], results[1]["outcome"]) == ("done", "failed")
    assert (results[1]["problem"]["status"], results[1]["problem"]["code"]) == (504, "upstream_timeout")
    assert "cache" not in results[1]


async def test_another_tenants_batch_is_not_there() -> None:
    """The very same answer as for one that never was, to every method."""
    bench = make_bench(client_keys=("ann:a:one", "bob:b:two", "eve:c:one"))
    async with bench.client("a") as ann, bench.client("b") as bob, bench.client("c") as eve:
        url = (await ann.post(BATCHES, json=images("a"), headers=ASYNC)).headers["location"]
        assert (await eve.get(url)).status_code == 200  # of the same namespace
        for path in (url, url + "?follow=true"):
            theirs, none = await bob.get(path), await bob.get(path.replace("batch_", "batch_0"))
            assert (theirs.status_code, theirs.content) == (none.status_code, none.content) == (404, none.content)
        assert (await bob.delete(url)).status_code == (await bob.post(url + "/cancel")).status_code == 404
        await whole(ann, url)
        assert (await ann.get(url)).json()["state"] == "completed"


async def test_cancelling_answers_how_it_stands_and_what_has_ended_can_be_deleted() -> None:
    """Not before its end: a DELETE that succeeds leaves nothing to GET."""
    bench = make_bench()
    gate = held(bench)
    async with bench.client() as client:
        request = {"batch": {"concurrency": 1}, "requests": images("a", "b")}
        url = (await client.post(BATCHES, json=request, headers=ASYNC)).headers["location"]
        while not bench.cache.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        early = await client.delete(url)
        assert (early.status_code, early.json()["code"]) == (409, "batch_running")
        assert (await client.post(url + "/cancel")).json()["state"] == "cancelling"
        gate.set()
        *_, last = await whole(client, url)
        assert (await client.post(url + "/cancel")).json() == last["batch"]
        again = (await client.delete(url)).json()
        assert (await client.delete(url)).status_code == (await client.get(url)).status_code == 404
    assert again == last["batch"]
    assert (again["state"], again["counts"]["hits"], again["counts"]["cancelled"]) == ("cancelled", 1, 1)


async def test_too_many_at_once_is_a_429() -> None:
    bench = make_bench(max_batches=1)
    gate = held(bench)
    async with bench.client() as client:
        url = (await client.post(BATCHES, json=images("a"), headers=ASYNC)).headers["location"]
        refused = await client.post(BATCHES, json=images("b"))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_batches")
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        await whole(client, url)
        assert (await client.post(BATCHES, json=images("b"))).status_code == 200


async def test_while_stopping_none_is_taken_and_followers_are_let_go() -> None:
    bench = make_bench()
    gate = held(bench)
    async with bench.client() as client:
        url = (await client.post(BATCHES, json=images("a"), headers=ASYNC)).headers["location"]
        bench.service.draining = True
        bench.service.batches.drain()
        assert (await client.post(BATCHES, json=images("b"))).json()["code"] == "stopping"
        *_, last = await whole(client, url)
        assert last["batch"]["state"] == "running"
        gate.set()


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=1001", "follow=yes"])
async def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    async with make_bench().client() as client:
        url = (await client.post(BATCHES, json=images("a"), headers=ASYNC)).headers["location"]
        assert (await client.get(f"{url}?{query}")).status_code == 400
