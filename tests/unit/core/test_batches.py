"""Batches around a whole cache: equal items pay once, a killed process loses nothing that is paid, memory and money stay bounded."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cache_service.answer import Caller
from cache_service.api.batch_body import JSON, Frame, read_batch
from cache_service.api.problems import details_of
from cache_service.batch import Batch, ItemResult, Tally
from cache_service.decision import Directives
from cache_service.errors import TooManyBatches
from cache_service.instrumentation.events import BatchesInProgress, BatchItemEnded
from cache_service.jobs.batch import Batches
from cache_service.jobs.batch_run import Means
from cache_service.store.batches import SqlBatchStore
from tests.fakes.upstream import Planned, planned
from tests.unit.core.conftest import World, generate

ANN = Caller("default", "ann")


@dataclass
class Desk:
    """Batches of one process, and of those that follow it."""

    world: World
    concurrency: int = 4
    price: float | None = 1.0
    paused: list[float] = field(default_factory=list)
    opened: list[Batches] = field(default_factory=list)

    def open(self, owner: str = "node") -> Batches:
        batches = Batches(SqlBatchStore(self.world.store.database), owner=owner, most_running=2)
        self.opened.append(batches)
        batches.begin(
            Means(
                store=SqlBatchStore(self.world.store.database),
                cache=self.world.cache,
                estimate=lambda operation, request: None if request.get("model") == "unpriced" else self.price,
                problem=details_of,
                hook=self.world.events.append,
                slots=asyncio.Semaphore(self.concurrency),
                concurrency=self.concurrency,
                grown=batches.grown,
                now=lambda: self.world.clock["now"],
                pause=self._pause,
            )
        )
        return batches

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    made = Desk(world)
    yield made
    for batches in made.opened:
        await batches.aclose(5.0)


def prompts(*texts: str, **cache: Any) -> list[dict[str, Any]]:
    return [{"operation": "images", "request": {"prompt": text, "model": "m"}, "cache": cache} for text in texts]


async def submit(batches: Batches, requests: list[dict[str, Any]], **options: Any) -> Batch:
    frame = Frame(("images", "chat"), 100, Directives(), frozenset())
    items, read = read_batch(json.dumps({"batch": options, "requests": requests}).encode(), JSON, frame)
    return await batches.submit(ANN, items, read)


async def finished(batches: Batches, batch: Batch) -> list[ItemResult]:
    return [one async for page in batches.follow(batch, after=0) for one in page]


async def tally(batches: Batches, batch: Batch) -> Tally:
    return (await batches.standing(batch.id, ANN)).tally


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0)


async def test_every_item_gets_one_result_and_equal_ones_pay_once(desk: Desk) -> None:
    """Equal byte for byte, but for white space, or by meaning; also where `no_cache` would have each pay."""
    desk.world.close_together("a dog in the snow", "a dog in snow")
    batches = desk.open()
    requests = (
        prompts("a fox", "a  fox", "a dog in the snow", "a dog in snow", "a fox") + prompts("an owl", no_cache=True) * 3
    )
    batch = await submit(batches, requests)
    results = await finished(batches, batch)
    assert sorted(one.position for one in results) == list(range(8))
    assert [one.number for one in results] == list(range(1, 9))
    assert len(desk.world.upstream.calls) == 3
    counted = await tally(batches, batch)
    assert (counted.generated, counted.hits) == (3, 5)
    assert desk.world.events.count(BatchItemEnded("images", "generated")) == 3
    assert desk.world.events[-1] == BatchesInProgress(0)


async def test_a_batch_waits_behind_clients(desk: Desk) -> None:
    batches = desk.open()
    await finished(batches, await submit(batches, prompts("a fox")))
    assert desk.world.upstream.calls[0].priority < 0


async def test_pictures_are_named_by_where_they_lie(desk: Desk) -> None:
    """A result stays small however large its pictures are, and the picture it names is the one that was made."""
    batches = desk.open()
    batch = await submit(batches, prompts("a fox", "a fox "))
    for result in await finished(batches, batch):
        (item,) = json.loads(result.body)["data"]
        assert item.keys() == {"url"}
        picture = await desk.world.blobs.read(item["url"].removeprefix("/v1/blobs/"))
        assert hashlib.sha256(picture).hexdigest() in item["url"]


async def test_a_picture_that_is_stored_nowhere_stays_in_its_result(desk: Desk) -> None:
    async def refuse(*_: Any) -> Any:
        raise OSError("the disk is full")

    desk.world.generator._file = refuse  # type: ignore[method-assign]
    batches = desk.open()
    (result,) = await finished(batches, await submit(batches, prompts("a fox")))
    assert "b64_json" in json.loads(result.body)["data"][0]
    assert json.loads(result.cache or "")["stored"] is False


@pytest.mark.parametrize("killed_after", [0, 1, 3, 7])
async def test_after_a_kill_the_batch_goes_on_and_pays_nothing_twice(desk: Desk, killed_after: int) -> None:
    """Results that were read keep their numbers, so a client goes on from where it was."""
    first, world = desk.open(), desk.world
    batch = await submit(first, prompts(*(f"animal number {'abcdefghij'[n]}" for n in range(10))), concurrency=1)
    before: list[ItemResult] = []
    async for page in first.follow(batch, after=0):
        before += page
        if len(before) >= killed_after:
            break
    for _, task in list(first._runs.values()):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    paid = len(world.upstream.calls)
    second = desk.open()
    await second.look()
    results = await finished(second, batch)
    assert results[: len(before)] == before
    assert sorted(one.position for one in results) == list(range(10))
    assert len(world.upstream.calls) <= 11  # one was in flight, and what it made may not have been stored yet
    assert paid <= len(world.upstream.calls)
    again = await submit(second, prompts(*(f"animal number {'abcdefghij'[n]}" for n in range(10))))
    await finished(second, again)
    assert (await tally(second, again)).hits == 10


async def test_another_node_takes_a_batch_only_once_its_lease_is_over(desk: Desk) -> None:
    first, second, world = desk.open("one"), desk.open("two"), desk.world
    world.upstream.gate.clear()
    batch = await submit(first, prompts("a fox", "an owl"), concurrency=1)
    await world.sent(1)
    await second.look()
    assert not second._runs
    for _, task in list(first._runs.values()):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    world.clock["now"] += 60
    await second.look()
    world.upstream.gate.set()
    assert len(await finished(second, batch)) == 2
    assert len(world.upstream.calls) == 2  # what was in flight when the first died is joined, not paid again


async def test_cancelling_begins_nothing_more_and_keeps_what_is_paid(desk: Desk) -> None:
    batches, world = desk.open(), desk.world
    world.upstream.gate.clear()
    batch = await submit(batches, prompts("a fox", "an owl", "a whale", "a bear"), concurrency=2)
    await world.sent(2)
    for _ in range(2):  # idempotent
        assert (await batches.cancel(batch.id, ANN)).batch.state == "cancelling"
    world.upstream.gate.set()
    results = await finished(batches, batch)
    assert [one.state for one in results].count("done") == 2
    assert [json.loads(one.body)["code"] for one in results if one.state == "cancelled"] == ["cancelled"] * 2
    assert (await batches.find(batch.id, ANN)).state == "cancelled"
    assert len(world.upstream.calls) == 2
    assert (await world.served("a fox")).report.decision == "hit"


async def test_draining_ends_what_is_in_flight_and_leaves_the_rest_for_later(desk: Desk) -> None:
    batches, world = desk.open(), desk.world
    world.upstream.gate.clear()
    batch = await submit(batches, prompts("a fox", "an owl", "a whale"), concurrency=1)
    await world.sent(1)
    batches.drain()
    assert await finished(batches, batch) == []  # whoever follows is let go
    world.upstream.gate.set()
    await batches.aclose(5.0)
    counted = await tally(batches, batch)
    assert (counted.generated, counted.waiting) == (1, 2)
    later = desk.open()
    await later.look()
    assert len(await finished(later, batch)) == 3
    assert len(world.upstream.calls) == 3


async def test_a_budget_is_never_overrun_and_an_unknown_price_not_begun(desk: Desk) -> None:
    batches, world = desk.open(), desk.world
    await world.served("stored before")
    unpriced = {"operation": "images", "request": {"prompt": "x", "model": "unpriced"}}
    requests = [
        *prompts("stored before", *(f"prompt {word}" for word in ("red", "blue", "green", "black", "white"))),
        unpriced,
    ]
    batch = await submit(batches, requests, budget_usd=1.2)  # each may cost 1 and costs 0.11
    codes = [json.loads(one.body).get("code") for one in await finished(batches, batch) if one.state == "skipped"]
    assert sorted(codes) == ["over_budget"] * 3 + ["unknown_price"]
    counted = await tally(batches, batch)
    assert (counted.hits, counted.generated, counted.skipped, round(counted.usd, 6)) == (1, 2, 4, 0.22)


async def test_an_item_waits_where_there_is_no_capacity_and_fails_where_it_is_refused_for_good(desk: Desk) -> None:
    world, answers = desk.world, iter([planned({"error": {}}, 429)] * 4 + [planned({"error": {}}, 503)] * 2)

    def plan(call: Any) -> Planned:
        if b"never" in call.body:
            return planned({"error": {"message": "no"}}, 400)
        return next(answers, None) or generate(call)

    world.upstream._plan = plan
    batches = desk.open()
    batch = await submit(batches, prompts("a fox", "never"), concurrency=1)
    results = {one.position: one for one in await finished(batches, batch)}
    assert results[0].state == "done"
    assert desk.paused
    assert (results[1].state, json.loads(results[1].body)["status"]) == ("failed", 400)


async def test_a_request_that_its_route_would_refuse_fails_alone(desk: Desk) -> None:
    batches = desk.open()
    batch = await submit(batches, [*prompts("a fox"), {"operation": "images", "request": {"prompt": ""}}])
    results = {one.position: one for one in await finished(batches, batch)}
    assert (results[0].state, results[1].state) == ("done", "failed")
    assert json.loads(results[1].body)["param"] == "prompt"


async def test_a_client_runs_so_many_batches_at_once(desk: Desk) -> None:
    batches, world = desk.open(), desk.world
    world.upstream.gate.clear()
    running = [await submit(batches, prompts(text)) for text in ("a fox", "an owl")]
    with pytest.raises(TooManyBatches):
        await submit(batches, prompts("a whale"))
    world.upstream.gate.set()
    for batch in running:
        await finished(batches, batch)
    await until(lambda: not batches._runs)
    await submit(batches, prompts("a whale"))


async def test_where_outcomes_can_not_be_filed_the_batch_goes_on_later(desk: Desk) -> None:
    """Nothing is paid on and on without a record."""
    batches, world = desk.open(), desk.world
    store = batches._ready().store
    real, failing = store.end_items, [True]

    async def end_items(*args: Any) -> int:
        if failing:
            from cache_service.errors import StoreError

            raise StoreError("the disk is full")
        return await real(*args)

    store.end_items = end_items  # type: ignore[method-assign]
    batch = await submit(batches, prompts("a fox", "an owl", "a whale"), concurrency=1)
    await until(lambda: not batches._runs)
    assert len(world.upstream.calls) == 1
    failing.clear()
    await batches.look()
    assert len(await finished(batches, batch)) == 3
    assert len(world.upstream.calls) == 3
