"""Purging and numbers over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from cache_service.cache_key.normalize import prompt_digest
from cache_service.store.entry import PurgePredicate
from tests.fakes.service import ADMIN_TOKEN, Bench, make_bench


@pytest.fixture
def bench() -> Bench:
    """With an administrator's token."""
    return make_bench()


@pytest.mark.parametrize(
    ("body", "predicate"),
    [
        ({"key": "ab"}, PurgePredicate(key="ab")),
        ({"prompt": "A  fox"}, PurgePredicate(prompt_digest=prompt_digest("A fox"))),
        ({"tag": "t", "namespace": "n"}, PurgePredicate(tag="t", namespace="n")),
        ({"operation": "images", "model": "m"}, PurgePredicate(operation="images", model="m")),
        ({"older_than": 100, "key": None}, PurgePredicate(created_before=900.0)),
        ({"all": True, "confirm": "purge all"}, PurgePredicate(everything=True)),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_is_named_is_purged_or_counted(
    bench: Bench, body: dict[str, Any], predicate: PurgePredicate, dry_run: bool
) -> None:
    """A dry run counts and changes nothing."""
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post("/admin/purge", json={**body, "dry_run": dry_run})
    assert response.json() == {"count": 7, "dry_run": dry_run, "number": None if dry_run else 42}
    assert bench.store.predicates == [("count" if dry_run else "purge", predicate)]


async def test_all_may_be_counted_without_a_confirmation(bench: Bench) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post("/admin/purge", json={"all": True, "dry_run": True})
    assert response.status_code == 200
    assert bench.store.predicates == [("count", PurgePredicate(everything=True))]


async def test_prompts_like_one_are_purged(bench: Bench) -> None:
    """By the embedding of the prompt that is named."""
    async with bench.client(ADMIN_TOKEN) as client:
        await client.post("/admin/purge", json={"similar_to": "a fox", "similarity": 0.9})
    ((_, predicate),) = bench.store.predicates
    assert predicate.similar is not None
    assert predicate.similar.at_least == 0.9


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, None, "name what to purge"),
        ({"dry_run": True}, None, "name what to purge"),
        ({"all": False}, None, "name what to purge"),
        ({"all": True}, "confirm", "purge all"),
        ({"all": True, "dry_run": False}, "confirm", "purge all"),
        ({"operation": "video"}, "operation", "chat, images"),
        ({"operation": "video", "dry_run": True}, "operation", "chat, images"),
        ({"all": True, "confirm": "yes"}, "confirm", "purge all"),
        ({"promt": "a"}, "promt", "did you mean 'prompt'?"),
        ({"older": 1}, "older", "did you mean 'older_than'?"),
        ({"prompt": ""}, "prompt", "1 to 32000"),
        ({"prompt": ["a"]}, "prompt", "string"),
        ({"older_than": -1}, "older_than", "0 or more"),
        ({"older_than": True}, "older_than", "number"),
        ({"similar_to": "a", "similarity": 2}, "similarity", "from 0 to 1"),
        ({"similarity": 0.9}, "similarity", "similar_to"),
        ({"key": "a", "dry_run": "yes"}, "dry_run", "true or false"),
        ({"all": 1, "confirm": "purge all"}, "all", "true or false"),
    ],
)
async def test_a_wrong_purge_changes_nothing(bench: Bench, body: Any, param: str | None, says: str) -> None:
    """A typing error must not purge more than was meant."""
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post("/admin/purge", json=body)
    assert response.status_code == 400
    assert response.json().get("param") == param
    assert says in response.json()["detail"]
    assert not bench.store.predicates


async def test_numbers_are_told(bench: Bench) -> None:
    """What is stored, what is in flight, and the pools with the names of their keys."""
    async with bench.client(ADMIN_TOKEN) as client:
        stats = (await client.get("/admin/stats")).json()
    assert stats["store"] == {"entries": 3, "outputs": 4, "blob_bytes": 5}
    assert stats["requests_in_flight"] == 1
    (pool,) = stats["upstream"]["pools"]
    assert (pool["name"], pool["keys"], pool["healthy"]) == ("default", ["key-1"], True)
