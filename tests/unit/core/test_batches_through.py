"""Batches through the upstream's Batch API, against the simulator: half the price, nothing paid twice, whatever ends when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cache_service.batch import Batch, ItemResult, SentItem
from cache_service.errors import UpstreamRefused, UpstreamUnreachable
from cache_service.jobs import batch_through
from cache_service.jobs.batch import Batches
from cache_service.jobs.batch_through import HALF, ThroughMeans, line_of, split
from cache_service.simulator.app import create_app
from cache_service.simulator.batch_job import Pace
from cache_service.simulator.config import SimulatorConfig
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.simulator import Simulator
from cache_service.upstream.batch_api import OpenAIBatchApi
from cache_service.upstream.key_pool import NamedKey
from tests.unit.core.conftest import World
from tests.unit.core.test_batches import ANN, Desk, finished, submit, tally, until


class Line(httpx.AsyncBaseTransport):
    """The way to the simulator. broken: requests whose answer is lost on it, by "METHOD path-ending"; heard: all that came through."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.broken: list[str] = []
        self.heard: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        self.heard.append(f"{request.method} {request.url.path}")
        for broken in self.broken:
            if self.heard[-1].endswith(broken):
                self.broken.remove(broken)
                raise httpx.ReadError("broken")
        return answer


@dataclass
class Through(Desk):
    """A desk with a Batch API."""

    simulator: Simulator | None = None
    line: Line | None = None
    api: OpenAIBatchApi | None = None

    def open(self, owner: str = "node") -> Batches:
        assert self.api is not None
        batches, world = super().open(owner), self.world
        means = ThroughMeans(
            api=self.api,
            cache=world.cache,
            take_in=lambda draft, body: world.generator.take_in(world.cache.operations, draft, body, price_factor=HALF),
            folder=world.directory,
        )
        batches.begin(replace(batches._ready(), through=means))
        return batches

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        await asyncio.sleep(0.001)  # the simulator runs beside it, on its own clock


async def through_of(world: World, config: SimulatorConfig) -> AsyncIterator[Through]:
    app = create_app(config)
    line = Line(app)
    api = OpenAIBatchApi("http://sim/v1", [NamedKey("key-1", "secret-1")], max_line_bytes=10**7, transport=line)
    made = Through(world, simulator=app.state.simulator, line=line, api=api)
    yield made
    for batches in made.opened:
        await batches.aclose(5.0)
    await api.aclose()


FAST = SimulatorConfig(latency=0.0, batch_pace=Pace(0.0, 0.0))


@pytest.fixture
async def desk(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Through]:
    async for made in through_of(world, getattr(request, "param", FAST)):
        yield made


def small(*texts: str, model: str = "gpt-image-2", **cache: Any) -> list[dict[str, Any]]:
    return [
        {"operation": "images", "request": {"prompt": text, "model": model, "size": "64x64"}, "cache": cache}
        for text in texts
    ]


async def run(batches: Batches, requests: list[dict[str, Any]], **options: Any) -> tuple[Batch, dict[int, ItemResult]]:
    batch = await submit(batches, requests, via_batch_api=True, **options)
    return batch, {one.position: one for one in await finished(batches, batch)}


def cost_of(desk: Through) -> list[Any]:
    from cache_service.instrumentation.events import UsdSpent

    return [event for event in desk.world.events if isinstance(event, UsdSpent)]


async def test_what_is_missing_comes_back_at_half_the_price_and_is_stored(desk: Through) -> None:
    """One file for each endpoint and model; what is stored, equal, or equal but for white space isn't sent."""
    assert desk.simulator is not None
    batches = desk.open()
    chat = {"operation": "chat", "request": {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Why?"}]}}
    requests = [*small("a fox", "an owl", "a fox", "a  fox"), *small("a whale", model="gpt-image-2.5-flare"), chat]
    batch, results = await run(batches, requests)
    assert {one.state for one in results.values()} == {"done"}
    counted = await tally(batches, batch)
    assert (counted.generated, counted.hits, counted.sent) == (4, 2, 0)
    assert sorted(desk.simulator.stats.prompts)[1:] == ["a fox", "a whale", "an owl"]
    assert len(desk.simulator.batch_api.batches) == 3
    assert not desk.world.upstream.calls
    shown = json.loads(results[0].cache or "")
    assert (shown["decision"], shown["stored"]) == ("miss", True)
    assert json.loads(results[0].body)["data"][0]["url"].startswith("/v1/blobs/")
    hit = await desk.world.served({"prompt": "a fox", "model": "gpt-image-2", "size": "64x64"})
    assert hit.report.decision == "hit"
    again, _ = await run(batches, requests)
    assert (await tally(batches, again)).hits == 6
    assert len(desk.simulator.batch_api.batches) == 3


async def test_half_the_price_is_what_is_filed(desk: Through) -> None:
    batches = desk.open()
    batch, results = await run(batches, small("a fox"))
    usage = json.loads(results[0].body)["usage"]
    full = desk.world.generator._ledger._price("gpt-image-2", usage)
    assert full
    assert (await tally(batches, batch)).usd == pytest.approx(full / 2)
    assert [event.usd for event in cost_of(desk)] == [pytest.approx(full / 2)]


STEPS = ["POST /v1/files", "POST /v1/batches", "GET /content"]


@pytest.mark.parametrize("step", STEPS)
async def test_an_answer_that_is_lost_on_the_way_costs_nothing_twice(desk: Through, step: str) -> None:
    assert desk.line is not None
    assert desk.simulator is not None
    desk.line.broken = [step.removeprefix("GET ")]
    batches = desk.open()
    _, results = await run(batches, small("a fox", "an owl"))
    assert {one.state for one in results.values()} == {"done"}
    assert not desk.line.broken
    assert len(desk.simulator.batch_api.batches) == 1
    assert len(desk.simulator.stats.prompts) == 2


@pytest.mark.parametrize("killed_at", ["POST /v1/files", "POST /v1/batches", "GET /v1/batches", "GET /content"])
async def test_after_a_kill_at_any_step_what_is_at_the_upstream_is_found_again(desk: Through, killed_at: str) -> None:
    assert desk.line is not None
    assert desk.simulator is not None
    line, first = desk.line, desk.open()
    batch = await submit(first, small("a fox", "an owl"), via_batch_api=True)
    await until(lambda: any(heard.split("/batch_")[0].endswith(killed_at.removeprefix("GET ")) for heard in line.heard))
    for _, task in list(first._runs.values()):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    second = desk.open()
    await second.look()
    assert {one.state for one in await finished(second, batch)} == {"done"}
    assert len(desk.simulator.batch_api.batches) == 1
    assert len(desk.simulator.stats.prompts) == 2
    assert (await tally(second, batch)).usd > 0
    assert len(cost_of(desk)) == 2


@pytest.mark.parametrize(
    "desk", [replace(FAST, faults=(Fault(FaultKind.MODERATION_BLOCKED, marker="bad"), Fault(FaultKind.CUT_PICTURE, marker="cut")))],
    indirect=True,
)  # fmt: skip
async def test_what_the_upstream_refuses_or_breaks_fails_alone_and_is_not_stored(desk: Through) -> None:
    batches = desk.open()
    _, results = await run(batches, small("good", "bad", "cut"))
    assert {position: one.state for position, one in results.items()} == {0: "done", 1: "failed", 2: "failed"}
    assert json.loads(results[1].body)["status"] == 400
    assert (await desk.world.store.totals())["entries"] == 1


async def test_a_batch_that_the_upstream_refuses_whole_fails_every_item(
    desk: Through, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_through, "line_of", lambda item, path: b"{broken\n")
    _, results = await run(desk.open(), small("a fox", "an owl"))
    assert {one.state for one in results.values()} == {"failed"}
    assert "parseable" in json.loads(results[0].body)["detail"]


@pytest.mark.parametrize("desk", [SimulatorConfig(latency=3600.0, batch_pace=Pace(0.0, 0.0))], indirect=True)
async def test_cancelling_cancels_it_at_the_upstream_too(desk: Through) -> None:
    assert desk.line is not None
    batches = desk.open()
    batch = await submit(batches, small("a fox"), via_batch_api=True)
    line = desk.line
    await until(lambda: any(heard.startswith("GET /v1/batches/") for heard in line.heard))
    assert (await tally(batches, batch)).sent == 1
    await batches.cancel(batch.id, ANN)
    await until(lambda: any(heard.endswith("/cancel") for heard in line.heard))


async def test_the_budget_holds_half_the_estimate(desk: Through) -> None:
    batches = desk.open()
    batch, _ = await run(batches, small("red", "blue", "green"), budget_usd=1.0)
    counted = await tally(batches, batch)
    assert (counted.generated, counted.skipped) == (2, 1)


def test_a_file_holds_no_more_than_the_upstream_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [SentItem(n, json.dumps({"prompt": "x" * (n % 7)}), "{}") for n in range(100)]
    monkeypatch.setattr(batch_through, "MOST_REQUESTS", 9)
    monkeypatch.setattr(batch_through, "MOST_BYTES", 700)
    parts = list(split(items, "/images/generations"))
    assert [item for part in parts for item in part] == items
    for part in parts:
        assert len(part) <= 9
        assert sum(len(line_of(item, "/images/generations")) for item in part) <= 700
    assert len(parts) < 25


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json={"error": {"message": "Incorrect API key provided: secret-1."}}), UpstreamRefused),
        (httpx.Response(307, headers={"location": "http://elsewhere/"}), UpstreamUnreachable),
        (httpx.Response(200, content=b"<html>"), UpstreamUnreachable),
        (httpx.Response(200, json={"id": "../../x", "status": "completed"}), UpstreamUnreachable),
    ],
)
async def test_odd_answers_of_the_batch_api_are_errors_that_tell_no_key(answer: httpx.Response, error: type) -> None:
    api = OpenAIBatchApi(
        "http://sim/v1", [NamedKey("k", "secret-1")], max_line_bytes=10, transport=httpx.MockTransport(lambda _: answer)
    )
    with pytest.raises(error) as raised:
        await api.get("batch_1", key_name="k")
    assert "secret-1" not in str(raised.value)
    assert b"secret-1" not in getattr(raised.value, "body", b"")
    await api.aclose()


async def test_the_headers_of_the_upstream_go_with_every_call_and_are_told_nobody() -> None:
    """A gateway that takes generations only with its own header takes batches with it too."""

    def gateway(request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("x-gateway-key")
        assert request.headers["authorization"] == "Bearer secret-1"
        return httpx.Response(403, json={"error": {"message": f"not allowed for {sent}"}})

    api = OpenAIBatchApi(
        "http://sim/v1", [NamedKey("k", "secret-1")], max_line_bytes=10, headers={"X-Gateway-Key": "gateway-secret-2"},
        transport=httpx.MockTransport(gateway),
    )  # fmt: skip
    with pytest.raises(UpstreamRefused) as raised:
        await api.get("batch_1", key_name="k")
    assert b"not allowed for" in raised.value.body
    assert b"None" not in raised.value.body, "it was sent"
    assert b"gateway-secret-2" not in raised.value.body
    await api.aclose()


async def test_lines_come_whole_however_they_are_cut_and_none_is_endless(tmp_path: Path) -> None:
    class Body(httpx.AsyncByteStream):
        def __init__(self, *pieces: bytes) -> None:
            self._pieces = pieces

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self._pieces:
                yield piece

    async def read(*pieces: bytes) -> list[bytes]:
        line = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body(*pieces)))
        api = OpenAIBatchApi("http://sim/v1", [NamedKey("k", None)], max_line_bytes=10, transport=line)
        try:
            return [one async for one in api.lines("f", key_name="k")]
        finally:
            await api.aclose()

    assert await read(b"a\nb", b"c\n\nd", b"e") == [b"a", b"bc", b"", b"de"]
    with pytest.raises(UpstreamUnreachable):
        await read(b"x" * 6, b"x" * 6)
