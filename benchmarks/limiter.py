"""How much of the upstream's limits is used, and how often it refuses: our caller beside models of the published algorithms.

What runs is the real caller (queue, pools, retries, the text of refusals, headers), in virtual time, over the built-in simulator's limit pools:
35 minutes with endless demand, of which the first 5 don't count; five seeds, of which the worst is shown. The maximum is the
pools' own limits, less what others took. Answers take 10 to 60 s (lognormal, median 22 s); a call is on its way for up to 0.25 s.

The others are models of the idea, not the products: `workers` are ten that call and repeat after the told wait; `burst` a leaky
bucket that lets a minute's worth go at once; `random` a pool drawn by weight, paced in sum; `minute` counters per minute of
the client's own clock. All know the configured limits. In rows whose limits, keys or faults are for ours to find out, they aren't run.

What it doesn't show: the real upstream (nobody measured it), sockets, several processes, the time that our own code takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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
from cache_service.upstream.key_pool import KeyPools, NamedKey, PoolConfig, Wanted
from cache_service.upstream.openai import Answer, CallFailed
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import FaultKind
from tests.fakes.virtual_time import run_virtual, virtual_now

MODEL = "gpt-image-2"
WARM_UP = 5
SKEW = 17.0
"""Seconds by which a fixed minute of the upstream is ahead of our clock."""


@dataclass(frozen=True)
class Scenario:
    """One row. `pools` of `images` (or `tokens`) a minute each; fields below: what is out of the ordinary.

    share, refused: the bars. others: part of the first pool that others take, in bursts of three. keys: per pool, each
    configured as a pool of its own. configured, halved_at, quota, revoked: what we are told wrongly or not at all.
    """

    name: str
    share: float
    refused: float
    images: int = 50
    tokens: int = 0
    pools: int = 3
    mode: Mode = Mode.BUCKET
    headers: bool = True
    daily: int = 0
    others: float = 0.0
    keys: int = 1
    configured: float | None = 1.0
    assumed: float = 0.0
    halved_at: float = math.inf
    out_of_quota: bool = False
    revoked: bool = False
    spell: tuple[float, float] = (math.inf, math.inf)
    timeouts: float = 0.0
    baselines: bool = True
    most_refusals: int | None = None
    count_from: float = 0.0
    most_attempts: float | None = None


MODES = {Mode.BUCKET: "bucket", Mode.FIXED: "fixed minute", Mode.SLIDING: "sliding", Mode.BUCKET_10S: "bucket of 10 s"}


def scenarios() -> list[Scenario]:
    """The table's rows."""
    quiet = [
        Scenario(f"quiet, {limit}, {MODES[mode]}", 0.98 if limit == 5 else 0.99, 0.0, images=limit, mode=mode)
        for limit in (50, 20, 5)
        for mode in (Mode.BUCKET, Mode.FIXED, Mode.SLIDING)
    ]
    ten = [
        Scenario(f"quiet, {limit}, bucket of 10 s", 0.95, 0.01, images=limit, mode=Mode.BUCKET_10S) for limit in (50, 5)
    ]
    mixed = [
        Scenario(f"mixed sizes, tokens, {MODES[mode]}", 0.95, 0.005, images=0, tokens=250_000, mode=mode)
        for mode in (Mode.BUCKET, Mode.FIXED, Mode.SLIDING)
    ]
    shared = [
        Scenario(f"40 % taken, 50, {MODES[mode]}", share, 0.005, mode=mode, others=0.4)
        for mode, share in ((Mode.BUCKET, 0.97), (Mode.FIXED, 0.97), (Mode.SLIDING, 0.91), (Mode.BUCKET_10S, 0.91))
    ] + [
        Scenario(f"40 % taken, 5, {MODES[mode]}", 0.87, 0.05, images=5, mode=mode, others=0.4)
        for mode in (Mode.BUCKET, Mode.FIXED, Mode.SLIDING, Mode.BUCKET_10S)
    ]
    own = replace(shared[0], others=0.0, share=0.99, refused=0.0, baselines=False)
    return [
        *quiet,
        *ten,
        *mixed,
        *shared,
        replace(own, name="configured twice too high", configured=2.0, refused=1.0, most_refusals=2, count_from=6 * 60),
        replace(own, name="the same, no headers", configured=2.0, refused=1.0, most_refusals=2, count_from=6 * 60, headers=False),
        replace(own, name="assumed twice too low", configured=None, assumed=0.5, count_from=7 * 60),
        replace(own, name="not configured, headers", configured=None, count_from=7 * 60),
        replace(own, name="not configured, no headers", configured=None, headers=False, refused=1.0, most_refusals=25),
        replace(own, name="halved while running", halved_at=15 * 60, refused=1.0, most_refusals=2, count_from=17 * 60),
        replace(own, name="the same, no headers", halved_at=15 * 60, refused=1.0, most_refusals=2, count_from=17 * 60,
                headers=False),
        replace(own, name="no rate headers", headers=False),
        replace(own, name="a day's limit in the header", daily=10_000),
        replace(own, name="6 keys in 3 pools", keys=2, count_from=7 * 60),
        replace(own, name="one pool without quota, one key revoked", keys=2, out_of_quota=True, revoked=True, refused=1.0,
                most_refusals=8, count_from=7 * 60),
        replace(own, name="503 for 60 s, then", spell=(600.0, 660.0), count_from=720.0, share=0.95, most_attempts=1.12),
        replace(own, name="10 % time-outs, a spell of 503", spell=(600.0, 660.0), timeouts=0.1, count_from=720.0, share=0.95,
                most_attempts=1.12),
    ]  # fmt: skip


@dataclass
class Outcome:
    """What the upstream counted. of_pool: refusals for the rate by pool; calls, requests: in all, the warm-up included."""

    admitted: float = 0.0
    possible: float = 0.0
    attempts: int = 0
    refused: int = 0
    requests: int = 0
    calls: int = 0
    others_refused: Counter[str] = field(default_factory=Counter)
    of_pool: Counter[str] = field(default_factory=Counter)

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
    """The simulator's limit pools behind a transport; counts what it admits from `count_from` on."""

    scenario: Scenario
    draw: random.Random
    until: float
    outcome: Outcome = field(default_factory=Outcome)
    halved: bool = False

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
        self.others = LimitPools(())
        if case.out_of_quota:
            self.pools.exhausted.add("org-0")
        self.from_time = max(WARM_UP * 60.0, case.count_from)
        self.taken = 0

    async def run_others(self) -> None:
        """Someone else in the first pool: three calls at once, at random times."""
        if not self.scenario.others:
            return
        while True:
            await asyncio.sleep(self.draw.expovariate(self.scenario.others * self.scenario.images / 60.0 / 3))
            now = virtual_now()
            for _ in range(3):
                got = self.pools.admit({"organization": "org-0"}, MODEL, Cost(images=1), now)
                self.taken += isinstance(got, Admitted) and now >= self.from_time

    async def call(self, secret: str, cost: Cost) -> tuple[int, dict[str, str], refusals.Refusal | None]:
        """One call: on its way, judged, and its answer."""
        case, now = self.scenario, None
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
            self.outcome.others_refused["key"] += 1
            return 401, headers, refusals.unknown_key(secret)
        if case.spell[0] <= now < case.spell[1]:
            self.outcome.others_refused["503"] += 1
            return 503, headers, refusals.Refusal(503, "overloaded", "server_error", "server_is_overloaded")
        verdict = self.pools.admit({"organization": f"org-{number}"}, MODEL, cost, now)
        if case.headers:
            headers |= refusals.limit_headers(self.pools.standings({"organization": f"org-{number}"}, MODEL, now))
        headers |= {"x-ratelimit-limit-input-images-unknown": "-1"}
        match verdict:
            case Admitted():
                self.outcome.admitted += counted * (cost.images if case.images else cost.tokens)
                if self.draw.random() < case.timeouts:
                    await asyncio.sleep(120.0)
                    raise CallFailed(FaultKind.TIMEOUT, "timed out")
                await asyncio.sleep(min(60.0, max(10.0, self.draw.lognormvariate(math.log(22.0), 0.5))))
                return 200, headers, None
            case QuotaExhausted():
                self.outcome.others_refused["quota"] += 1
                return 429, headers, refusals.quota_exhausted(verdict)
            case Wait():
                refusal = refusals.rate_limited(verdict, MODEL)
            case Never():
                refusal = refusals.too_large(verdict, MODEL)
        self.outcome.of_pool[f"org-{number}"] += 1
        self.outcome.refused += counted
        await asyncio.sleep(0.05)
        return 429, headers | dict(refusal.headers), refusal

    def finish(self) -> Outcome:
        """The counts, and what had been possible."""
        case, minutes = self.scenario, (self.until - self.from_time) / 60.0
        per_minute = case.images or case.tokens
        if case.halved_at < self.from_time:
            per_minute /= 2
        pools = case.pools - case.out_of_quota
        self.outcome.possible = pools * per_minute * minutes - self.taken
        return self.outcome


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


SIZES = (1_000, 1_500, 2_500, 4_200, 6_300)
"""Output tokens of low to max quality and three sizes, roughly."""


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

    configs = [
        PoolConfig(
            f"pool-{n}-{key}",
            (NamedKey(f"key-{n}-{key}", f"key-{n}-{key}"),),
            limits(case.configured),
            in_flight(case),
            limits(case.assumed),
        )
        for key in range(case.keys)
        for n in range(case.pools)
    ]
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

    await _until(upstream, [worker() for _ in range(in_flight(case) * case.pools + 10)])
    await caller.aclose()
    return upstream.finish()


async def run_model(case: Scenario, seed: int, minutes: float, algorithm: Callable[[int, int], Algorithm]) -> Outcome:
    """One of the published algorithms against the same upstream."""
    draw = random.Random(seed)
    upstream = Upstream(case, draw, (WARM_UP + minutes) * 60.0)
    per_minute = case.images or case.tokens
    chosen = algorithm(case.pools, per_minute)
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

    await _until(upstream, [worker() for _ in range(chosen.workers or in_flight(case) * case.pools)])
    return upstream.finish()


class Algorithm:
    """Which pool, and when. workers: how many call at once; 0: as many as the limits allow."""

    workers = 0
    repeats_itself = True

    def __init__(self, pools: int, limit: float) -> None:
        self.limit = limit
        self.blocked = [0.0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The pool to call, and from when on."""
        raise NotImplementedError

    def sent(self, pool: int, units: int, now: float) -> None:
        """A call goes."""

    def refused(self, pool: int, until: float) -> None:
        """The pool is left alone until then."""
        self.blocked[pool] = max(self.blocked[pool], until)


class Workers(Algorithm):
    """Ten workers, pools in turn; after a refusal the worker waits as told."""

    workers = 10
    repeats_itself = False

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.turn = itertools.cycle(range(pools))

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """At once."""
        return next(self.turn), now


class Burst(Algorithm):
    """A leaky bucket per pool that holds a minute's worth."""

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.level, self.at = [0.0] * pools, [0.0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The pool that has room first."""
        room = [
            max(self.blocked[n], self.at[n] + (self.level[n] + units - self.limit) * 60.0 / self.limit, now)
            for n in range(len(self.level))
        ]
        return min(range(len(room)), key=room.__getitem__), min(room)

    def sent(self, pool: int, units: int, now: float) -> None:
        """Fills."""
        self.level[pool] = max(0.0, self.level[pool] - (now - self.at[pool]) * self.limit / 60.0) + units
        self.at[pool] = now


class Weighted(Algorithm):
    """A pool drawn by weight (here equal), the sum paced; no pool is left alone, the call waits as told."""

    repeats_itself = False

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.next = 0.0

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """When the sum allows."""
        return draw.randrange(len(self.blocked)), max(now, self.next)

    def sent(self, pool: int, units: int, now: float) -> None:
        """Paces."""
        self.next = max(self.next, now) + units * 60.0 / (self.limit * len(self.blocked))


class Minutes(Algorithm):
    """Counters per minute of the client's clock; the least used pool first."""

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.window, self.count = -1, [0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The least used, or the next minute."""
        if int(now // 60 + 1e-9) != self.window:
            self.window, self.count = int(now // 60 + 1e-9), [0] * len(self.count)
        free = [n for n, used in enumerate(self.count) if used + units <= self.limit]
        open_now = [n for n in free if self.blocked[n] <= now]
        if open_now:
            return min(open_now, key=self.count.__getitem__), now
        return 0, min([(self.window + 1) * 60.0, *(self.blocked[n] for n in free)])

    def sent(self, pool: int, units: int, now: float) -> None:
        """Counts."""
        self.count[pool] += units


MODELS: Mapping[str, type[Algorithm]] = {"workers": Workers, "burst": Burst, "random": Weighted, "minute": Minutes}


async def _until(upstream: Upstream, work: Iterable[object]) -> None:
    tasks = [asyncio.ensure_future(one) for one in (*work, upstream.run_others())]  # type: ignore[call-overload]
    await asyncio.sleep(upstream.until)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def meets(case: Scenario, outcomes: list[Outcome]) -> bool:
    """Whether every seed is within the row's bars."""
    return all(
        one.share >= case.share
        and one.refused_share <= case.refused
        and (case.most_refusals is None or max(one.of_pool.values(), default=0) <= case.most_refusals)
        and (case.most_attempts is None or one.calls <= case.most_attempts * one.requests)
        for one in outcomes
    )


def row(case: Scenario, seeds: int, minutes: float, baselines: bool) -> bool:
    """Runs and prints one row."""
    outcomes = [run_virtual(run_ours(case, seed, minutes)) for seed in range(1, seeds + 1)]
    cells = [f"{_cell(outcomes):>14}"]
    for algorithm in MODELS.values() if baselines and case.baselines else ():
        runs = [run_virtual(run_model(case, seed, minutes, algorithm)) for seed in range(1, seeds + 1)]
        cells += [f"{_cell(runs):>14}"]
    cells += [" " * 14] * (1 + len(MODELS) - len(cells))
    note = ""
    if case.most_refusals is not None or case.out_of_quota:
        worst = max((max(one.of_pool.values(), default=0) for one in outcomes), default=0)
        note += f" at most {worst} refusals in a pool;"
    if case.out_of_quota or case.revoked:
        note += f" others: {dict(max((one.others_refused for one in outcomes), key=lambda found: found.total()))};"
    if case.most_attempts is not None:
        note += f" attempts {max(one.calls / one.requests for one in outcomes):.3f} of requests;"
    good = meets(case, outcomes)
    bar = f">={case.share:.0%} / " + (f"<={case.refused:.1%}" if case.refused < 1 else f"<={case.most_refusals} a pool")
    print(f"{case.name:42} {bar:>18} {'ok ' if good else 'NOT'} {''.join(cells)}{note}", flush=True)
    return good


def _cell(outcomes: list[Outcome]) -> str:
    share, refused = min(one.share for one in outcomes), max(one.refused_share for one in outcomes)
    return f"{share:.1%}/{refused:.2%}"


def reservation() -> None:
    """Time of one reservation: three pools in three dimensions, headers learnt, one clock."""
    limits = Limits(requests=1e6, images=1e6, tokens=1e9)
    pools = KeyPools([PoolConfig(f"p{n}", (NamedKey(f"k{n}"),), limits, 10**6, limits) for n in range(3)])
    wanted = Wanted(base.Cost(images=1, tokens=1_756), MODEL)
    times, now = [], 0.0
    for _ in range(30_000):
        now += 0.001
        began = time.perf_counter()
        pools.take(wanted, now)
        times.append(time.perf_counter() - began)
    times.sort()
    print(f"reservation: p50 {times[15_000] * 1e6:.0f} µs, p99 {times[29_700] * 1e6:.0f} µs (bar 50 µs)")


def main() -> int:
    """Prints the table; exit code 1 where ours misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--quick", action="store_true", help="10 minutes and 2 seeds: shows that it works, not how well"
    )
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--no-baselines", action="store_true", help="our own column alone")
    asked = parser.parse_args()
    seeds, minutes = (2, 15.0) if asked.quick else (5, 30.0)
    print(f"3 pools, {minutes:.0f} minutes after {WARM_UP}, {seeds} seeds, the worst; share of the maximum / refused")
    print(f"{'':42} {'bar':>18}     " + "".join(f"{name:>14}" for name in ("ours", *MODELS)))
    began = time.perf_counter()
    good = [
        row(case, seeds, minutes, not asked.no_baselines) for case in scenarios() if asked.only in case.name
    ]  # fmt: skip
    reservation()
    print(f"{sum(good)} of {len(good)} rows within their bars, {time.perf_counter() - began:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
