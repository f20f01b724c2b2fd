"""The upstream caller against the simulator over real sockets: its limits, its refusals, each of its faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from cache_service.errors import UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.limits import Dimension, Limit, LimitPool
from cache_service.simulator.meters import Mode
from cache_service.simulator.server import SimulatorServer
from cache_service.simulator.simulator import Simulator
from cache_service.upstream.base import Call, Cost
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import OpenAITransport
from cache_service.upstream.rate_limit import Limits

BODY = json.dumps({"model": "gpt-image-2", "prompt": "a red fox", "size": "1024x1024", "quality": "low"}).encode()


@asynccontextmanager
async def simulated(
    *faults: Fault,
    pools: Sequence[LimitPool] = (),
    accounts: Sequence[Account] = (),
    configs: Sequence[PoolConfig] = (),
    rate_headers: bool = True,
) -> AsyncIterator[tuple[UpstreamCaller, Simulator]]:
    """A caller of a simulator that answers at once."""
    config = SimulatorConfig(faults=faults, latency=0.0, accounts=tuple(accounts))
    if pools:
        config = replace(config, pools=tuple(pools))
    config = replace(config, image_rate_headers=rate_headers)
    server = SimulatorServer(config)
    transport = OpenAITransport(await server.start(), max_answer_bytes=20_000_000)
    default = (PoolConfig("default", (NamedKey("key-1", None),)),)
    upstream = UpstreamCaller(transport, tuple(configs) or default, group="simulator", random=lambda: 0.0)
    try:
        yield upstream, server.simulator
        assert not any(use.in_flight for use in upstream.pools())
    finally:
        await upstream.aclose()
        await server.stop()


async def image(upstream: UpstreamCaller, seconds: float = 30.0) -> bytes:
    call = Call("/images/generations", BODY, time.monotonic() + seconds, Cost(1, 1, 200), "gpt-image-2")
    async with upstream.send(call) as reply:
        return b"".join([piece async for piece in reply.pieces])


def images_a_minute(amount: float, mode: Mode = Mode.BUCKET, owner: str = "org-simulator") -> LimitPool:
    return LimitPool(owner, {Dimension.IMAGES: Limit(amount, mode)})


@pytest.mark.parametrize(
    "kind",
    [FaultKind.RATE_LIMITED, FaultKind.OVERLOADED, FaultKind.SERVER_ERROR, FaultKind.HTML_502, FaultKind.TRUNCATED_BODY,
     FaultKind.CUT_CHUNK, FaultKind.MANY_HEADERS],
)  # fmt: skip
async def test_a_passing_fault_is_not_seen_by_the_client(kind: FaultKind) -> None:
    async with simulated(Fault(kind, times=1)) as (upstream, simulator):
        assert json.loads(await image(upstream))["data"]
        assert simulator.stats.faults.total() == 1


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FaultKind.INSUFFICIENT_QUOTA, 429), (FaultKind.UNAUTHORIZED, 401), (FaultKind.FORBIDDEN, 403),
     (FaultKind.MODEL_NOT_FOUND, 404), (FaultKind.MODERATION_BLOCKED, 400)],
)  # fmt: skip
async def test_a_lasting_refusal_is_told_after_one_call(kind: FaultKind, status: int) -> None:
    async with simulated(Fault(kind)) as (upstream, simulator):
        with pytest.raises(UpstreamRefused) as refused:
            await image(upstream)
        assert refused.value.status == status
        assert json.loads(refused.value.body)["error"]["message"]
        assert simulator.stats.faults.total() == 1


@pytest.mark.parametrize("kind", [FaultKind.REDIRECT, FaultKind.HUGE_BODY, FaultKind.GZIP_BOMB])
async def test_a_broken_upstream_is_told_as_unreachable_after_one_call(kind: FaultKind) -> None:
    async with simulated(Fault(kind, size=100 if kind is FaultKind.GZIP_BOMB else 100_000_000)) as (
        upstream,
        simulator,
    ):
        with pytest.raises(UpstreamUnreachable):
            await image(upstream)
        assert simulator.stats.faults.total() == 1


@pytest.mark.parametrize("kind", [FaultKind.HUNG, FaultKind.HELD, FaultKind.DRIP])
async def test_an_upstream_that_does_not_end_is_told_at_the_deadline(kind: FaultKind) -> None:
    async with simulated(Fault(kind)) as (upstream, _):
        with pytest.raises(UpstreamTimeout):
            await image(upstream, 0.4)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.WRONG_CONTENT, FaultKind.EMPTY_BODY, FaultKind.CUT_BASE64, FaultKind.CUT_PICTURE, FaultKind.NO_DATA,
     FaultKind.SHORT_BODY],
)  # fmt: skip
async def test_a_200_whose_content_is_wrong_passes_through(kind: FaultKind) -> None:
    """What a complete answer is, the operation judges."""
    async with simulated(Fault(kind, times=1)) as (upstream, simulator):
        await image(upstream)
        assert simulator.stats.faults.total() == 1
        assert simulator.stats.calls.total() == 1


async def test_a_pool_that_knows_its_limit_is_never_refused() -> None:
    for mode in (Mode.BUCKET, Mode.SLIDING):
        known = PoolConfig("default", (NamedKey("key-1", None),), Limits(images=1_200))
        async with simulated(pools=[images_a_minute(1_200, mode)], configs=[known]) as (upstream, simulator):
            await asyncio.gather(*(image(upstream) for _ in range(30)))
            assert (simulator.stats.images, simulator.stats.refused.total()) == (30, 0)


async def test_a_pool_that_does_not_know_its_limit_learns_it_from_the_first_refusals() -> None:
    """Calls in flight when the bucket runs full are refused once; none that comes after."""
    unknown = PoolConfig("default", (NamedKey("key-1", None),), max_in_flight=8)
    async with simulated(pools=[images_a_minute(60)], configs=[unknown], rate_headers=False) as (
        upstream,
        simulator,
    ):
        await asyncio.gather(*(image(upstream) for _ in range(60)))
        await asyncio.gather(*(image(upstream) for _ in range(3)))
        assert simulator.stats.images == 63
        assert simulator.stats.refused.total() <= 8


async def test_one_revoked_key_and_one_empty_account_leave_the_others_working() -> None:
    accounts = [
        Account("k1", "org-1", revoked=True),
        Account("k2", "org-1"),
        Account("k3", "org-2"),
        Account("k4", "org-3"),
    ]
    configs = [
        PoolConfig("one", (NamedKey("one/key-1", "k1"), NamedKey("one/key-2", "k2"))),
        PoolConfig("two", (NamedKey("two/key-1", "k3"),)),
        PoolConfig("three", (NamedKey("three/key-1", "k4"),)),
    ]
    async with simulated(accounts=accounts, configs=configs) as (upstream, simulator):
        simulator.pools.exhausted.add("org-2")
        for _ in range(20):
            await image(upstream)
        assert (simulator.stats.images, simulator.stats.refused.total()) == (20, 2)
        assert [use.healthy for use in upstream.pools()] == [True, False, True]
