"""The laboratory of the limiter's benchmark: one scenario, the upstream it runs against, and what is counted there.

What runs is the real caller, in virtual time, over the built-in simulator's limit pools. Demand never ends.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._limiter_algorithms import Algorithm
from cache_service.errors import UpstreamError
from cache_service.simulator import refusals
from cache_service.simulator.limits import (
    Admitted,
    Cost,
    Dimension,
    Limit,
    LimitPool,
    LimitPools,
    Never,
    QuotaExhausted,
    Wait,
)
from cache_service.simulator.meters import Mode
from cache_service.upstream import base
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import Answer, CallFailed
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import FaultKind
from tests.fakes.virtual_time import virtual_now

MODEL = "gpt-image-2"
WARM_UP = 5
SKEW = 17.0
"""Seconds by which a fixed minute of the upstream is ahead of our clock."""
SIZES = (1_000, 1_500, 2_500, 4_200, 6_300)
"""Output tokens of low to max quality and three sizes, roughly."""
RIGHT = 0.95
"""Of the limit in each minute: from then on it counts as found."""
PROBE = 250.0
"""Seconds: a call so long after the last refusal of its kind is a probe."""


@dataclass(frozen=True)
class Scenario:
    """One row. `pools` of `images` (or `tokens`) a minute each; fields below: what is out of the ordinary.

    share, refused: the bars. others: part of the first pool that others take, in bursts of `burst`. keys: per pool; apart:
    each configured as a pool of its own. configured, assumed, halved_at, out_of_quota, revoked: what we are told wrongly or not at all.
    headers: "told", "none" or "-1". right_within: seconds from `changed_at` until the limits must be found, with at most
    `most_refusals` a pool. share_as: name of the row whose share it must have.
    """

    name: str
    share: float
    refused: float
    images: int = 50
    tokens: int = 0
    pools: int = 3
    mode: Mode = Mode.BUCKET
    headers: str = "told"
    daily: int = 0
    others: float = 0.0
    burst: int = 3
    keys: int = 1
    apart: bool = False
    configured: float | None = 1.0
    assumed: float = 0.0
    halved_at: float = math.inf
    out_of_quota: bool = False
    revoked: bool = False
    spell: tuple[float, float] = (math.inf, math.inf)
    timeouts: float = 0.0
    baselines: bool = True
    most_refusals: int | None = None
    changed_at: float | None = None
    right_within: float | None = None
    count_from: float = 0.0
    most_attempts: float | None = None
    share_as: str = ""


@dataclass
class Outcome:
    """What the upstream counted. calls, requests: in all, the warm-up included. of_pool: refusals for the rate by pool.

    right_after: seconds from the change until each minute of each pool was full and nothing was refused. firsts, probes:
    refusals for quota or key, and tries of what was known to be out.
    """

    admitted: float = 0.0
    possible: float = 0.0
    attempts: int = 0
    refused: int = 0
    requests: int = 0
    calls: int = 0
    of_pool: Counter[str] = field(default_factory=Counter)
    right_after: float = 0.0
    firsts: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Of what was possible."""
        return self.admitted / self.possible

    @property
    def refused_share(self) -> float:
        """Refusals for the rate, of all attempts."""
        return self.refused / max(1, self.attempts)


@dataclass
class Upstream:
    """The simulator's limit pools behind a transport; counts what it admits from `from_time` on."""

    scenario: Scenario
    draw: random.Random
    until: float
    outcome: Outcome = field(default_factory=Outcome)
    halved: bool = False
    admissions: defaultdict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    refusals_at: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    last_out: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        case = self.scenario
        limits = {}
        if case.images:
            limits[Dimension.IMAGES] = Limit(case.images, case.mode, SKEW)
        if case.tokens:
            limits[Dimension.TOKENS] = Limit(case.tokens, case.mode, SKEW)
        if case.daily:
            limits[Dimension.DAILY_REQUESTS] = Limit(case.daily)
        self.pools = LimitPools(LimitPool(f"org-{n}", limits) for n in range(case.pools))
        if case.out_of_quota:
            self.pools.exhausted.add("org-0")
        self.from_time = max(WARM_UP * 60.0, case.count_from)
        self.taken = 0

    async def run_others(self) -> None:
        """Someone else in the first pool: some calls at once, at random times; single ones at even times."""
        case = self.scenario
        if not case.others:
            return
        per_second = case.others * case.images / 60.0 / case.burst
        while True:
            await asyncio.sleep(self.draw.expovariate(per_second) if case.burst > 1 else 1 / per_second)
            now = virtual_now()
            for _ in range(case.burst):
                got = self.pools.admit({"organization": "org-0"}, MODEL, Cost(images=1), now)
                self.taken += isinstance(got, Admitted) and now >= self.from_time

    async def call(self, secret: str, cost: Cost) -> tuple[int, dict[str, str], refusals.Refusal | None]:
        """One call: on its way, judged, and its answer."""
        case = self.scenario
        await asyncio.sleep(self.draw.uniform(0.0, 0.25))
        now = virtual_now()
        if now >= case.halved_at and not self.halved:
            self.halved = True
            for n in range(case.pools):
                self.pools.change(f"org-{n}", Dimension.IMAGES, case.images / 2, now)
        number = int(secret.split("-")[1])
        counted = now >= self.from_time
        self.outcome.attempts += counted
        self.outcome.calls += 1
        headers = {"openai-organization": f"org-{number}", "openai-project": "default"}
        if case.revoked and number == 1 and secret.endswith("-0"):
            self._out("key", now)
            return 401, headers, refusals.unknown_key(secret)
        if case.spell[0] <= now < case.spell[1]:
            return 503, headers, refusals.Refusal(503, "overloaded", "server_error", "server_is_overloaded")
        owners = {"organization": f"org-{number}"}
        verdict = self.pools.admit(owners, MODEL, cost, now)
        headers |= self._headers(refusals.limit_headers(self.pools.standings(owners, MODEL, now)))
        match verdict:
            case Admitted():
                units = cost.images if case.images else cost.tokens
                self.admissions[number].append((now, units))
                self.outcome.admitted += counted * units
                if self.draw.random() < case.timeouts:
                    await asyncio.sleep(120.0)
                    raise CallFailed(FaultKind.TIMEOUT, "timed out")
                await asyncio.sleep(min(60.0, max(10.0, self.draw.lognormvariate(math.log(22.0), 0.5))))
                return 200, headers, None
            case QuotaExhausted():
                self._out("quota", now)
                return 429, headers, refusals.quota_exhausted(verdict)
            case Wait():
                refusal = refusals.rate_limited(verdict, MODEL)
            case Never():
                refusal = refusals.too_large(verdict, MODEL)
        self.outcome.of_pool[f"org-{number}"] += 1
        self.refusals_at[number].append(now)
        self.outcome.refused += counted
        await asyncio.sleep(0.05)
        return 429, headers | dict(refusal.headers), refusal

    def finish(self) -> Outcome:
        """The counts, and what had been possible."""
        case, minutes = self.scenario, (self.until - self.from_time) / 60.0
        per_minute: float = case.images or case.tokens
        if case.halved_at < self.from_time:
            per_minute /= 2
        pools = case.pools - case.out_of_quota
        self.outcome.possible = pools * per_minute * minutes - self.taken
        if case.changed_at is not None:
            self.outcome.right_after = max(self._right_after(n, per_minute) for n in range(case.pools))
        return self.outcome

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        match self.scenario.headers:
            case "none":
                return {}
            case "-1":
                return {name: "0s" if "-reset-" in name else "-1" for name in headers}
            case _:
                return headers

    def _out(self, kind: str, now: float) -> None:
        probe = now - self.last_out.get(kind, now) >= PROBE
        (self.outcome.probes if probe else self.outcome.firsts)[kind] += 1
        self.last_out[kind] = now

    def _right_after(self, pool: int, limit: float) -> float:
        """From when on no minute of the ten that follow the change had less than RIGHT of the limit, nor a refusal."""
        changed = self.scenario.changed_at or 0.0
        right = changed
        for start in range(0, 600, 5):
            begin = changed + start
            units = sum(units for at, units in self.admissions[pool] if begin <= at < begin + 60)
            if units < RIGHT * limit:
                right = begin + 5
        late = [at for at in self.refusals_at[pool] if changed <= at < changed + 600]
        return max([right, *late]) - changed


class Transport:
    """The upstream as the caller's transport. The body says the true cost, which the caller doesn't read."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: bytes | None, secret: str | None, *, within: float
    ) -> AsyncIterator[Answer]:
        """Calls."""
        cost = Cost(**json.loads(body or b"{}"))
        status, headers, refusal = await self._upstream.call(secret or "", cost)
        told = refusal.envelope() if refusal else {"data": [], "usage": {"total_tokens": cost.tokens}}
        yield Answer(status, headers, _pieces(json.dumps(told).encode()))

    async def aclose(self) -> None:
        """Nothing is open."""


async def _pieces(body: bytes) -> AsyncGenerator[bytes]:
    yield body


def costs(case: Scenario, draw: random.Random) -> tuple[Cost, base.Cost]:
    """A call's true cost, and what is reserved for it: off by up to 30 % where tokens are what is limited."""
    if not case.tokens:
        return Cost(images=1), base.Cost(images=1)
    tokens = draw.choice(SIZES)
    return Cost(images=1, tokens=tokens), base.Cost(images=1, tokens=round(tokens * draw.uniform(0.7, 1.3)))


def in_flight(case: Scenario) -> int:
    """Calls in flight that the limits allow, and some more: slots must not be what binds."""
    per_minute = case.images or case.tokens / (sum(SIZES) / len(SIZES))
    return math.ceil(per_minute * 1.25) + 4


def ours(case: Scenario, upstream: Upstream) -> UpstreamCaller:
    """The real caller, knowing what the scenario says that it knows."""

    def limits(factor: float | None) -> Limits:
        if not factor:
            return Limits()
        return Limits(images=case.images * factor or None, tokens=case.tokens * factor or None)

    known, assumed = limits(case.configured), limits(case.assumed)
    configs = []
    for n in range(case.pools):
        keys = [NamedKey(f"key-{n}-{key}", f"key-{n}-{key}") for key in range(case.keys)]
        for number, group in enumerate([[key] for key in keys] if case.apart else [keys]):
            configs.append(PoolConfig(f"pool-{n}-{number}", tuple(group), known, in_flight(case), assumed))
    return UpstreamCaller(
        Transport(upstream),
        configs,
        group="benchmark",
        clock=virtual_now,
        wall_clock=lambda: 1.8e9 + virtual_now(),
        random=random.Random(upstream.draw.random()).random,
    )


async def run_ours(case: Scenario, seed: int, minutes: float) -> Outcome:
    """Endless demand: always some calls in the queue."""
    draw = random.Random(seed)
    upstream = Upstream(case, draw, (WARM_UP + minutes) * 60.0)
    caller = ours(case, upstream)

    async def worker() -> None:
        while True:
            true, reserved = costs(case, draw)
            body = json.dumps({"requests": 1, "images": true.images, "tokens": true.tokens}).encode()
            upstream.outcome.requests += 1
            call = base.Call("/images/generations", body, virtual_now() + 600.0, reserved, MODEL)
            try:
                async with caller.send(call):
                    pass
            except UpstreamError:
                await asyncio.sleep(0.05)

    await until_end(upstream, [worker() for _ in range(in_flight(case) * case.pools + 10)])
    await caller.aclose()
    return upstream.finish()


async def run_model(case: Scenario, seed: int, minutes: float, algorithm: Callable[[int, int], Algorithm]) -> Outcome:
    """One of the published algorithms against the same upstream."""
    draw = random.Random(seed)
    upstream = Upstream(case, draw, (WARM_UP + minutes) * 60.0)
    chosen = algorithm(case.pools, case.images or case.tokens)
    gate = asyncio.Lock()

    async def worker() -> None:
        while True:
            true, reserved = costs(case, draw)
            status, wait = 429, 0.0
            while status == 429:
                await asyncio.sleep(wait)
                units = reserved.images if case.images else reserved.tokens
                async with gate:
                    pool, at = chosen.plan(units, virtual_now(), draw)
                    while at > virtual_now() + 1e-9:
                        await asyncio.sleep(at - virtual_now())
                        pool, at = chosen.plan(units, virtual_now(), draw)
                    chosen.sent(pool, units, virtual_now())
                status, headers, _ = await upstream.call(f"key-{pool}", true)
                wait = float(headers.get("retry-after-ms", "0")) / 1000
                if chosen.repeats_itself and wait:
                    chosen.refused(pool, virtual_now() + wait)
                    wait = 0.0

    await until_end(upstream, [worker() for _ in range(chosen.workers or in_flight(case) * case.pools)])
    return upstream.finish()


async def until_end(upstream: Upstream, work: Iterable[object]) -> None:
    """Runs the workers, and whoever else uses the upstream, to the end of the run."""
    tasks = [asyncio.ensure_future(one) for one in (*work, upstream.run_others())]  # type: ignore[call-overload]
    await asyncio.sleep(upstream.until)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def waits(seed: int, *, fifo: bool) -> Sequence[float]:
    """Seconds that each of 400 calls of one priority waits: of one to four pictures, 250 of them at once, with deadlines of all kinds.

    fifo: all keep the order in which they came.
    """
    draw = random.Random(seed)
    case = Scenario("fairness", 0, 0, pools=1)
    upstream = Upstream(case, draw, 4 * 3600.0)
    caller = ours(case, upstream)
    plan = random.Random(seed + 1_000)
    calls = [
        (0.0 if number < 250 else plan.uniform(0.0, 600.0), plan.randint(1, 4), plan.uniform(3_000.0, 9_000.0))
        for number in range(400)
    ]
    calls.sort(key=lambda call: call[0])
    found: list[float] = [0.0] * len(calls)

    async def one(number: int, at: float, images: int, deadline: float) -> None:
        await asyncio.sleep(at + number * 1e-6)
        body = json.dumps({"images": images}).encode()
        until = 1e9 if fifo else deadline
        call = base.Call("/images/generations", body, until, base.Cost(images=images), MODEL)
        async with caller.send(call) as reply:
            found[number] = reply.queued

    await asyncio.gather(*(one(number, *call) for number, call in enumerate(calls)))
    await caller.aclose()
    return found
