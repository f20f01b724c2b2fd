"""START HERE. One request's way through the cache: `SemanticCache.get_or_generate`, eight steps from top to bottom.

Steps 1, 2 and 6 are here, 3 to 5 in `semantic_tier.py`; 7 and 8 run in a task of their own, `generation.py`, because they
outlive the client. `decision.py` decides, `responses.py` builds what the client gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import orjson

from cache_service.answer import Caller, Failed, Report, Result, Served
from cache_service.cache_key.key import CacheKey, form
from cache_service.cache_key.normalize import prompt_digest
from cache_service.decision import (
    Decision,
    Directives,
    Hit,
    Miss,
    MissReason,
    StaleHit,
    decide_exact,
    decide_semantic,
    in_shadow,
)
from cache_service.errors import (
    CacheServiceError,
    InvalidRequest,
    NotCached,
    StoreCorrupt,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.feedback import Standing
from cache_service.generation import AlreadyThere, Broke, Generator, Job, NotUnderstood, Outcome, Produced
from cache_service.instrumentation.events import Hook, RequestServed, ShadowHit, StepTimed, TierFailed, UsdSpent
from cache_service.operations.base import Asked, Operation
from cache_service.responses import Responses, miss_report
from cache_service.semantic_tier import Meaning, SemanticTier
from cache_service.single_flight import Generation, SingleFlight
from cache_service.store.base import EntryStore, OnConflict
from cache_service.store.entry import Entry, NewEntry, ServedHit
from cache_service.upstream.base import Call, Upstream

log = logging.getLogger(__name__)

MAX_GENERATIONS = 3
"""Generations that may be begun one after another for the same request when they fail; then those who wait share the error."""

Mode: TypeAlias = Literal["on", "off", "shadow"]
"""Whether semantic hits are served; `shadow` looks for them, says what would have been served, and generates."""

_GRACE = 1.0  # seconds a waiter gives a generation beyond their common deadline, so that its own error arrives

_LARGE = 64 * 1024  # characters, a member counting twenty; less is taken apart within a millisecond

_REPLACES = frozenset({MissReason.NO_CACHE, MissReason.TOO_OLD, MissReason.EXPIRED})


@dataclass(slots=True, eq=False)
class Question:
    """One request on its way: what was asked, its key, and what has been found out.

    started, deadline: on the monotonic clock. priority: of a generation, 0 is usual and less waits longer. held: pictures by digest that are stored already, where more are wanted.
    """

    operation: Operation
    asked: Asked
    key: CacheKey
    caller: Caller
    directives: Directives
    tags: frozenset[str]
    started: float
    deadline: float
    request_id: str = ""
    priority: int = 0
    meaning: Meaning | None = None
    held: dict[str, bytes] = field(default_factory=dict)


class SemanticCache:
    """Answers from what was generated before, and generates only what is missing.

    threshold: least cosine of a semantic hit; feedback (`standing`) may ask for more. modes: by operation, `on` where it isn't named.
    record: told of every answer that another prompt had made. generation_timeout: seconds one request may wait in all.
    """

    def __init__(
        self,
        *,
        operations: Mapping[str, Operation],
        store: EntryStore,
        semantic: SemanticTier,
        upstream: Upstream,
        generator: Generator,
        flights: SingleFlight[Outcome],
        responses: Responses,
        hook: Hook,
        standing: Standing,
        record: Callable[[ServedHit], None],
        modes: Mapping[str, Mode],
        threshold: float,
        generation_timeout: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.operations = operations
        self._store = store
        self._semantic = semantic
        self._upstream = upstream
        self._generator = generator
        self._flights = flights
        self._responses = responses
        self._hook = hook
        self._standing = standing
        self._record_hit = record
        self._modes = modes
        self._threshold = threshold
        self._generation_timeout = generation_timeout
        self._now = now
        self._monotonic = monotonic

    async def get_or_generate(
        self,
        operation: str,
        body: Mapping[str, Any],
        *,
        caller: Caller,
        directives: Directives,
        tags: frozenset[str] = frozenset(),
        request_id: str = "",
        priority: int = 0,
    ) -> Result:
        """An answer from what is stored, else from the upstream. Raises RequestError for a request that can't be taken apart."""
        question = await self._ask(operation, body, caller, directives, tags, request_id)  # 1 key
        question.priority = priority
        if question.asked.stream:
            return await self._pass_through(question)
        failures = 0
        while True:
            decision = await self._exact(question)  # 2 exact
            if isinstance(decision, Miss) and self._flights.find(question.key.exact) is None:
                decision = await self._by_meaning(question, decision)  # 3 embed, 4 search, 5 verify
            if not isinstance(decision, Miss):
                served = await self._serve_hit(question, decision)
                if isinstance(served, Served):
                    return served
                decision = served
            if directives.only_if_cached:
                return self._not_cached(question, decision)
            generation, leads = await self._join_or_lead(
                question, decision, failures
            )  # 6 join, or else 7 generate, 8 store
            outcome = await self._outcome(generation, question)
            if self._denied(question, generation.draft):
                continue  # a client said meanwhile that it is another request's
            if not leads and generation.n < question.asked.n and not isinstance(outcome, Broke):
                continue  # it made fewer than are wanted: serve what is stored now, generate the rest
            if not leads and self._try_again(question, generation, outcome):
                failures = generation.attempt + 1
                continue
            return await self._serve_outcome(question, decision, generation, outcome, leads=leads)

    async def _ask(
        self,
        operation: str,
        body: Mapping[str, Any],
        caller: Caller,
        directives: Directives,
        tags: frozenset[str],
        request_id: str,
    ) -> Question:
        """Step 1."""
        known = self.operations.get(operation)
        if known is None:
            raise InvalidRequest(
                f"unknown operation {operation!r}; one of: {', '.join(self.operations)}", param="operation"
            )
        started = self._monotonic()

        def keyed() -> tuple[Asked, CacheKey]:
            asked = known.parse(body)
            return asked, form(asked, namespace=caller.namespace, group=self._upstream.group)

        asked, key = await asyncio.to_thread(keyed) if _is_large(body) else keyed()
        if self._modes.get(operation) == "off":
            directives = replace(directives, exact_only=True)
        deadline = started + self._generation_timeout
        return Question(known, asked, key, caller, directives, tags, started, deadline, request_id)

    async def _exact(self, question: Question) -> Decision:
        """Step 2."""
        entry = None
        if not question.directives.no_cache:
            try:
                with self._timed(question, "exact"):
                    entry = await self._store.find(question.key.exact, embedding_model=self._semantic.embedding_model)
            except StoreError:
                log.exception("the exact tier failed; going on without it")
                self._hook(TierFailed(question.asked.operation, "exact"))
                return Miss(MissReason.TIER_FAILED, "exact tier failed")
        return decide_exact(entry, question.directives, self._now())

    async def _by_meaning(self, question: Question, exact: Miss) -> Decision:
        """Steps 3 to 5; the exact tier's decision where the semantic one has nothing to add."""
        directives = question.directives
        if not question.asked.semantic:
            return replace(exact, reason=MissReason.EXACT_ONLY if exact.reason is MissReason.NO_ENTRY else exact.reason)
        # what is going to be stored needs its vector, even if this request takes exact hits only
        if not await self._understand(question):
            return replace(exact, reason=MissReason.TIER_FAILED, detail="embedding failed")
        if directives.no_cache or directives.exact_only or exact.reason is MissReason.TIER_FAILED:
            return exact
        assert question.meaning is not None  # noqa: S101  for the type checker: it was understood
        partition, operation = question.key.partition, question.asked.operation
        least = self._least_cosine(question)
        try:
            with self._timed(question, "search"):
                candidates = await self._semantic.search(partition, question.meaning, directives.threshold(least))
            with self._timed(question, "verify"):
                judged = await self._semantic.verify(
                    candidates,
                    partition,
                    question.meaning,
                    operation,
                    denied=lambda entry: self._denied(question, entry),
                )
        except StoreError:
            log.exception("the semantic tier failed; going on without it")
            self._hook(TierFailed(operation, "index"))
            return replace(exact, reason=MissReason.TIER_FAILED, detail="semantic tier failed")
        decision = decide_semantic(judged, directives, least, self._now())
        if self._modes.get(operation) == "shadow":
            decision = in_shadow(decision)
        if isinstance(decision, Miss) and exact.reason is not MissReason.NO_ENTRY:
            return replace(
                exact,
                detail=exact.detail if decision.shadow is None else decision.detail,
                nearest=decision.nearest,
                fallback=exact.fallback or decision.fallback,
                shadow=decision.shadow,
            )
        return decision

    def _least_cosine(self, question: Question) -> float:
        """The operator's threshold, or more where feedback says that hits are wrong too often."""
        return self._standing.threshold(
            question.caller.namespace, question.asked.operation, self._threshold, self._now()
        )

    def _denied(self, question: Question, stored: Entry | NewEntry) -> str | None:
        """Why feedback forbids that the stored entry answers the question; None if it may, and for the question's own entry."""
        scope = (question.caller.namespace, question.asked.operation)
        if stored.exact_key == question.key.exact or not self._standing.heeds(*scope):
            return None
        return self._standing.denial(*scope, question.key.prompt_digest, prompt_digest(stored.prompt))

    async def _understand(self, question: Question) -> bool:
        """Step 3, once for a request. False where the prompt can't be compared by meaning."""
        if question.meaning is None and question.asked.semantic:
            with self._timed(question, "embed"):
                question.meaning = await self._semantic.embed(question.key.prompt, question.asked.operation)
        return question.meaning is not None

    async def _join_or_lead(
        self, question: Question, decision: Decision, failures: int
    ) -> tuple[Generation[Outcome], bool]:
        """Step 6: a generation in flight to follow, or a new one that this request leads.

        Between the last look and the launch nothing waits, so that of equal requests exactly one leads.
        """
        joins = not question.directives.no_cache
        if joins and isinstance(decision, Miss) and (running := self._flights.find(question.key.exact)):
            running.tags |= question.tags
            return running, False
        await self._understand(question)
        job, generation = self._prepare(question, decision, failures)
        if joins:
            equal = await self._verified_equal(question) if isinstance(decision, Miss) else None
            if running := self._flights.find(generation.draft.exact_key) or equal:
                running.tags |= question.tags
                return running, False
        self._flights.launch(
            generation,
            lambda flight: self._generator.run(job, flight),
            failed=_unforeseen,
            shared=joins and not question.directives.no_store,
        )
        return generation, True

    async def _verified_equal(self, question: Question) -> Generation[Outcome] | None:
        """A generation of the partition whose prompt the verifier takes for the same; by the threshold of a semantic hit."""
        on = self._modes.get(question.asked.operation, "on") == "on"
        if question.meaning is None or question.directives.exact_only or not on:
            return None
        flights = self._flights.beside(question.key.partition)
        beside = [generation for generation in flights if not self._denied(question, generation.draft)]
        others = [(generation.draft.vector, generation.analysis) for generation in beside]
        floor = question.directives.threshold(self._least_cosine(question))
        position = await self._semantic.first_equal(question.meaning, others, floor, question.asked.operation)
        if position is None or beside[position] not in self._flights.beside(question.key.partition):
            return None  # none, or it ended or was purged while we compared
        return beside[position]

    def _prepare(self, question: Question, decision: Decision, failures: int) -> tuple[Job, Generation[Outcome]]:
        """What to generate, and the entry it is to become."""
        asked, operation, key = question.asked, question.operation, question.key
        on_conflict: OnConflict = "append" if operation.accumulates else "keep"
        meaning, missing, enough = question.meaning, asked.n, asked.n
        if not isinstance(decision, Miss):
            # some outputs are there: the rest with the *stored* prompt, so that all outputs of one entry answer the same words
            asked = replace(asked, prompt=decision.entry.prompt)
            key = form(asked, namespace=question.caller.namespace, group=self._upstream.group)
            meaning = meaning if key.exact == question.key.exact else None
            missing, enough = asked.n - len(decision.entry.outputs), 0
        elif decision.reason in _REPLACES:
            on_conflict, enough = "replace", 0
        vector = self._semantic.stored_vector(meaning) if meaning is not None else None
        draft = NewEntry(
            exact_key=key.exact,
            key_version=key.version,
            partition=key.partition,
            namespace=question.caller.namespace,
            operation=operation.name,
            model=asked.model,
            prompt=asked.prompt,
            prompt_digest=key.prompt_digest,
            request=operation.forward(asked, prompt=asked.prompt, n=asked.n),
            envelope={},
            made={},
            outputs=(),
            vector=vector,
            created_at=self._now(),
            expires_at=None,
            began=0,
            tags=question.tags,
            client=question.caller.client,
            group=self._upstream.group,
        )
        may_store = not question.directives.no_store
        job = Job(operation, asked, missing, enough, on_conflict, may_store, question.deadline, question.priority)
        analysis = meaning.analysis if meaning is not None else None
        return job, Generation(draft, n=question.asked.n, analysis=analysis, attempt=failures)

    async def _outcome(self, generation: Generation[Outcome], question: Question) -> Outcome:
        """How the generation ended, or that the waiter's own deadline has passed; the generation goes on either way."""
        try:
            return await asyncio.wait_for(
                generation.outcome(), max(0.0, question.deadline - self._monotonic()) + _GRACE
            )
        except TimeoutError:
            return Broke(
                UpstreamTimeout("the answer took longer than this service waits; it will be stored when it comes")
            )

    def _try_again(self, question: Question, generation: Generation[Outcome], outcome: Outcome) -> bool:
        """Whether a follower begins anew: one successor at a time after a transient failure; equals share a permanent error."""
        same_request = generation.draft.exact_key == question.key.exact
        match outcome:
            case Produced() | AlreadyThere():
                return False
            case NotUnderstood():
                return not same_request or generation.n != question.asked.n
            case Broke(error) if _is_permanent(error):
                return not same_request
            case Broke():
                return self._monotonic() < question.deadline and generation.attempt + 1 < MAX_GENERATIONS

    async def _serve_hit(self, question: Question, decision: Hit | StaleHit) -> Served | Decision:
        """The stored answer. Where outputs are missing the decision as it is, where one is damaged a miss: they are generated."""
        try:
            if len(decision.entry.outputs) < question.asked.n:
                question.held = await self._responses.pictures(decision.entry.outputs)  # a purge may come meanwhile
                return decision
            served = await self._responses.hit(question.operation, decision, question.asked.n)
        except StoreCorrupt:
            log.exception("a stored picture is damaged: its entry is set aside, and generated anew")
            self._hook(TierFailed(question.asked.operation, "exact"))
            with contextlib.suppress(StoreError):
                await self._store.quarantine([decision.entry.id])
            return Miss(MissReason.TIER_FAILED, "the stored picture is damaged")
        if served.report.saved_usd is not None:
            self._hook(UsdSpent(question.asked.operation, served.report.saved_usd, saved=True))
        return self._answered(question, served)

    async def _serve_outcome(
        self, question: Question, decision: Decision, generation: Generation[Outcome], outcome: Outcome, *, leads: bool
    ) -> Result:
        """What a generation led to, for its leader or a follower."""
        report = self._report(question, decision, generation, leads=leads)
        match outcome:
            case Produced():
                before = None if isinstance(decision, Miss) else decision.entry
                try:
                    served = await self._responses.produced(
                        question.operation, outcome, before, question.held, question.asked.n, report, leads=leads
                    )
                except StoreCorrupt as error:
                    return self._failed(question, error, report)
                return self._answered(question, served)
            case AlreadyThere(entry):
                hit = decide_exact(entry, Directives(), self._now())
                if isinstance(hit, Hit) and entry.exact_key != question.key.exact:
                    hit = replace(hit, kind="semantic", similarity=report.similarity or 0.0)
                found = await self._serve_hit(question, hit) if isinstance(hit, Hit) else hit
                if isinstance(found, Served):
                    return found
                return self._failed(
                    question, StoreCorrupt("the stored answer can't be read; ask again with no-cache"), report
                )
            case NotUnderstood(reason=reason) if not isinstance(decision, Miss):
                broken = UpstreamUnreachable(
                    f"the upstream's answer for the outputs that are missing held none: {reason}"
                )
                return self._failed(question, broken, replace(report, detail=f"not stored: {reason}"))
            case NotUnderstood():
                return self._answered(question, self._responses.not_understood(outcome, report))
            case Broke(error):
                fallback = decision.fallback if isinstance(decision, Miss) else None
                if fallback is not None and not _is_permanent(error):
                    stale = await self._serve_hit(question, fallback)
                    if isinstance(stale, Served):
                        return stale
                status = error.status if isinstance(error, UpstreamRefused) else None
                return self._failed(question, error, replace(report, forward_status=status))

    def _report(
        self, question: Question, decision: Decision, generation: Generation[Outcome], *, leads: bool
    ) -> Report:
        """How the generation came to answer the question; for one that was joined by meaning, also whose it is."""
        draft, meaning = generation.draft, question.meaning
        report = miss_report(decision, draft.exact_key, leads=leads)
        if draft.exact_key == question.key.exact or not isinstance(decision, Miss):
            return report
        similarity = None
        if draft.vector is not None and meaning is not None:
            similarity = float(draft.vector.vector @ meaning.embedding.vector)
        return replace(report, matched_prompt=draft.prompt, matched_key=draft.exact_key, similarity=similarity)

    async def _pass_through(self, question: Question) -> Result:
        """A streamed answer, piece by piece as it comes; neither looked up nor stored."""
        asked, operation = question.asked, question.operation
        report = Report(decision="bypass", reason="stream", detail="stream", forwarded="bypass")
        if question.directives.only_if_cached:
            return self._failed(
                question, NotCached("only-if-cached, and streams are not served from the cache"), report
            )
        call = Call(
            path=operation.path,
            body=orjson.dumps(operation.forward(asked, prompt=asked.prompt, n=asked.n)),
            deadline=question.deadline,
            cost=operation.reserve(asked, asked.n),
            model=asked.model,
            stream=True,
            priority=question.priority,
        )
        stack = AsyncExitStack()
        try:
            reply = await stack.enter_async_context(self._upstream.send(call))
        except UpstreamError as error:
            status = error.status if isinstance(error, UpstreamRefused) else None
            return self._failed(question, error, replace(report, forward_status=status))
        report = replace(report, upstream_request_id=reply.request_id)
        media_type = reply.headers.get("content-type", "text/event-stream")
        return self._answered(
            question, Served(reply.status, b"", media_type, report, reply.headers, _closing(reply.pieces, stack))
        )

    def _not_cached(self, question: Question, decision: Decision) -> Failed:
        reason = decision.detail or str(decision.reason) if isinstance(decision, Miss) else "too few outputs are stored"
        report = Report(decision="miss", key=question.key.exact, reason="only-if-cached", detail=reason)
        return self._failed(question, NotCached(f"only-if-cached, and nothing stored can be served: {reason}"), report)

    def _answered(self, question: Question, served: Served) -> Served:
        report, operation = served.report, question.asked.operation
        self._record(question, report, report.decision, served.status)
        if report.matched_prompt is not None:  # so that feedback can name it
            self._record_hit(_paired(question, report, report.matched_prompt, self._now()))
        if report.shadow:
            log.info("shadow hit", extra={"request_id": question.request_id, "operation": operation,
                                          "similarity": report.similarity, "key": report.matched_key})  # fmt: skip
            self._hook(ShadowHit(operation, report.similarity or 0.0))
        return served

    def _failed(self, question: Question, error: CacheServiceError, report: Report) -> Failed:
        self._record(question, report, "error", 0)
        return Failed(error, report)

    def _record(self, question: Question, report: Report, decision: str, status: int) -> None:
        seconds = self._monotonic() - question.started
        operation = question.asked.operation
        self._hook(RequestServed(operation, decision, report.kind, report.reason, status, seconds, report.similarity))

    @contextlib.contextmanager
    def _timed(self, question: Question, step: str) -> Iterator[None]:
        started = self._monotonic()
        try:
            yield
        finally:
            self._hook(StepTimed(question.asked.operation, step, self._monotonic() - started))


def _paired(question: Question, report: Report, prompt: str, now: float) -> ServedHit:
    return ServedHit(
        namespace=question.caller.namespace,
        operation=question.asked.operation,
        request_id=question.request_id,
        asked_key=question.key.exact,
        asked_digest=question.key.prompt_digest,
        stored_key=report.matched_key,
        stored_digest=prompt_digest(prompt),
        similarity=report.similarity or 0.0,
        at=now,
        shadow=report.shadow,
    )


async def _closing(pieces: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """The pieces; the call is ended when they are, or when their reader goes away."""
    async with stack:
        async for piece in pieces:
            yield piece


def _unforeseen(error: Exception) -> Outcome:
    log.error("a generation ended in a way nobody foresaw", exc_info=error)
    return Broke(UpstreamError("the generation failed; the service's log says why"))


def _is_large(body: Mapping[str, Any]) -> bool:
    """Whether taking it apart would hold up the loop; looks at no more than it takes to know."""
    budget, rest = _LARGE, [body]
    while rest and budget > 0:
        value: Any = rest.pop()
        budget -= 20
        if isinstance(value, str):
            budget -= len(value)
        elif isinstance(value, Mapping):
            budget -= 20 * len(value)
            rest.extend(value.values())
        elif isinstance(value, list):
            budget -= 20 * len(value)
            rest.extend(value if budget > 0 else ())
    return budget <= 0


def _is_permanent(error: CacheServiceError) -> bool:
    return isinstance(error, UpstreamError) and not error.transient
