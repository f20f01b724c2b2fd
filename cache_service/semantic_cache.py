"""START HERE. One request's way through the cache: `SemanticCache.get_or_generate`, eight steps from top to bottom.

Steps 1 to 5 are in this file, what they look with in `semantic_tier.py`. Step 6 is in `joining.py`; 7 and 8 run in a task of their
own, `generation.py`, because they outlive the client; where the upstream fails, `falling_back.py` finds another question to ask or another
answer. `decision.py` decides, `serving.py` answers.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cache_service.answer import Caller, Result, Served, Trace
from cache_service.decision import (
    Decision,
    Directives,
    Miss,
    MissReason,
    decide_exact,
    decide_semantic,
    in_shadow,
)
from cache_service.errors import InvalidRequest, StoreError, UpstreamUnreachable
from cache_service.fallback import PRIMARY_ALONE, Chain
from cache_service.falling_back import FallingBack, Variants, no_variants
from cache_service.feedback import Standing
from cache_service.generation import Broke, Generator, Missing, NotUnderstood, Outcome
from cache_service.instrumentation.events import Hook, TierFailed
from cache_service.jobs.ledger import Ledger
from cache_service.joining import Joining
from cache_service.keying import Keying
from cache_service.operations.base import Operation
from cache_service.providers import Providers
from cache_service.question import Mode, Question, Steering
from cache_service.responses import Responses
from cache_service.semantic_tier import SemanticTier
from cache_service.serving import Serving
from cache_service.single_flight import SingleFlight
from cache_service.store.base import EntryStore
from cache_service.store.entry import ServedHit
from cache_service.streaming import Streaming

log = logging.getLogger(__name__)


class SemanticCache:
    """Answers from what was generated before, and generates only what is missing.

    threshold: least cosine of a semantic hit; feedback (`standing`) may ask for more. modes: by operation, `on` where it isn't named.
    keying: takes requests apart. record: told of every answer that another prompt had made; used: of every entry
    that was served; trace: of every request, with its prompts. generation_timeout: seconds one request may wait in all.
    """

    def __init__(
        self,
        *,
        operations: Mapping[str, Operation],
        keying: Keying,
        store: EntryStore,
        semantic: SemanticTier,
        providers: Providers,
        generator: Generator,
        flights: SingleFlight[Outcome],
        responses: Responses,
        hook: Hook,
        standing: Standing,
        ledger: Ledger,
        record: Callable[[ServedHit], None],
        modes: Mapping[str, Mode],
        threshold: float,
        generation_timeout: float,
        used: Callable[[int], None] = lambda entry_id: None,
        trace: Callable[[Trace], None] = lambda trace: None,
        chain: Chain = PRIMARY_ALONE,
        lesser: Variants = no_variants,
        similar: Variants = no_variants,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.operations = operations
        self._store = store
        self._semantic = semantic
        self._providers = providers
        self._chain = chain
        self._hook = hook
        self._generation_timeout = generation_timeout
        self._keying = keying
        self._now = now
        self._monotonic = monotonic
        self._steering = Steering(modes=modes, threshold=threshold, standing=standing, now=now)
        self._joining = Joining(
            flights=flights, generator=generator, semantic=semantic, steering=self._steering,
            now=now, monotonic=monotonic,
        )  # fmt: skip
        self._serving = Serving(
            responses=responses, store=store, ledger=ledger, hook=hook, record=record, used=used, trace=trace, now=now,
            monotonic=monotonic,
        )  # fmt: skip
        self._falling_back = FallingBack(
            chain=chain, providers=providers, lesser=lesser, similar=similar, semantic=semantic, store=store,
            steering=self._steering, serving=self._serving, hook=hook, now=now, monotonic=monotonic,
        )  # fmt: skip
        self._streaming = Streaming(ledger, self._serving, self._falling_back)

    def steer(self, *, modes: Mapping[str, Mode], threshold: float) -> None:
        """What holds from the next request on."""
        self._steering.steer(modes=modes, threshold=threshold)

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
        """An answer from what is stored, else from the upstream; a larger priority goes first there, 0 is usual.

        body: members, or JSON as it came. Raises RequestError for a request that can't be taken apart.
        """
        question = await self._ask(operation, body, caller, directives, tags, request_id, priority)  # 1 key
        if question.asked.stream:
            return await self._streaming.pass_through(question)
        failures = 0
        while True:
            decision = await self._exact(question)  # 2 exact
            if isinstance(decision, Miss) and self._joining.running(question) is None:
                decision = await self._by_meaning(question, decision)  # 3 embed, 4 search, 5 verify
            if not isinstance(decision, Miss):
                served = await self._serving.serve_hit(question, decision)
                if isinstance(served, Served):
                    return served
                decision = served
            if directives.only_if_cached:
                return self._serving.not_cached(question, decision)
            with self._timed(question, "join"):  # 6 join, or else 7 generate, 8 store
                ready = self._falling_back.stands_ready(question, decision)
                generation, leads = await self._joining.join_or_lead(question, decision, failures, impatient=ready)
            outcome = await self._joining.outcome(generation, question)
            if self._steering.denied(question, generation.draft):
                continue  # a client said meanwhile that it is another request's
            if not leads and generation.n < question.asked.n and not isinstance(outcome, Broke):
                continue  # it made fewer than are wanted: serve what is stored now, generate the rest
            instead = await self._fall_back(question, outcome)  # 7, where the upstream failed
            if isinstance(instead, Question):
                question, failures = instead, 0
                continue
            if instead is not None:
                return instead
            if not leads and self._joining.try_again(question, generation, outcome):
                failures = generation.attempt + 1
                continue
            return await self._serving.serve_outcome(question, decision, generation, outcome, leads=leads)

    async def find_or_missing(
        self,
        operation: str,
        body: Mapping[str, Any],
        *,
        caller: Caller,
        directives: Directives,
        tags: frozenset[str] = frozenset(),
        request_id: str = "",
    ) -> Result | Missing:
        """Steps 1 to 5: what is stored, else what to send and what its answer becomes, for who sends it another way.

        Raises RequestError for a request that can't be taken apart.
        """
        question = await self._ask(operation, body, caller, directives, tags, request_id, 0)
        decision = await self._exact(question)
        if isinstance(decision, Miss):
            decision = await self._by_meaning(question, decision)
        if not isinstance(decision, Miss):
            served = await self._serving.serve_hit(question, decision)
            if isinstance(served, Served):
                return served
            decision = served
        if directives.only_if_cached:
            return self._serving.not_cached(question, decision)
        return await self._joining.missing(question, decision)

    async def _ask(
        self,
        operation: str,
        body: Mapping[str, Any] | bytes,
        caller: Caller,
        directives: Directives,
        tags: frozenset[str],
        request_id: str,
        priority: int,
    ) -> Question:
        """Step 1."""
        known = self.operations.get(operation)
        if known is None:
            raise InvalidRequest(
                f"unknown operation {operation!r}; one of: {', '.join(self.operations)}", param="operation"
            )
        started = self._monotonic()
        asked, key = await self._keying.key(known, body, caller.namespace)
        if self._steering.mode(operation) == "off":
            directives = replace(directives, exact_only=True)
        deadline = started + self._generation_timeout
        question = Question(
            known, asked, key, self._providers.primary, caller, self._chain.directives(directives), tags, started, deadline,
            request_id, priority,
        )  # fmt: skip
        self._hook(question.took("key", self._monotonic() - started))
        return question

    async def _exact(self, question: Question) -> Decision:
        """Step 2."""
        entry = None
        if not question.directives.no_cache:
            started = self._monotonic()
            try:
                entry = await self._store.find(question.key.exact, embedding_model=self._semantic.embedding_model)
            except StoreError:
                log.exception("the exact tier failed; going on without it")
                self._hook(TierFailed(question.asked.operation, "exact"))
                return Miss(MissReason.TIER_FAILED, "exact tier failed")
            finally:
                self._hook(question.took("exact", self._monotonic() - started))
        return decide_exact(entry, question.directives, self._now())

    async def _by_meaning(self, question: Question, exact: Miss) -> Decision:
        """Steps 3 to 5; the exact tier's decision where the semantic one has nothing to add."""
        directives = question.directives
        if not question.asked.semantic:
            return replace(exact, reason=MissReason.EXACT_ONLY if exact.reason is MissReason.NO_ENTRY else exact.reason)
        # what is going to be stored needs its vector, even if this request takes exact hits only
        if not await self._semantic.understand(question):  # 3 embed
            return replace(exact, reason=MissReason.TIER_FAILED, detail="embedding failed")
        if directives.no_cache or directives.exact_only or exact.reason is MissReason.TIER_FAILED:
            return exact
        assert question.meaning is not None  # noqa: S101  for the type checker: it was understood
        partition, operation = question.key.partition, question.asked.operation
        least = self._steering.least_cosine(question)
        try:
            with self._timed(question, "search"):  # 4 search
                candidates = await self._semantic.search(partition, question.meaning, directives.threshold(least))
            with self._timed(question, "verify"):  # 5 verify
                judged = await self._semantic.verify(
                    candidates,
                    partition,
                    question.meaning,
                    operation,
                    denied=lambda entry: self._steering.denied(question, entry),
                )
        except StoreError:
            log.exception("the semantic tier failed; going on without it")
            self._hook(TierFailed(operation, "index"))
            return replace(exact, reason=MissReason.TIER_FAILED, detail="semantic tier failed")
        decision = decide_semantic(judged, directives, least, self._now())
        if self._steering.mode(operation) == "shadow":
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

    async def _fall_back(self, question: Question, outcome: Outcome) -> Question | Result | None:
        """What may be answered instead, where the generation failed; None where it didn't, or nothing may."""
        match outcome:
            case Broke(error):
                return await self._falling_back.instead(question, error)
            case NotUnderstood(reason=reason) if question.course is not None:
                odd = UpstreamUnreachable(f"the answer held no complete result: {reason}")
                return await self._falling_back.instead(question, odd)
            case _:
                return None

    @contextlib.contextmanager
    def _timed(self, question: Question, step: str) -> Iterator[None]:
        started = self._monotonic()
        try:
            yield
        finally:
            self._hook(question.took(step, self._monotonic() - started))
