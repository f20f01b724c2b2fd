"""Step 7 where the upstream failed: carries out the fallback's chain, one way after the other.

A way that generates is another question (a lesser picture, or the same elsewhere) and takes the same eight steps, so that it hits
what is stored, joins what is under way, and is filed under what it really is. A way that serves what is stored ends here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from cache_service.answer import Failed, Report, Served
from cache_service.cache_key.key import CacheKey
from cache_service.decision import Decision, Directives, Hit, Miss, StaleHit, decide_exact, decide_semantic
from cache_service.errors import CacheServiceError, StoreError, UpstreamRefused
from cache_service.fallback import Chain, Course, Elsewhere, Lesser, Similar, Way, trouble_of
from cache_service.instrumentation.events import FellBack, Hook, TierFailed
from cache_service.providers import Provider, Providers
from cache_service.question import Question, Steering, keyed
from cache_service.semantic_tier import SemanticTier
from cache_service.serving import Serving
from cache_service.store.base import EntryStore

log = logging.getLogger(__name__)

Variants: TypeAlias = Callable[[str, Mapping[str, Any]], Iterable[Mapping[str, Any]]]
"""(operation, body) → changes of it, the nearest first; None as a value removes a parameter."""


def no_variants(operation: str, body: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Nothing is known of any model."""
    return ()


class FallingBack:
    """Finds another answer. lesser: what asks for less. similar: what differs in quality or size alone."""

    def __init__(
        self,
        *,
        chain: Chain,
        providers: Providers,
        lesser: Variants,
        similar: Variants,
        semantic: SemanticTier,
        store: EntryStore,
        steering: Steering,
        serving: Serving,
        hook: Hook,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = chain
        self._providers = providers
        self._lesser = lesser
        self._similar = similar
        self._semantic = semantic
        self._store = store
        self._steering = steering
        self._serving = serving
        self._hook = hook
        self._now = now
        self._monotonic = monotonic

    async def instead(self, question: Question, error: CacheServiceError) -> Question | Served | Failed | None:
        """The question to ask next, an answer, or that nothing helped; None where there is nothing to try.

        error: how the question ended. A chain that doesn't help ends in the primary's error.
        """
        operation = question.asked.operation
        course = question.course or Course(error, self._ways(question))
        while True:
            if course.tried:
                self._hook(FellBack(operation, str(course.step), "failed"))
            trouble = trouble_of(error)
            further = course.next(trouble, question.deadline - self._monotonic())
            if further is None:
                return self._gave_up(question, course) if course.tried else None
            course = further
            log.warning("the upstream failed; falling back", extra={
                "request_id": question.request_id, "operation": operation, "trouble": str(trouble),
                "step": str(course.step), "provider": question.provider.name})  # fmt: skip
            match course.way:
                case Similar() as way:
                    served = await self._serve_similar(replace(question.origin, course=course), way)
                    if served is not None:
                        return served
                case Lesser(changes=changes):
                    body = changed(question.origin.asked.body, changes)
                    return self._another(question, course, body, self._providers.primary)
                case Elsewhere(provider=name):
                    there = self._providers.alternative(name)
                    body = there.translated(question.origin.asked.body)
                    return self._another(question, course, body, there.provider)

    def stands_ready(self, question: Question, decision: Decision | None) -> bool:
        """Whether another answer is known to be there if this upstream fails: an entry that has expired, or another provider."""
        ways = self._ways(question) if question.course is None else question.course.left
        expired = isinstance(decision, Miss) and decision.fallback is not None
        return any(isinstance(way, Elsewhere) or (expired and isinstance(way, Similar)) for way in ways)

    def _ways(self, question: Question) -> tuple[Way, ...]:
        """All that may be tried. A stream is never answered with what is stored."""
        asked = question.asked
        elsewhere = [
            one.provider.name for one in self._providers.alternatives if one.offers(asked.operation, asked.body)
        ]
        ways = self._chain.ways(question.directives, self._lesser(asked.operation, asked.body), elsewhere)
        return tuple(way for way in ways if not (asked.stream and isinstance(way, Similar)))

    def _another(self, question: Question, course: Course, body: Mapping[str, Any], provider: Provider) -> Question:
        """The question that a way asks."""
        origin = question.origin
        asked, key = keyed(origin.operation, body, origin.caller.namespace, provider)
        return replace(origin, asked=asked, key=key, provider=provider, course=course, held={}, first=origin)

    async def _serve_similar(self, question: Question, way: Similar) -> Served | None:
        """What is stored and may stand in: what has expired, then the nearest of another quality or size."""
        try:
            keys = await asyncio.to_thread(self._keys, question, otherwise=way.otherwise)
            async for found in self._stored(question, keys, way):
                served = await self._serve(question, found)
                if served is not None:
                    return served
        except StoreError:
            log.exception("the store failed while something similar was looked for")
            self._hook(TierFailed(question.asked.operation, "exact"))
        return None

    async def _serve(self, question: Question, found: Hit | StaleHit) -> Served | None:
        if len(found.entry.outputs) < question.asked.n:
            return None
        served = await self._serving.serve_hit(question, found)
        return served if isinstance(served, Served) else None

    def _keys(self, question: Question, *, otherwise: bool) -> list[CacheKey]:
        """Where to look beside the question's own key: the same prompt in another quality or size, the nearest first."""
        asked, namespace = question.asked, question.caller.namespace
        others = self._similar(asked.operation, asked.body) if otherwise else ()
        bodies = [changed(asked.body, changes) for changes in others]
        return [question.key, *(keyed(question.operation, body, namespace, question.provider)[1] for body in bodies)]

    async def _stored(
        self, question: Question, keys: Sequence[CacheKey], way: Similar
    ) -> AsyncIterator[Hit | StaleHit]:
        """What is stored under those keys, and in their partitions for a prompt that the verifier takes for the same."""
        directives = replace(question.directives, stale_if_error=way.stale, max_stale=None)
        by_meaning = (
            self._steering.mode(question.asked.operation) == "on"
            and not directives.exact_only
            and await self._semantic.understand(question)
        )
        for key in keys:
            decisions: list[Decision] = []
            if key is question.key or not by_meaning:  # by meaning an equal prompt is found too
                entry = await self._store.find(key.exact, embedding_model=self._semantic.embedding_model)
                decisions.append(decide_exact(entry, directives, self._now()))
            if by_meaning:
                decisions.append(await self._closest(question, key.partition, directives))
            for decision in decisions:
                found = decision.fallback if isinstance(decision, Miss) else decision
                if found is not None:
                    yield found

    async def _closest(self, question: Question, partition: str, directives: Directives) -> Decision:
        assert question.meaning is not None  # noqa: S101  for the type checker: it was understood
        least = self._steering.least_cosine(question)
        candidates = await self._semantic.search(partition, question.meaning, directives.threshold(least))
        judged = await self._semantic.verify(
            candidates,
            partition,
            question.meaning,
            question.asked.operation,
            denied=lambda entry: self._steering.denied(question, entry),
        )
        return decide_semantic(judged, directives, least, self._now())

    def _gave_up(self, question: Question, course: Course) -> Failed:
        """The primary's error, with what was tried in vain."""
        tried = ", ".join(dict.fromkeys(str(way.step) for way in course.tried))
        report = Report(
            decision="miss",
            key=question.origin.key.exact,
            reason="upstream failed",
            detail=f"no fallback: {tried} failed",
            forwarded="miss",
            forward_status=course.error.status if isinstance(course.error, UpstreamRefused) else None,
            provider=question.origin.provider.name,
        )
        return self._serving.failed(question.origin, course.error, report)


def changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The body with those parameters; None takes one out."""
    return {name: value for name, value in {**body, **changes}.items() if value is not None or name not in changes}
