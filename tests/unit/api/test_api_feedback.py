"""Feedback over HTTP: what it names, what it answers, and what nobody else can find out."""

from __future__ import annotations

from typing import Any

import pytest

from cache_service.store.entry import ServedHit
from tests.fakes.service import ADMIN_TOKEN, Bench, make_bench

HIT = ServedHit("one", "images", "r1", "asked", "d1", "stored", "d2", 0.953, 900.0)
KEYS = ("ann:a:one", "bob:b:two")


@pytest.fixture
def bench() -> Bench:
    made = make_bench(client_keys=KEYS)
    made.store.hits.append(HIT)
    return made


@pytest.mark.parametrize("name", [{"request_id": "r1"}, {"key": "asked"}, {"key": "stored", "request_id": None}])
async def test_a_hit_is_judged_by_request_or_key(bench: Bench, name: dict[str, Any]) -> None:
    async with bench.client("a") as client:
        response = await client.post("/v1/feedback", json={**name, "verdict": "wrong"})
    assert response.json() == {
        "id": 1, "verdict": "wrong", "undone": False, "operation": "images", "similarity": 0.953, "denied": True,
        "exact_only": False, "threshold": 0.92,
    }  # fmt: skip
    assert bench.store.feedback[1].client == "ann"


@pytest.mark.parametrize("name", [{"request_id": "r1"}, {"key": "asked"}, {"key": "stored"}])
async def test_another_tenants_hit_answers_as_one_that_never_was(bench: Bench, name: dict[str, str]) -> None:
    """The very same bytes."""
    async with bench.client("b") as client:
        theirs = await client.post("/v1/feedback", json={**name, "verdict": "wrong"})
        nobodys = await client.post("/v1/feedback", json={"key": "nothing", "verdict": "wrong"})
    assert (theirs.status_code, theirs.content) == (404, nobodys.content)
    assert not bench.store.feedback


async def test_operators_see_feedback_and_take_it_back(bench: Bench) -> None:
    async with bench.client("a") as client:
        await client.post("/v1/feedback", json={"request_id": "r1", "verdict": "wrong"})
    async with bench.client(ADMIN_TOKEN) as admin:
        listed = (await admin.get("/admin/feedback")).json()
        undone = await admin.post("/admin/feedback/1/undo")
        after = (await admin.get("/admin/feedback", params={"namespace": "one", "limit": 1})).json()
    (row,) = listed["feedback"]
    assert (row["id"], row["namespace"], row["client"], row["request_id"]) == (1, "one", "ann", "r1")
    (trust,) = listed["trust"]
    assert (trust["namespace"], trust["operation"], trust["wrong"], trust["right"]) == ("one", "images", 1.0, 0.0)
    assert (undone.json()["undone"], undone.json()["denied"]) == (True, False)
    assert (after["feedback"][0]["undone"], after["next"], after["trust"]) == (True, 1, [])


@pytest.mark.parametrize("number", ["2", "0", "-1", "x", "1.0", "99999999999999999999", "%31%00"])
async def test_feedback_that_is_not_there_is_a_404(bench: Bench, number: str) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        assert (await client.post(f"/admin/feedback/{number}/undo")).status_code == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "before=-1", "before=99999999999999999999", "namespace=%00", "limit="]
)
async def test_a_wrong_query_is_a_clear_400(bench: Bench, query: str) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.get(f"/admin/feedback?{query}")
    assert response.status_code == 400
    assert response.json()["param"] == query.partition("=")[0]


async def test_the_answers_request_id_is_the_one_that_feedback_names() -> None:
    """What `X-Request-Id` says is what the cache was told."""
    bench = make_bench()
    async with bench.client() as client:
        for path, body in (
            ("/v1/images/generations", {"prompt": "a"}),
            ("/v1/generate", {"operation": "images", "request": {"prompt": "a"}}),
        ):
            response = await client.post(path, json=body)
            assert bench.cache.asked[-1].request_id == response.headers["x-request-id"]
