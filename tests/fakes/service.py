"""A service whose cache answers by a script; everything around it is real or another fake."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from cache_service.answer import Caller, Report, Result, Served
from cache_service.api import strict_json
from cache_service.api.access import parse_client_keys
from cache_service.api.app import create_app
from cache_service.api.problems import details_of
from cache_service.budget import Budgets, Limits
from cache_service.config import Settings
from cache_service.decision import Directives
from cache_service.errors import StoreCorrupt
from cache_service.feedback import Policy, Standing
from cache_service.instrumentation.alerts import Counts, Thresholds
from cache_service.instrumentation.events import Event
from cache_service.instrumentation.prometheus import PrometheusMetrics
from cache_service.jobs.accounts import Accounts
from cache_service.jobs.alerts import AlertKeeper
from cache_service.jobs.batch import Batches
from cache_service.jobs.batch_run import Means
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.explore import Explorer
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.hit_log import HitLog
from cache_service.jobs.inspect import Inspector
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.purge import Purger
from cache_service.jobs.request_log import RequestLog
from cache_service.jobs.timeline import Timeline
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.service import Service
from cache_service.store.base import Purged, VectorRow
from cache_service.store.entry import Feedback, Judgement, Output, PurgePredicate, ServedHit
from cache_service.store.records import (
    Act,
    AuditRecord,
    EntryDetail,
    EntryFilter,
    EntryPage,
    NewKey,
    Place,
    StoredKey,
)
from cache_service.verification.rules import RulesVerifier
from tests.fakes.batches import FakeBatchStore
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.index import BruteForceIndex
from tests.fakes.ledger import LedgerInMemory
from tests.fakes.upstream import FakeUpstream

ADMIN_TOKEN = "the-admin-token"
KEY = "k" * 64
HIT = Report("hit", key=KEY, kind="exact", reason="equal key", similarity=1.0, age=12.7, ttl=3600.0)
BODY = b'{"created":1764000000,"data":[{"b64_json":"AAAA"}]}'


@dataclass(frozen=True)
class Asked:
    """One call of the cache."""

    operation: str
    body: Mapping[str, Any]
    caller: Caller
    directives: Directives
    tags: frozenset[str]
    request_id: str = ""
    priority: int = 0


class FakeCache:
    """Takes requests apart with the real operations, then answers by `answer`."""

    def __init__(self) -> None:
        images: Operation = Images(lambda model, size, quality: 196)
        chat: Operation = Chat()
        self.operations: Mapping[str, Operation] = {"images": images, "chat": chat}
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Awaitable[Result]] = serve

    async def get_or_generate(
        self,
        operation: str,
        body: Mapping[str, Any] | bytes,
        *,
        caller: Caller,
        directives: Directives,
        tags: frozenset[str] = frozenset(),
        request_id: str = "",
        priority: int = 0,
    ) -> Result:
        body = strict_json.loads(body) if isinstance(body, bytes) else body
        self.operations[operation].parse(body)
        self.asked.append(Asked(operation, body, caller, directives, tags, request_id, priority))
        return await self.answer(self.asked[-1])


async def at_once(seconds: float) -> None:
    """A pause that nobody waits for."""
    await asyncio.sleep(0)


async def serve(asked: Asked) -> Result:
    """An exact hit."""
    return Served(200, BODY, "application/json", HIT)


class FakeStore:
    """Blobs by namespace, and a count for purges."""

    def __init__(self) -> None:
        self.readable: dict[tuple[str, str], Output] = {}
        self.predicates: list[tuple[str, PurgePredicate]] = []
        self.failed: str | None = None
        self.lookups: list[tuple[str, str, float]] = []
        self.hits: list[ServedHit] = []
        self.feedback: dict[int, Feedback] = {}
        self.changes = 0
        self.acts: list[AuditRecord] = []
        self.keys: list[StoredKey] = []
        self.entries: list[EntryDetail] = []
        self.pages: list[tuple[EntryFilter, Place | None, int]] = []
        self.bands: list[tuple[float, Judgement | None, int]] = []

    async def readable_blob(self, sha256: str, *, namespace: str, now: float) -> Output | None:
        self.lookups.append((sha256, namespace, now))
        return self.readable.get((namespace, sha256))

    async def count(self, predicate: PurgePredicate) -> int:
        self.predicates.append(("count", predicate))
        return 7

    async def purge(self, predicate: PurgePredicate, *, by: Act | None = None) -> Purged:
        self.predicates.append(("purge", predicate))
        self._file(by, 7)
        return Purged(7, 42, ())

    async def unreferenced(self, blobs: Iterable[str]) -> set[str]:
        return set(blobs)

    async def totals(self) -> dict[str, int]:
        return {"entries": 3, "outputs": 4, "blob_bytes": 5}

    async def find_hit(
        self, *, namespace: str, key: str | None = None, request_id: str | None = None
    ) -> ServedHit | None:
        self.lookups.append((request_id or key or "", namespace, 0.0))
        for hit in reversed(self.hits):
            named = hit.request_id == request_id if request_id is not None else key in (hit.asked_key, hit.stored_key)
            if named and hit.namespace == namespace:
                return hit
        return None

    async def add_feedback(self, hit: ServedHit, verdict: Judgement, *, client: str, by: Act | None = None) -> Feedback:
        self._file(by, 1)
        self.changes += 1
        self.feedback[self.changes] = Feedback(self.changes, hit, verdict, client, 1000.0)
        return self.feedback[self.changes]

    async def undo_feedback(self, number: int, *, by: Act | None = None) -> Feedback | None:
        self._file(by, 1)
        if number in self.feedback and self.feedback[number].undone is None:
            self.changes += 1
            self.feedback[number] = replace(self.feedback[number], undone=self.changes)
        return self.feedback.get(number)

    async def feedback_after(self, number: int) -> list[Feedback]:
        return [one for one in self.feedback.values() if max(one.number, one.undone or 0) > number]

    async def list_feedback(self, *, namespace: str | None, before: int | None, limit: int) -> list[Feedback]:
        fits = [
            one
            for one in reversed(self.feedback.values())
            if namespace in (None, one.hit.namespace) and (before is None or one.number < before)
        ]
        return fits[:limit]

    def _file(self, act: Act | None, count: int) -> None:
        if act is not None:
            self.acts.append(AuditRecord(len(self.acts) + 1, 1000.0, act.who, act.action, act.what, count))

    async def add_act(self, act: Act, *, count: int) -> None:
        self._file(act, count)

    async def list_acts(self, *, before: int | None, limit: int) -> list[AuditRecord]:
        return [act for act in reversed(self.acts) if before is None or act.id < before][:limit]

    async def add_key(self, new: NewKey, *, by: Act) -> StoredKey:
        self._file(by, 1)
        self.keys.append(StoredKey(len(self.keys) + 1, **asdict(new), created_at=1000.0, created_by=by.who))
        return self.keys[-1]

    async def revoke_key(self, key_id: int, *, by: Act) -> StoredKey | None:
        if not 1 <= key_id <= len(self.keys):
            return None
        self._file(by, 1)
        self.keys[key_id - 1] = replace(self.keys[key_id - 1], revoked_at=1000.0)
        return self.keys[key_id - 1]

    async def live_keys(self) -> list[StoredKey]:
        return [key for key in self.keys if key.revoked_at is None]

    async def list_keys(self, *, before: int | None, limit: int) -> list[StoredKey]:
        return [key for key in reversed(self.keys) if before is None or key.id < before][:limit]

    async def clients_exist(self) -> bool:
        return any(key.role == "client" for key in self.keys)

    async def list_entries(self, wanted: EntryFilter, *, after: Place | None, limit: int) -> EntryPage:
        self.pages.append((wanted, after, limit))
        found = [entry.summary for entry in self.entries if wanted.among is None or entry.summary.id in wanted.among]
        return EntryPage(tuple(found[:limit]), Place(0.0, found[limit - 1].id) if len(found) > limit else None)

    async def entry_detail(self, entry_id: int) -> EntryDetail | None:
        return next((entry for entry in self.entries if entry.summary.id == entry_id), None)

    async def vectors(self, entry_ids: Collection[int], *, embedding_model: str) -> list[VectorRow]:
        return []

    async def hits_of(self, *, namespace: str, key: str, limit: int) -> list[ServedHit]:
        return [hit for hit in self.hits if hit.namespace == namespace and key in (hit.asked_key, hit.stored_key)]

    async def any_output(self, sha256: str) -> Output | None:
        return next((output for (_, digest), output in self.readable.items() if digest == sha256), None)

    async def judged(
        self, *, namespace: str | None, operation: str | None
    ) -> list[tuple[float, Judgement | None, int]]:
        return self.bands


class Books:
    """A ledger and the feedback of the store, read as one."""

    def __init__(self, ledger: LedgerInMemory, store: FakeStore) -> None:
        self.sums = ledger.sums
        self.feedback_after = store.feedback_after


class FakeBlobs:
    """Pictures in memory."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}

    async def read(self, sha256: str) -> bytes:
        if sha256 not in self.pictures:
            raise StoreCorrupt("missing")
        return self.pictures[sha256]

    async def collect(self, blobs: Iterable[str], *, unreferenced: Any) -> int:
        return 0


@dataclass
class Bench:
    """The application with handles on everything behind it."""

    app: FastAPI
    service: Service
    cache: FakeCache
    store: FakeStore
    blobs: FakeBlobs
    upstream: FakeUpstream
    metrics: PrometheusMetrics
    batches: FakeBatchStore
    ledger: LedgerInMemory
    events: list[Event] = field(default_factory=list)

    def client(self, key: str | None = None, **settings: Any) -> httpx.AsyncClient:
        """An HTTP client of the application; key: sent as bearer."""
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        options: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "headers": headers, **settings}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), **options)

    def keep(self, picture: bytes, media_type: str | None, *, namespace: str = "default") -> str:
        """Stores a picture that callers of the namespace may read; returns its digest."""
        digest = hashlib.sha256(picture).hexdigest()
        self.blobs.pictures[digest] = picture
        self.store.readable[namespace, digest] = Output({}, 0, blob=digest, size=len(picture), media_type=media_type)
        return digest


def make_bench(
    *,
    upstream: FakeUpstream | None = None,
    not_ready: list[str] | None = None,
    budget: Limits | None = None,
    **settings: Any,
) -> Bench:
    """An application around fakes. not_ready: the reasons, which a test may change; settings: of the service."""
    store, blobs, cache, metrics = FakeStore(), FakeBlobs(), FakeCache(), PrometheusMetrics()
    upstream = upstream or FakeUpstream()
    reasons = [] if not_ready is None else not_ready
    events: list[Event] = []

    def hook(event: Event) -> None:
        events.append(event)
        metrics(event)
        counts(event)

    async def catch_up() -> None:
        return None

    counts, books = Counts(), LedgerInMemory()
    ledger = Ledger(
        books, Budgets(budget or Limits()), price=lambda *_: 0.25, estimate=lambda *_: 0.25,
        hook=hook, now=lambda: 1000.0,
    )  # fmt: skip
    accounts = Accounts(
        Books(books, store), price=lambda model, kind, made: made.outputs * 0.5, models={"images": ["painter"]},
        providers={
            "primary": lambda operation, model: model,
            "chatter": lambda operation, model: model if operation == "chat" else None,
        },
        allowed={"images": 0.01, "chat": 0.02}, budgets=ledger.budgets, flush=ledger.flush, now=lambda: 1000.0,
    )  # fmt: skip
    alerts = AlertKeeper(counts, Thresholds(), pools=upstream.pools, budgets=ledger.budgets, now=lambda: 1000.0)
    real: Any = (store, blobs)  # the parts of the stores that the interface uses
    purger = Purger(
        real[0], real[1], FakeEmbedder(), forget=lambda predicate: None, catch_up=catch_up, hook=hook,
        default_similarity=0.92, now=lambda: 1000.0,
    )  # fmt: skip
    keeper = FeedbackKeeper(
        real[0], HitLog(real[0], hook=hook, keep=1000), Standing(Policy({"images": 0.01, "chat": 0.02})), hook=hook,
        threshold=0.92, now=lambda: 1000.0,
    )  # fmt: skip
    wanted, batch_store = Settings(**settings), FakeBatchStore()
    batches = Batches(batch_store, owner="bench", most_running=wanted.max_batches)
    batches.begin(
        Means(
            store=batch_store, cache=cache, estimate=lambda operation, request: None, problem=details_of, hook=hook,
            slots=asyncio.Semaphore(wanted.batch_concurrency), concurrency=wanted.batch_concurrency, grown=batches.grown,
            now=lambda: 1000.0, pause=at_once,
        )
    )  # fmt: skip
    requests, timeline = RequestLog(keep=100), Timeline(lambda: 1000.0)
    keys = ClientKeys(real[0], [(key.digest, key.caller) for key in parse_client_keys(wanted.client_keys)])
    explorer = Explorer(cache.operations, FakeEmbedder(), RulesVerifier())
    inspector = Inspector(real[0], real[0], BruteForceIndex(8), FakeEmbedder(), requests)
    service = Service(
        settings=wanted, admin=real[0], keys=keys, requests=requests, inspector=inspector, explorer=explorer, timeline=timeline,
        cache=cache, store=real[0], blobs=real[1], upstream=upstream, purger=purger,
        feedback=keeper, ledger=ledger, accounts=accounts, alerts=alerts, batches=batches, hook=hook,
        render_metrics=metrics.render, admin_token=SecretStr(ADMIN_TOKEN), not_ready=lambda: reasons,
        announce=lambda url: None,
    )  # fmt: skip
    return Bench(create_app(service), service, cache, store, blobs, upstream, metrics, batch_store, books, events)
