"""A whole cache in one process: real SQLite, real files, real FAISS; the embedder and the upstream are fakes that pass their contracts."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio
from PIL import Image

from cache_service.answer import Caller, Failed, Result, Served
from cache_service.api import strict_json
from cache_service.budget import Budgets, Limits
from cache_service.decision import Directives
from cache_service.feedback import Policy, Standing
from cache_service.generation import Generator, Outcome
from cache_service.index.faiss import FaissIndex
from cache_service.instrumentation.events import Event
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.follow import Follower
from cache_service.jobs.hit_log import HitLog
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.purge import Purger
from cache_service.jobs.use_log import UseLog
from cache_service.keying import Keying
from cache_service.lifetime import Lifetimes
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.providers import Alternative, Provider, Providers
from cache_service.question import Mode
from cache_service.responses import Responses
from cache_service.semantic_cache import SemanticCache
from cache_service.semantic_tier import SemanticTier
from cache_service.single_flight import SingleFlight
from cache_service.store.blobs import FileBlobStore
from cache_service.store.migrations import migrate
from cache_service.store.spool import FileSpool
from cache_service.store.sql import SqlEntryStore, open_store
from cache_service.upstream.base import Call
from cache_service.verification.base import Analysis, Verifier
from cache_service.verification.rules import RulesVerifier
from cache_service.wire_bodies import WireBodies
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.upstream import FakeUpstream, Planned, planned

_colours = itertools.count(1)


def picture(kind: str = "PNG") -> bytes:
    """A small picture unlike every other."""
    number, out = next(_colours), io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, number // 65536 % 256)).save(out, kind)
    return out.getvalue()


def generate(call: Call) -> Planned:
    """What a well-behaved upstream answers."""
    asked = json.loads(call.body or b"{}")
    usage = {"input_tokens": 10, "output_tokens": 100 * asked.get("n", 1), "total_tokens": 10 + 100 * asked.get("n", 1)}
    if call.path == "/images/generations":
        data = [{"b64_json": base64.b64encode(picture()).decode()} for _ in range(asked.get("n", 1))]
        return planned({"created": 1_700_000_000, "data": data, "usage": usage})
    message = {"role": "assistant", "content": f"answer {next(_colours)}"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return planned(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    )


@dataclass
class World:
    """The cache and what it stands on. `now` is Unix seconds and stands still until a test moves it."""

    cache: SemanticCache
    store: SqlEntryStore
    blobs: FileBlobStore
    index: FaissIndex
    embedder: FakeEmbedder
    upstream: FakeUpstream
    generator: Generator
    follower: Follower
    flights: SingleFlight[Outcome]
    purger: Purger
    directory: Path
    events: list[Event]
    hits: HitLog
    keeper: FeedbackKeeper
    modes: dict[str, Mode]
    uses: UseLog
    ledger: Ledger
    clock: dict[str, float] = field(default_factory=lambda: {"now": 1_800_000_000.0})

    async def ask(
        self, body: str | Mapping[str, Any], operation: str = "images", namespace: str = "default", **directives: Any
    ) -> Result:
        request = {"prompt": body, "model": "m"} if isinstance(body, str) else body
        request_id = directives.pop("request_id", "")
        priority = directives.pop("priority", 0)
        return await self.cache.get_or_generate(
            operation,
            request,
            caller=Caller(namespace, "tester"),
            directives=Directives(**directives),
            request_id=request_id,
            priority=priority,
        )

    async def served(self, *args: Any, **kwargs: Any) -> Served:
        result = await self.ask(*args, **kwargs)
        assert isinstance(result, Served), result
        return result

    async def failed(self, *args: Any, **kwargs: Any) -> Failed:
        result = await self.ask(*args, **kwargs)
        assert isinstance(result, Failed), result
        return result

    async def sent(self, calls: int) -> None:
        """Returns once that many calls have reached the upstream."""
        while len(self.upstream.calls) < calls:  # noqa: ASYNC110  the fake knows no event for it
            await asyncio.sleep(0)

    def close_together(self, *texts: str) -> None:
        """Gives the texts one vector, as MiniLM gives paraphrases nearly one."""
        vector = self.embedder._embed(self.embedder.read(texts[0])).vector
        for text in texts:
            self.embedder.vectors[text] = vector


def pictures_of(served: Served) -> list[bytes]:
    return [base64.b64decode(item["b64_json"]) for item in json.loads(served.body)["data"]]


class Switchable:
    """The rules, until a test puts something else in their place."""

    def __init__(self) -> None:
        self.inner: Verifier = RulesVerifier()

    @property
    def version(self) -> str:
        return self.inner.version

    def analyse(self, prompt: str, embedding: Any) -> Analysis:
        return self.inner.analyse(prompt, embedding)

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Any:
        return self.inner.screen(asked, stored, operation)

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Any:
        return self.inner.verify(asked, stored, operation)


async def build(
    directory: Path,
    *,
    verifier: Verifier,
    now: Callable[[], float],
    upstream: FakeUpstream | None = None,
    budget: Limits | None = None,
    alternatives: Sequence[Alternative] = (),
    **options: Any,
) -> World:
    """options: of the cache."""
    events: list[Event] = []
    url = f"sqlite:///{directory}/cache.db"
    await migrate(url)
    store = await open_store(url, clock=now)
    blobs = await FileBlobStore.open(directory / "blobs")
    embedder = FakeEmbedder()
    index = FaissIndex(directory / "index", embedder.dimension)
    follower = Follower(store, index, embedding_model=embedder.model_id)
    await follower.start()
    upstream = upstream or FakeUpstream(generate)
    price = lambda model, usage: usage["total_tokens"] / 1000  # noqa: E731
    limits = budget or Limits()
    ledger = Ledger(
        store, Budgets(limits), price=price, estimate=lambda *_: 0.25, hook=events.append, now=now
    )  # fmt: skip
    generator = Generator(
        store=store,
        blobs=blobs,
        spool=FileSpool(directory / "spool"),
        follower=follower,
        lifetimes=Lifetimes({"chat": 100.0}, volatile=60.0),
        ledger=ledger,
        hook=events.append,
        embedding_model=embedder.model_id,
        now=now,
    )
    flights: SingleFlight[Outcome] = SingleFlight()
    operations: dict[str, Operation] = {"images": Images(lambda *_: 100), "chat": Chat()}
    semantic = SemanticTier(
        embedder=embedder,
        index=index,
        store=store,
        verifier=verifier,
        hook=events.append,
        candidates=5,
        embed_timeout=5.0,
        verify_timeout=5.0,
    )
    hits = HitLog(store, hook=events.append, keep=1000)
    standing = Standing(Policy({"images": 0.01, "chat": 0.02}))
    keeper = FeedbackKeeper(store, hits, standing, hook=events.append, threshold=0.92, now=now)
    modes: dict[str, Mode] = {}
    primary = Provider("primary", upstream)
    uses = UseLog(store, now=now)
    cache = SemanticCache(
        operations=operations,
        keying=Keying(primary, read=strict_json.loads, most=2**20, now=now),
        store=store,
        semantic=semantic,
        providers=Providers(primary, alternatives),
        generator=generator,
        flights=flights,
        responses=Responses(blobs, price, WireBodies(0, lambda entry: False)),
        hook=events.append,
        standing=standing,
        ledger=ledger,
        record=hits.add,
        modes=modes,
        threshold=0.92,
        generation_timeout=60.0,
        used=uses.add,
        now=now,
        **options,
    )
    purger = Purger(
        store,
        blobs,
        embedder,
        forget=flights.forget,
        catch_up=follower.catch_up,
        hook=events.append,
        default_similarity=0.92,
        now=now,
    )
    return World(
        cache, store, blobs, index, embedder, upstream, generator, follower, flights, purger, directory, events,
        hits, keeper, modes, uses, ledger,
    )  # fmt: skip


async def close(world: World) -> None:
    await world.flights.drain(5.0)
    await world.index.aclose()
    await world.store.aclose()


@pytest_asyncio.fixture
async def verifier() -> Switchable:
    return Switchable()


@pytest_asyncio.fixture
async def world(tmp_path: Path, verifier: Switchable) -> AsyncIterator[World]:
    clock = {"now": 1_800_000_000.0}
    built = await build(tmp_path, verifier=verifier, now=lambda: clock["now"])
    built.clock = clock
    yield built
    await close(built)
