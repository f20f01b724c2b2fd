"""The whole service against the simulator, in virtual time: throughput, latency, success, images and money, with the cache and without.

Three configurations answer the same requests: `1 key` asks one after the other and repeats nothing, as a plain script does; `3 keys`
keeps five in flight through this service without its cache; `3 keys, cache` ten, with it. What runs is the real thing (MiniLM, FAISS, the verifying
rules, SQLite, the upstream caller, the ledger) but for the pictures, which are tiny; the simulator holds the limits (50 images a minute for each
key's organisation, so that demand stays below the maximum) and answers one call in twenty with an error (503, or an answer that is cut off).
An answer takes 6 to 120 s (lognormal, median 10 s), the same for the same scene in every configuration, so that they can be compared.

Requests are prompts of made-up scenes; a share of them asks for an earlier scene again, half in the same words, half in others. The verifier
has to serve those, and nothing else: a hit on another scene is counted as wrong. `bounds` are what must hold; exit code 1 if one doesn't.

What it doesn't show: real paraphrases, which vary more than these five ways to say a thing, so that fewer of them are served (see
benchmarks/quality.py); the time that our own code takes, which stands still here (a hit takes milliseconds, benchmarks/latency.py); a real upstream.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import httpx
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cache_service.answer import Caller, Served
from cache_service.api import strict_json
from cache_service.bootstrap import embedder, operations
from cache_service.budget import Budgets
from cache_service.budget import Limits as BudgetLimits
from cache_service.config import Settings
from cache_service.decision import Directives
from cache_service.feedback import Policy, Standing
from cache_service.generation import Generator, Outcome
from cache_service.index.faiss import FaissIndex
from cache_service.instrumentation.events import Event, UpstreamCalled
from cache_service.jobs.follow import Follower
from cache_service.jobs.ledger import Ledger
from cache_service.keying import Keying
from cache_service.lifetime import Lifetimes
from cache_service.providers import Provider, Providers
from cache_service.responses import Responses
from cache_service.semantic_cache import SemanticCache
from cache_service.semantic_tier import SemanticTier
from cache_service.simulator.app import create_app
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.delivery import BrokenOff
from cache_service.simulator.faults import Fault
from cache_service.simulator.faults import FaultKind as SimulatedFault
from cache_service.simulator.latency import LONGEST, SHORTEST, SPREAD
from cache_service.simulator.limits import Dimension, Limit, LimitPool
from cache_service.simulator.simulator import Simulator
from cache_service.single_flight import SingleFlight
from cache_service.store.blobs import FileBlobStore
from cache_service.store.migrations import migrate
from cache_service.store.spool import FileSpool
from cache_service.store.sql import open_store
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.catalog import load_catalog, packaged_catalog
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import Answer, CallFailed
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import FaultKind
from cache_service.verification.rules import RulesVerifier
from cache_service.wire_bodies import WireBodies
from tests.fakes.virtual_threads import ThreadedVirtualLoop, run_virtual_with_threads

MODEL, SIZE, QUALITY = "gpt-image-2.5-flare", "1024x1024", "low"
EPOCH = 1_795_000_000.0
DEADLINE = 180.0  # seconds
LIMIT = 50  # images a minute of one key's organisation
MEDIAN = 10.0  # seconds of an answer
FAULTS = 0.05
MEMORY = "/dev/shm"  # noqa: S108  a folder of our own in it; every store waits for its disk

STYLES = ("watercolor painting", "oil painting", "pencil drawing", "charcoal sketch", "pastel drawing")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "purple", "orange")
ANIMALS = ("fox", "cat", "dog", "horse", "owl", "rabbit", "bear", "deer", "swan", "goat", "frog", "turtle")
DOING = ("sleeping", "sitting", "standing", "resting", "waiting", "playing")
PLACES = (
    "under an oak tree", "beside a river", "on a wooden bridge", "in a snowy field", "near a stone wall",
    "in front of a lighthouse", "on a sandy beach", "behind an old barn", "in a flower garden", "on a mountain path",
)  # fmt: skip
WAYS: Sequence[Callable[[str, str, str], str]] = (
    lambda style, animal, doing: f"{_a(style)} {style} of a {animal} {doing}",
    lambda style, animal, doing: f"a {animal} {doing}, {style}",
    lambda style, animal, doing: f"{style} of a {animal} {doing}",
    lambda style, animal, doing: f"{style}, a {animal} {doing}",
    lambda style, animal, doing: f"{_a(style)} {style} of a {animal} that is {doing}",
)
"""How one scene is said; the tutorial uses the first two."""


def _a(noun: str) -> str:
    return "An" if noun[0] in "aeiou" else "A"


@dataclass(frozen=True)
class Wanted:
    """One request: the number of its scene, and its words."""

    scene: int
    prompt: str


def requests(count: int, repeats: float, seed: int) -> list[Wanted]:
    """So many requests in random order, of which a share asks for a scene again: each once before any twice, half in other words."""
    draw = random.Random(seed)
    every = list(itertools.product(STYLES, COLOURS, ANIMALS, DOING, PLACES))
    scenes = draw.sample(every, round(count * (1 - repeats)))
    order = [number % len(scenes) for number in range(count)]
    draw.shuffle(order)
    seen: set[int] = set()
    wanted = []
    for number in order:
        style, colour, animal, doing, place = scenes[number]
        way = draw.choice((0, draw.randrange(1, len(WAYS)))) if number in seen else 0
        seen.add(number)
        wanted.append(Wanted(number, WAYS[way](style, f"{colour} {animal}", f"{doing} {place}")))
    return wanted


@dataclass
class Outcomes:
    """What one run came to. seconds: of each request; upstream_seconds: of all calls that gave an answer."""

    name: str
    at_once: int
    requests: int = 0
    failed: int = 0
    hits: int = 0
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)
    upstream_seconds: float = 0.0
    elapsed: float = 0.0
    images: int = 0
    usd: float = 0.0
    lost_usd: float = 0.0

    @property
    def per_minute(self) -> float:
        """Answers."""
        return (self.requests - self.failed) / self.elapsed * 60

    @property
    def mean(self) -> float:
        """Seconds of a request."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def success(self) -> float:
        """Share answered within the deadline."""
        return 1 - self.failed / self.requests

    @property
    def hit_rate(self) -> float:
        """Share answered without a generation of its own."""
        return self.hits / max(1, self.requests - self.failed)

    @property
    def generation_seconds(self) -> float:
        """Upstream seconds for one answer."""
        return self.upstream_seconds / (self.requests - self.failed)

    @property
    def usd_each(self) -> float:
        """USD for one answer, by `usage`."""
        return self.usd / (self.requests - self.failed)

    @property
    def in_flight(self) -> float:
        """L = λ·W: requests in flight on average, by Little's law; `at_once` while demand is endless."""
        return self.requests / self.elapsed * self.mean


class TinyPictures(Simulator):
    """The simulator with pictures of 8 × 8 pixels, each another; their usage is that of the size asked for."""

    def _picture(self, call: Any, asked: Any, number: int) -> str:
        out = io.BytesIO()
        Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, number // 65536 % 256)).save(out, "PNG")
        return base64.b64encode(out.getvalue()).decode()


class VirtualClock:
    """The time of the loop in which it is made, for every thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Seconds since the run began."""
        return self._loop.time()

    def time(self) -> float:
        """Unix seconds."""
        return EPOCH + self.now()

    async def sleep(self, seconds: float) -> None:
        """In virtual time."""
        await asyncio.sleep(max(0.0, seconds))

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """At once: tiny pictures take no time."""
        return work()


class InProcess:
    """The simulator as the caller's transport, without sockets. An answer takes its scene's time; a refusal 50 ms."""

    def __init__(self, app: Any, seconds: Callable[[str], float]) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator/v1")
        self._seconds = seconds

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: bytes | None, secret: str | None, *, within: float
    ) -> AsyncIterator[Answer]:
        """Calls."""
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        try:
            answer = await self._client.request(method, path, content=body, headers=headers)
        except BrokenOff as broken:
            await asyncio.sleep(self._seconds(json.loads(body or b"{}")["prompt"]))
            raise CallFailed(FaultKind.CUT, "the answer broke off") from broken
        await asyncio.sleep(self._seconds(json.loads(body or b"{}")["prompt"]) if answer.is_success else 0.05)
        yield Answer(answer.status_code, dict(answer.headers), _pieces(answer.content))

    async def aclose(self) -> None:
        """Closes the client."""
        await self._client.aclose()


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


def scene_seconds(scene: int) -> float:
    """6 to 120 s, lognormal around the median. By a van der Corput sequence, so that any scenes in a row are drawn from all of it."""
    part, place, rest = 0.0, 0.5, scene + 1
    while rest:
        rest, bit = divmod(rest, 2)
        part += place * bit
        place /= 2
    return min(LONGEST, max(SHORTEST, MEDIAN * math.exp(SPREAD * NormalDist().inv_cdf(part))))


@asynccontextmanager
async def service(
    folder: Path, keys: int, seconds: Callable[[str], float], *, attempts: int, minilm: Any, seed: int
) -> AsyncIterator[tuple[SemanticCache, Simulator, UpstreamCaller, Any, list[Event]]]:
    """The parts of a service, wired as `bootstrap` wires them, in virtual time."""
    clock, events = VirtualClock(), list[Event]()
    config = SimulatorConfig(
        accounts=tuple(Account(f"key-{n}", f"org-{n}", "default") for n in range(keys)),
        pools=tuple(LimitPool(f"org-{n}", {Dimension.IMAGES: Limit(LIMIT)}) for n in range(keys)),
        faults=(
            Fault(SimulatedFault.OVERLOADED, probability=FAULTS * 0.9),
            Fault(SimulatedFault.TRUNCATED_BODY, probability=FAULTS * 0.1),
        ),
        latency=0.0,
        seed=seed,
    )
    app = create_app(config, clock=clock)
    simulator: Simulator = app.state.simulator
    simulator.__class__ = TinyPictures
    catalog = load_catalog(packaged_catalog())
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{folder}/cache.db"
        await migrate(url)
        store = await open_store(url, clock=clock.time)
        stack.push_async_callback(store.aclose)
        _time_stands_still_in(store._database, "read", "write")  # noqa: SLF001  there is no other way to it
        _time_stands_still_in(minilm, "embed", "begin")
        blobs = await FileBlobStore.open(folder / "blobs")
        index = FaissIndex(folder / "index", dimension=minilm.dimension)
        stack.push_async_callback(index.aclose)
        follower = Follower(store, index, embedding_model=minilm.model_id)
        await follower.start()
        upstream = UpstreamCaller(
            InProcess(app, seconds),
            [
                PoolConfig(f"pool-{n}", (NamedKey(f"pool-{n}/key-1", f"key-{n}"),), Limits(images=LIMIT), 64)
                for n in range(keys)
            ],
            group="benchmark",
            max_attempts=attempts,
            clock=clock.now,
            wall_clock=clock.time,
            random=random.Random(seed).random,
            hook=events.append,
        )
        stack.push_async_callback(upstream.aclose)
        ledger = Ledger(
            store,
            Budgets(BudgetLimits()),
            price=catalog.usd,
            estimate=catalog.estimate_request,
            hook=events.append,
            now=clock.time,
        )
        generator = Generator(
            store=store, blobs=blobs, spool=FileSpool(folder / "spool"), follower=follower,
            lifetimes=Lifetimes({}, volatile=60.0), ledger=ledger, hook=events.append, embedding_model=minilm.model_id,
            now=clock.time,
        )  # fmt: skip
        flights: SingleFlight[Outcome] = SingleFlight()
        primary = Provider("primary", upstream)
        cache = SemanticCache(
            operations=operations(catalog),
            keying=Keying(primary, read=strict_json.loads, now=clock.time),
            store=store,
            semantic=SemanticTier(
                embedder=minilm, index=index, store=store, verifier=RulesVerifier(), hook=events.append, candidates=5,
                embed_timeout=10.0, verify_timeout=10.0,
            ),
            providers=Providers(primary), generator=generator, flights=flights,
            responses=Responses(blobs, catalog.usd, WireBodies(0, lambda entry: False)),
            hook=events.append, standing=Standing(Policy({"images": 0.01})), ledger=ledger, record=lambda hit: None,
            modes={}, threshold=0.92, generation_timeout=DEADLINE, now=clock.time, monotonic=clock.now,
        )  # fmt: skip
        yield cache, simulator, upstream, store, events
        await flights.drain(DEADLINE)


def _time_stands_still_in(worker: Any, *names: str) -> None:
    """While those methods run: they work in threads that the loop doesn't know."""
    for name in names:
        work = getattr(type(worker), name)

        def patient(*what: Any, work: Any = work) -> asyncio.Future[Any]:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ThreadedVirtualLoop)
            return loop.working(asyncio.ensure_future(work(worker, *what)))

        setattr(worker, name, patient)


@dataclass(frozen=True)
class Configuration:
    """One row of each table."""

    name: str
    keys: int
    at_once: int
    cache: bool
    attempts: int = 3


CONFIGURATIONS = (
    Configuration("1 key, no cache", 1, 1, cache=False, attempts=1),
    Configuration("3 keys, no cache", 3, 5, cache=False),
    Configuration("3 keys, cache", 3, 10, cache=True),
)


async def run(
    configuration: Configuration, wanted: Sequence[Wanted], minilm: Any, *, until: float, seed: int
) -> Outcomes:
    """Answers the requests in order, so many at once. until: seconds after which no more is begun."""
    outcomes = Outcomes(configuration.name, configuration.at_once)
    waiting = iter(wanted)
    scene_of = {request.prompt: request.scene for request in wanted}
    directives = Directives() if configuration.cache else Directives(no_cache=True, no_store=True)
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:  # noqa: PTH112, ASYNC240
        async with service(
            Path(folder),
            configuration.keys,
            lambda prompt: scene_seconds(scene_of[prompt]),
            attempts=configuration.attempts,
            minilm=minilm,
            seed=seed,
        ) as (cache, simulator, _, store, events):
            now = asyncio.get_running_loop().time
            began = now()

            async def worker() -> None:
                for request in waiting:
                    if now() - began > until:
                        return
                    asked = now()
                    result = await cache.get_or_generate(
                        "images",
                        {"prompt": request.prompt, "model": MODEL, "size": SIZE, "quality": QUALITY},
                        caller=Caller(),
                        directives=directives,
                    )
                    outcomes.seconds.append(now() - asked)
                    outcomes.requests += 1
                    if not isinstance(result, Served) or now() - asked > DEADLINE:
                        outcomes.failed += 1
                        continue
                    report = result.report
                    outcomes.hits += report.decision in ("hit", "collapsed")
                    outcomes.wrong += (
                        report.matched_prompt is not None and scene_of[report.matched_prompt] != request.scene
                    )

            await asyncio.gather(*[worker() for _ in range(configuration.at_once)])
            outcomes.elapsed = now() - began
            payments = await store.payments(limit=10**6)
            outcomes.usd = sum(paid.usd or 0.0 for paid in payments if paid.charge != "maybe-paid")
            outcomes.lost_usd = sum(paid.usd or 0.0 for paid in payments if paid.charge == "maybe-paid")
            outcomes.images = simulator.stats.images
            calls = [event for event in events if isinstance(event, UpstreamCalled) and event.outcome == "ok"]
            outcomes.upstream_seconds = sum(call.seconds for call in calls)
    return outcomes


def show(title: str, rows: Sequence[Outcomes]) -> None:
    """A table."""
    print(f"\n{title}")
    print(
        f"{'':18}{'at once':>8}{'requests':>9}{'a minute':>10}{'×':>6}{'mean s':>8}{'success':>9}{'images':>8}"
        f"{'USD':>9}{'lost':>8}{'hit rate':>9}{'wrong':>6}{'L=λW':>7}{'λ=L/W':>8}"
    )
    for row in rows:
        print(
            f"{row.name:18}{row.at_once:8}{row.requests:9}{row.per_minute:10.1f}{row.per_minute / rows[0].per_minute:6.1f}"
            f"{row.mean:8.2f}{row.success:9.2%}{row.images:8}{row.usd:9.4f}{row.lost_usd:8.4f}{row.hit_rate:9.1%}"
            f"{row.wrong:6}{row.in_flight:7.2f}{row.at_once / row.mean * 60:8.1f}"
        )


def bounds(rows: Sequence[Outcomes]) -> list[tuple[str, float, float, bool]]:
    """What must hold: name, reached, bar, whether it does."""
    alone, uncached, cached = rows
    left = 1 - cached.hit_rate
    found = [
        ("throughput, × the first configuration", cached.per_minute / alone.per_minute, 10.8, True),
        ("success within the deadline", cached.success, 0.995, True),
        ("cost, of (1 − hit rate) × uncached", cached.usd_each / (left * uncached.usd_each), 1.02, False),
        ("generation time, of the same", cached.generation_seconds / (left * uncached.generation_seconds), 1.02, False),
        ("hits on another scene", float(cached.wrong), 0.0, False),
    ]
    return [
        (name, reached, bar, reached >= bar if at_least else reached <= bar) for name, reached, bar, at_least in found
    ]


def claims() -> None:
    """What is claimed elsewhere for such a cache, by Little's law and by the hit rate that each claim needs."""
    print("\nClaims published for such a service, and what each of them needs")
    print(f"{'claim':42}{'hit rate it needs':>18}   by")
    rows = [
        ("45 → 486 a minute, ten at once", 1 - (10 * 60 / 4.2) / 486, "λ = L / W: ten misses of 4.2 s at once are 143 a minute"),
        ("4.2 → 2.3 s on average", 1 - 2.3 / 4.2, "W = (1 − h) · 4.2 s, a hit taking nothing"),
        ("87 → 99.2 % success, without repeating", 1 - 0.008 / 0.13, "misses fail as before, hits never"),
        ("30 % less cost", 0.3, "cost = (1 − h) · uncached"),
    ]  # fmt: skip
    for name, rate, why in rows:
        print(f"{name:42}{rate:18.1%}   {why}")
    print(
        "45 a minute of 4.2 s are 3.2 in flight, where one at once makes 14.3; 486 of 2.3 s are 18.6, where ten make 261."
    )


def together(runs: Sequence[Outcomes]) -> Outcomes:
    """Several runs of one configuration, one after the other."""
    total = Outcomes(runs[0].name, runs[0].at_once)
    for one in runs:
        for name in ("requests", "failed", "hits", "wrong", "upstream_seconds", "elapsed", "images", "usd", "lost_usd"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.seconds += one.seconds
    return total


def judged(rows: Sequence[Outcomes]) -> bool:
    """Prints the bounds; True if all hold."""
    holds = True
    for name, reached, bar, well in bounds(rows):
        print(f"  {'holds' if well else 'FAILS'}  {name}: {reached:.3f} (bar {bar:g})")
        holds = holds and well
    print(f"  lasted {', '.join(f'{row.elapsed / 60:.1f}' for row in rows)} virtual minutes")
    return holds


async def short(repeats: float, minilm: Any, seeds: Sequence[int]) -> bool:
    """100 prompts, once for each seed. The last few leave places empty, which is much of so short a run."""
    runs = []
    for seed in seeds:
        wanted = requests(100, repeats, seed)
        runs.append([await run(one, wanted, minilm, until=math.inf, seed=seed) for one in CONFIGURATIONS])
    rows = [together(column) for column in zip(*runs, strict=True)]
    show(f"{len(runs)} × 100 prompts, {repeats:.0%} of them asked before", rows)
    holds = judged(rows)
    ratios = ", ".join(f"{cached.per_minute / alone.per_minute:.1f}" for alone, _, cached in runs)
    print(f"  throughput of each seed, × the first configuration: {ratios}")
    return holds


async def long(repeats: float, minilm: Any, minutes: float, seed: int) -> bool:
    """The fastest configuration lasts so many minutes; the second answers the very same requests, the first as many as it can in that time."""
    count = round(minutes * 60 / MEDIAN * 10 / (1 - repeats) * 1.1)
    wanted = requests(count, repeats, seed)
    untils = (minutes * 60, math.inf, math.inf)
    rows = [
        await run(one, wanted, minilm, until=until, seed=seed)
        for one, until in zip(CONFIGURATIONS, untils, strict=True)
    ]
    show(f"{minutes:g} minutes and more, {repeats:.0%} asked before", rows)
    holds = judged(rows)
    if rows[-1].elapsed < minutes * 60:
        print("  FAILS  the last configuration was done too early")
        holds = False
    return holds


async def measure(arguments: argparse.Namespace) -> bool:
    """Every table; True if all bounds hold."""
    minilm = await embedder(Settings())
    holds = True
    try:
        for repeats in arguments.repeats:
            holds = await short(repeats, minilm, range(1, arguments.seeds + 1)) and holds
            holds = await long(repeats, minilm, arguments.minutes, 1) and holds
    finally:
        await minilm.aclose()
    claims()
    return holds


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes of the long runs")
    parser.add_argument(
        "--repeats", type=float, nargs="+", default=[0.3, 0.6], help="shares of requests for an earlier scene"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how often 100 prompts are asked, each time others")
    arguments = parser.parse_args()
    sys.exit(0 if run_virtual_with_threads(measure(arguments)) else 1)


if __name__ == "__main__":
    main()
