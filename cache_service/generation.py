"""Steps 7 and 8 of a miss: generate, then store in both tiers; and the recovery of what a killed process had paid for.

What it may cost is held before, and what it did cost is filed with it (`jobs/ledger`).
The order is what keeps a paid picture: spool (before the request leaves) → upstream → spool → blobs → one SQL transaction →
index → answered → spool discarded. A picture's file is written as soon as its bytes are known, and named once it is found whole. Whatever
fails on the way to the store, the client still gets the answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import orjson

from cache_service.cache_key.key import form
from cache_service.errors import BudgetExceeded, CacheServiceError, StoreError, UpstreamError
from cache_service.instrumentation.events import Hook, NotStored, Recovered, StepTimed, StoreFailed
from cache_service.jobs.follow import Follower
from cache_service.jobs.ledger import Bill, Ledger
from cache_service.lifetime import Lifetimes
from cache_service.operations.base import Answer, Asked, Incomplete, Made, Operation, unseen
from cache_service.providers import Provider
from cache_service.question import is_large
from cache_service.single_flight import Generation
from cache_service.spooling import Spooling
from cache_service.store.base import Ahead, BlobStore, EntryStore, OnConflict, RefusedByPurge, Spool
from cache_service.store.entry import Entry, NewEntry, Output, Payment, SpoolHeader, StoredVector
from cache_service.upstream.base import Call, Urgency

log = logging.getLogger(__name__)

_FAILED = "store failed"  # why an answer wasn't stored, and the spool's file stays
_SHORT = 16 * 1024
"""Bytes of an answer that are taken apart on the loop, in some 50 µs: a thread costs as much. Pictures are larger."""

Room: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[bool]]
"""(namespace, bytes of pictures) → room for one entry while it is stored; False where it must not be, being larger than a bound."""


@asynccontextmanager
async def unbounded(_namespace: str, _blob_bytes: int) -> AsyncIterator[bool]:
    """There is always room."""
    yield True


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """The upstream gave a complete answer.

    raw: its body as received. outputs: the new ones. pictures: their bytes by digest, whatever became of the blobs.
    entry: as it stands after the store, None if it wasn't stored; `why_not` says why. filed_as_asked: under the asked key.
    """

    raw: bytes
    headers: Mapping[str, str]
    answer: Answer
    outputs: tuple[Output, ...]
    pictures: Mapping[str, bytes]
    entry: Entry | None
    why_not: str
    filed_as_asked: bool
    usd: float | None
    request_id: str | None


@dataclass(frozen=True, slots=True, eq=False)
class AlreadyThere:
    """Someone stored it between the look-up and the start of the generation; nothing was paid."""

    entry: Entry


@dataclass(frozen=True, slots=True, eq=False)
class NotUnderstood:
    """A 2xx without a complete result: passed through unchanged, never stored."""

    status: int
    raw: bytes
    headers: Mapping[str, str]
    reason: str
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Broke:
    """No answer."""

    error: CacheServiceError


Outcome: TypeAlias = Produced | AlreadyThere | NotUnderstood | Broke


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one generation is to do.

    asked: whose prompt and parameters are sent; provider: to whom. n: outputs to make. enough: outputs that make a stored entry sufficient;
    0 generates in any case. may_store: the client didn't forbid it. deadline: on the monotonic clock. priority: a larger one goes
    first, 0 is usual. impatient: another answer stands ready, should the upstream be failing.
    """

    operation: Operation
    asked: Asked
    provider: Provider
    n: int
    enough: int
    on_conflict: OnConflict
    may_store: bool
    deadline: float
    priority: int = 0
    impatient: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A 2xx, read to its end. usage: what the upstream said it used. maybe_paid: calls lost before it that may have been charged."""

    status: int
    raw: bytes
    headers: Mapping[str, str]
    request_id: str | None
    usage: Mapping[str, Any] | None
    maybe_paid: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What to send upstream, and what its answer becomes. path: below the base URL. body, draft: JSON."""

    path: str
    model: str | None
    exact_key: str
    body: str
    draft: str


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A complete answer that came another way than by a call of ours. usd: what it cost; stored: whether it is in the cache."""

    exact_key: str
    usd: float | None
    stored: bool


class Generator:
    """Runs generations to their end: one call of `run` is one paid call at most (and the retries the upstream allows)."""

    def __init__(
        self,
        *,
        store: EntryStore,
        blobs: BlobStore,
        spool: Spool,
        follower: Follower,
        lifetimes: Lifetimes,
        ledger: Ledger,
        hook: Hook,
        embedding_model: str,
        room: Room = unbounded,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._spool = spool
        self._follower = follower
        self.lifetimes = lifetimes
        self._ledger = ledger
        self._hook = hook
        self._embedding_model = embedding_model
        self._room = room
        self._now = now
        self._monotonic = monotonic

    async def run(self, job: Job, generation: Generation[Outcome]) -> Outcome:
        """Generates and stores; never raises for what the outside world does."""
        draft, may_store = generation.draft, job.may_store
        try:
            entry, began = await self._store.find_or_begin(draft.exact_key, embedding_model=self._embedding_model)
            if entry is not None and self._suffices(entry, job.enough):
                return AlreadyThere(entry)
            draft = replace(draft, began=began)  # a purge with a larger number forbids storing
        except StoreError:
            log.exception("the store can't be read; answering without it")
            self._hook(StoreFailed(draft.operation, "sql"))
            may_store = False
        try:
            bill = self._ledger.open(job.asked, draft.client, job.n, draft.group)
        except BudgetExceeded as error:
            return Broke(error)
        try:
            async with self._blobs.ahead() as ahead:
                return await self._generate(job, generation, draft, bill, ahead if may_store else None)
        finally:
            self._ledger.close(bill)

    async def _generate(
        self, job: Job, generation: Generation[Outcome], draft: NewEntry, bill: Bill, ahead: Ahead | None
    ) -> Outcome:
        """Step 7, and 8 where there is a complete answer. ahead: None where nothing is to be stored."""
        spooling = Spooling(self._spool, draft.operation, self._hook)
        if ahead is not None:
            known = draft_to_json(draft) | {"on_conflict": job.on_conflict}
            await spooling.open(SpoolHeader(bill.id, draft.began, self._now(), known))
        try:
            with self._timed(generation, "generate"):
                received = await self._call(job, generation, spooling)
        except UpstreamError as error:
            await self._ledger.lost(bill, error.maybe_paid)
            await spooling.discard()
            return Broke(error)
        await self._ledger.lost(bill, received.maybe_paid)
        answer = await self._read(job.operation, received.status, received.raw, ahead)
        await spooling.written()  # before anything is done with it
        if isinstance(answer, Incomplete):
            charge = self._ledger.payment(bill, "not-stored" if received.usage else "maybe-paid", received.usage)
            await self._ledger.file(bill, charge)
            await spooling.discard()
            self._hook(NotStored(draft.operation, "incomplete"))
            return NotUnderstood(received.status, received.raw, received.headers, answer.reason, received.request_id)
        draft = replace(draft, tags=frozenset(generation.tags))
        with self._timed(generation, "store"):
            produced = await self._keep(job, draft, answer, received, bill, spooling, ahead)
        if produced.why_not != _FAILED:
            generation.afterwards.append(spooling.discard)
        return produced

    async def recover(self, operations: Mapping[str, Operation]) -> None:
        """Stores what an earlier process had received but not stored; called once, before requests are served."""
        for found in await self._spool.recover():
            outcome = "incomplete"
            try:
                draft = draft_from_json(found.header)
                operation = operations[draft.operation]
                answer = await self._read(operation, 200, found.body)
                if isinstance(answer, Answer):
                    outcome = await self._recover_one(operation, answer, draft, found.header)
                else:
                    await self._recover_lost(operation, draft, found.header)
            except Exception as error:  # whatever is in the file, the service starts
                log.warning("a spooled generation could not be recovered and is kept: %s", type(error).__name__)
                self._hook(Recovered("unreadable"))
                continue
            await found.file.discard()
            self._hook(Recovered(outcome))

    async def missing(self, job: Job, draft: NewEntry) -> Missing:
        """What `run` would send, as text. Raises StoreError, BudgetExceeded."""
        self._ledger.close(self._ledger.open(job.asked, draft.client, job.n, draft.group))
        began = (await self._store.position()).number  # a purge with a larger number forbids storing
        header = {
            "id": uuid.uuid4().hex,
            "began": began,
            "at": self._now(),
            "entry": draft_to_json(replace(draft, began=began)) | {"on_conflict": job.on_conflict},
        }
        call = await asyncio.to_thread(_to_call, job, None)
        body = (call.body or b"").decode("utf-8")
        return Missing(call.path, job.asked.model, draft.exact_key, body, orjson.dumps(header).decode("utf-8"))

    async def take_in(
        self, operations: Mapping[str, Operation], draft_text: str, body: bytes, *, price_factor: float
    ) -> TakenIn | Incomplete:
        """Stores an answer for what `missing` gave. Taken in twice, it is stored and paid once. Raises StoreError."""
        known = orjson.loads(draft_text)
        header = SpoolHeader(known["id"], known["began"], known["at"], known["entry"])
        draft = draft_from_json(header)
        operation = operations[draft.operation]
        answer = await self._read(operation, 200, body)
        asked = operation.parse(draft.request)
        n = len(answer.outputs) if isinstance(answer, Answer) else asked.n
        bill = self._ledger.recovered(header.generation_id, asked, draft.client, n, draft.group)
        if isinstance(answer, Incomplete):
            await self._ledger.lost(bill, 1)
            return answer
        full = self._ledger.payment(bill, "paid", answer.total_usage, answer.made)
        payment = replace(full, usd=None if full.usd is None else full.usd * price_factor)
        price = self._usd(bill, answer)

        def cheaper(made: Made) -> float | None:
            usd = price(made)
            return None if usd is None else usd * price_factor

        outputs, pictures = to_outputs(answer, None, cheaper)
        new, on_conflict = self._filed(operation, asked, answer, draft, outputs, header.entry["on_conflict"])
        usd = None if payment.estimated else payment.usd
        there = await self._store.find(new.exact_key, embedding_model=self._embedding_model)
        if there is not None and pictures and pictures.keys() <= {output.blob for output in there.outputs}:
            return TakenIn(new.exact_key, usd, stored=True)
        stored = await self._file(new, pictures, on_conflict, payment)
        if isinstance(stored, str):
            await self._ledger.file(bill, replace(payment, charge="not-stored"))
            return TakenIn(new.exact_key, usd, stored=False)
        self._ledger.filed(bill, payment)
        self._ledger.close(bill)
        return TakenIn(new.exact_key, usd, stored=True)

    async def _recover_one(self, operation: Operation, answer: Answer, draft: NewEntry, header: SpoolHeader) -> str:
        """Stores what was received, unless the process had done so before it was killed."""
        asked = operation.parse(draft.request)
        bill = self._ledger.recovered(header.generation_id, asked, draft.client, len(answer.outputs), draft.group)
        payment = self._ledger.payment(bill, "paid", answer.total_usage, answer.made)
        outputs, pictures = to_outputs(answer, None, self._usd(bill, answer))
        new, on_conflict = self._filed(operation, asked, answer, draft, outputs, header.entry["on_conflict"])
        there = await self._store.find(new.exact_key, embedding_model=self._embedding_model)
        if there is not None and pictures and pictures.keys() <= {output.blob for output in there.outputs}:
            return "stored"
        stored = await self._file(new, pictures, on_conflict, payment)
        if isinstance(stored, str):
            await self._ledger.file(bill, replace(payment, charge="not-stored"))
            return stored
        return "stored"

    async def _recover_lost(self, operation: Operation, draft: NewEntry, header: SpoolHeader) -> None:
        """The process was killed during the call: it may have been charged."""
        asked = operation.parse(draft.request)
        await self._ledger.lost(
            self._ledger.recovered(header.generation_id, asked, draft.client, asked.n, draft.group), 1
        )

    def _suffices(self, entry: Entry, enough: int) -> bool:
        expired = entry.expires_at is not None and entry.expires_at <= self._now()
        return 0 < enough <= len(entry.outputs) and not expired

    async def _call(self, job: Job, generation: Generation[Outcome], spooling: Spooling) -> Received:
        """Sends the request; the body gathers in the generation and the spool."""
        # a long conversation takes a while to write
        to_call = partial(_to_call, job, generation.urgency)
        call = await asyncio.to_thread(to_call) if is_large(job.asked.body) else to_call()
        async with job.provider.upstream.send(call) as reply:
            async for piece in reply.pieces:
                generation.append(piece)
                spooling.append(piece)
            return Received(
                reply.status, generation.body, reply.headers, reply.request_id, reply.usage(), reply.maybe_paid
            )

    async def _read(
        self, operation: Operation, status: int, raw: bytes, ahead: Ahead | None = None
    ) -> Answer | Incomplete:
        if status != 200:
            return Incomplete(f"status {status}")
        if len(raw) <= _SHORT:
            return operation.read(raw)
        return await asyncio.to_thread(partial(operation.read, raw, seen=unseen if ahead is None else ahead.begin))

    async def _keep(
        self,
        job: Job,
        draft: NewEntry,
        answer: Answer,
        received: Received,
        bill: Bill,
        spooling: Spooling,
        ahead: Ahead | None,
    ) -> Produced:
        """Step 8; what it can't store is answered all the same, and paid all the same."""
        outputs, pictures = to_outputs(answer, received.request_id, self._usd(bill, answer))
        payment = self._ledger.payment(bill, "paid", answer.total_usage, answer.made)
        new, on_conflict = self._filed(job.operation, job.asked, answer, draft, outputs, job.on_conflict)
        entry, why_not = None, "no-store" if ahead is None else ""
        if ahead is not None:
            try:
                stored = await self._file(new, pictures, on_conflict, payment, ahead)
                if isinstance(stored, str):
                    why_not = stored
                else:
                    entry = stored
                    self._ledger.filed(bill, payment)
            except (
                Exception
            ):  # whatever a store does, who paid gets the answer; the spool's file is stored at the next start
                where = "kept in the spool" if spooling.kept else "lost with this process"
                log.exception("a paid answer could not be stored; it was served, and is %s", where)
                self._hook(StoreFailed(draft.operation, "sql"))
                why_not = _FAILED
        if entry is None:
            await self._ledger.file(bill, replace(payment, charge="not-stored"))
            self._hook(NotStored(draft.operation, why_not))
        return Produced(
            raw=received.raw,
            headers=received.headers,
            answer=answer,
            outputs=outputs,
            pictures=pictures,
            entry=entry,
            why_not=why_not,
            filed_as_asked=new.exact_key == draft.exact_key,
            usd=None if payment.estimated else payment.usd,
            request_id=received.request_id,
        )

    def _usd(self, bill: Bill, answer: Answer) -> Callable[[Made], float | None]:
        """What one output cost: its share of the use, at the price of the model that made it."""
        return lambda made: self._ledger.price(bill, made.usage, answer.made)

    def _filed(
        self,
        operation: Operation,
        asked: Asked,
        answer: Answer,
        draft: NewEntry,
        outputs: tuple[Output, ...],
        on_conflict: OnConflict,
    ) -> tuple[NewEntry, OnConflict]:
        """The entry to store: as asked, or beside what is there under the key of what was really made, if that was something else."""
        now = self._now()
        ttl = self.lifetimes.seconds(draft.operation, draft.model, volatile=asked.volatile)
        new = replace(
            draft,
            envelope=answer.envelope,
            made={**draft.made, **answer.made},
            outputs=outputs,
            created_at=now,
            expires_at=now + ttl if ttl else None,
        )
        made = operation.as_made(asked, answer)
        if made is None:
            return new, on_conflict
        key = form(made, namespace=draft.namespace, group=draft.group)
        filed = replace(new, exact_key=key.exact, partition=key.partition, request=made.body)
        return filed, "append" if operation.accumulates else "keep"

    async def _file(
        self,
        new: NewEntry,
        pictures: Mapping[str, bytes],
        on_conflict: OnConflict,
        payment: Payment,
        ahead: Ahead | None = None,
    ) -> Entry | str:
        """Room, blobs, the transaction, then the index; or the word why it isn't stored. Raises StoreError."""
        async with self._room(new.namespace, sum(map(len, pictures.values()))) as fits:
            if not fits:
                return "too large"
            async with self._blobs.writing(list(pictures.values()), digests=list(pictures), ahead=ahead):
                stored = await self._store.put(new, on_conflict, payment=payment)
        if not isinstance(stored, RefusedByPurge) and stored.orphaned_blobs:
            await self._blobs.collect(stored.orphaned_blobs, unreferenced=self._store.unreferenced)
        if isinstance(stored, RefusedByPurge):
            await self._blobs.collect(pictures, unreferenced=self._store.unreferenced)
            return "purged"
        try:
            await self._follower.take(stored, new)
        except StoreError:
            # stored all the same; the follower comes round again
            self._hook(StoreFailed(new.operation, "index"))
        return stored.entry

    @contextlib.contextmanager
    def _timed(self, generation: Generation[Outcome], step: str) -> Iterator[None]:
        started = self._monotonic()
        try:
            yield
        finally:
            generation.steps[step] = self._monotonic() - started
            self._hook(StepTimed(generation.draft.operation, step, generation.steps[step]))


def _to_call(job: Job, urgency: Urgency | None) -> Call:
    return job.provider.call(
        job.operation,
        job.asked,
        n=job.n,
        deadline=job.deadline,
        priority=job.priority,
        urgency=urgency,
        impatient=job.impatient,
    )


def to_outputs(
    answer: Answer, request_id: str | None, usd: Callable[[Made], float | None]
) -> tuple[tuple[Output, ...], dict[str, bytes]]:
    """The answer's outputs as they are stored, and the pictures by digest. usd: what one output cost."""
    pictures: dict[str, bytes] = {}

    def to_output(made: Made) -> Output:
        if made.picture is not None and made.digest is not None:
            pictures[made.digest] = made.picture
        return Output(
            item=made.item,
            created=made.created,
            usage=made.usage,
            blob=made.digest,
            size=len(made.picture or b""),
            media_type=made.media_type,
            upstream_request_id=request_id,
            usd=usd(made),
        )

    return tuple(to_output(made) for made in answer.outputs), pictures


def draft_to_json(draft: NewEntry) -> dict[str, Any]:
    """A draft (an entry without outputs) as plain JSON, for the spool's header."""
    plain = {name: getattr(draft, name) for name in _DRAFT_MEMBERS}
    vector = draft.vector
    return {
        **plain,
        "request": dict(draft.request),
        "made": dict(draft.made),
        "tags": sorted(draft.tags),
        "vector": vector
        and {
            "model_id": vector.model_id,
            "float32": base64.b64encode(vector.vector.astype("<f4").tobytes()).decode("ascii"),
            "analysis_version": vector.analysis_version,
            "analysis": dict(vector.analysis),
        },
    }


def draft_from_json(header: SpoolHeader) -> NewEntry:
    """The draft again. Raises KeyError, ValueError or TypeError for a header of another make."""
    members = dict(header.entry)
    vector = members["vector"]
    stored = vector and StoredVector(
        model_id=vector["model_id"],
        vector=np.frombuffer(base64.b64decode(vector["float32"]), dtype="<f4").astype(np.float32),
        analysis_version=vector["analysis_version"],
        analysis=vector["analysis"],
    )
    return NewEntry(
        **{name: members[name] for name in _DRAFT_MEMBERS},
        request=members["request"],
        tags=frozenset(members["tags"]),
        vector=stored,
        envelope={},
        made=members.get("made", {}),
        outputs=(),
        created_at=header.started_at,
        expires_at=None,
        began=header.began,
    )


_DRAFT_MEMBERS = (
    "exact_key",
    "key_version",
    "partition",
    "namespace",
    "operation",
    "model",
    "prompt",
    "prompt_digest",
    "client",
    "group",
)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
