"""What the upstream tells when it is asked, over real sockets: its projects' limits, and when models end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cache_service.instrumentation.events import Event, ModelEnds
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.limits import Dimension, Limit, LimitPool
from cache_service.simulator.server import SimulatorServer
from cache_service.simulator.simulator import Simulator
from cache_service.upstream.base import Call, Cost
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.discovery import LIMITS_EVERY, Discovery
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import OpenAITransport
from cache_service.upstream.rate_limit import Limits

BODY = json.dumps({"model": "gpt-image-2", "prompt": "a red fox", "size": "1024x1024", "quality": "low"}).encode()
NO_MAXIMUM = Limits()
NOVEMBER_25 = 1_795_600_000.0  # 2026


class Told:
    """A caller, its discovery, a clock that is moved by hand, and what was told."""

    def __init__(
        self, url: str, simulator: Simulator, admin_key: str | None, limits: Limits, project: str | None
    ) -> None:
        self.simulator = simulator
        self.later = 0.0
        self.events: list[Event] = []
        transport = OpenAITransport(url, max_answer_bytes=20_000_000)
        config = PoolConfig("pool", (NamedKey("key-1", "sk-1"),), limits, project=project)
        self.upstream = UpstreamCaller(transport, [config], group="simulator", hook=self.events.append)
        self.discovery = Discovery(
            self.upstream,
            transport,
            clock=lambda: time.monotonic() + self.later,
            wall_clock=lambda: NOVEMBER_25 + self.later,
            admin_key=admin_key,
            hook=self.events.append,
        )

    async def image(self, model: str = "gpt-image-2") -> None:
        call = Call("/images/generations", BODY, time.monotonic() + 30, Cost(1, 1, 200), model)
        async with self.upstream.send(call) as reply:
            async for _ in reply.pieces:
                pass

    @property
    def limits(self) -> dict[str, float | None]:
        return dict(self.upstream.pools()[0].limits)


@asynccontextmanager
async def told(
    *, admin_key: str | None = "sk-admin", limits: Limits = NO_MAXIMUM, project: str | None = None
) -> AsyncIterator[Told]:
    """An upstream that says nothing in its headers."""
    server = SimulatorServer(
        SimulatorConfig(
            accounts=(Account("sk-1", "org-1", "proj-1"),),
            pools=(
                LimitPool("proj-1", {Dimension.IMAGES: Limit(20)}, "project", ("gpt-image-*",)),
                LimitPool("org-1", {Dimension.IMAGES: Limit(50), Dimension.REQUESTS: Limit(500)}),
            ),
            latency=0.0,
            image_rate_headers=False,
            admin_key="sk-admin",
            shutdown_dates={"gpt-image-1-mini": "2026-12-01"},
        )
    )
    made = Told(await server.start(), server.simulator, admin_key, limits, project)
    try:
        yield made
    finally:
        await made.upstream.aclose()
        await server.stop()


async def test_a_projects_limits_are_known_from_the_first_answer_that_names_it() -> None:
    """Without a refusal, and though no header tells them."""
    async with told() as it:
        await it.image()
        assert it.limits["images"] is None
        await it.discovery.look()
        await it.image()
        assert (it.limits["images"], it.limits["requests"]) == (20, 500)
        assert it.simulator.stats.refused.total() == 0


async def test_the_limits_of_a_configured_project_are_known_before_the_first_call() -> None:
    async with told(project="proj-1") as it:
        await it.discovery.look()
        await it.image()
        assert it.limits["images"] == 20


async def test_what_is_listed_never_lifts_a_configured_maximum() -> None:
    async with told(project="proj-1", limits=Limits(images=5)) as it:
        await it.discovery.look()
        await it.image()
        assert it.limits["images"] == 5


async def test_a_changed_limit_is_known_a_quarter_of_an_hour_later() -> None:
    async with told(project="proj-1") as it:
        await it.discovery.look()
        it.simulator.pools.change("proj-1", Dimension.IMAGES, 10, it.simulator.clock.now())
        await it.discovery.look()
        await it.image()
        assert it.limits["images"] == 20
        it.later = LIMITS_EVERY
        await it.discovery.look()
        assert it.limits["images"] == 10


@pytest.mark.parametrize("admin_key", [None, "sk-wrong"])
async def test_without_a_good_admin_key_calls_go_on(admin_key: str | None, caplog: pytest.LogCaptureFixture) -> None:
    async with told(admin_key=admin_key, project="proj-1") as it:
        await it.discovery.look()
        await it.image()
        assert it.limits["images"] is None
    assert ("the upstream answered 401" in caplog.text) == (admin_key is not None)
    assert "sk-" not in caplog.text


async def test_a_model_in_use_that_ends_soon_is_warned_of_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    """And one that nobody asks for isn't."""
    async with told() as it:
        await it.image()
        await it.discovery.look()
        assert caplog.text == ""
        await it.image("gpt-image-1-mini")
        with caplog.at_level(logging.WARNING):
            await it.discovery.look()
            await it.discovery.look()
        assert caplog.text.count("shuts gpt-image-1-mini down on 2026-12-01, in 6 days") == 1
        assert [event for event in it.events if isinstance(event, ModelEnds)] == [ModelEnds("gpt-image-1-mini", 6)]
        it.later = 86_400.0 * 6
        await it.discovery.look()
        assert "has shut gpt-image-1-mini down" in caplog.text
