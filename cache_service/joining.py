"""Step 6: follow a generation that is under way, or lead a new one; and how it ends for those who wait.

Steps 7 and 8 are run from here, by `generation.py`, in a task that outlives the client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cache_service.cache_key.key import form
from cache_service.decision import Decision, Miss, MissReason
from cache_service.errors import BudgetExceeded, CacheServiceError, UpstreamError, UpstreamTimeout
from cache_service.generation import AlreadyThere, Broke, Generator, Job, Missing, NotUnderstood, Outcome, Produced
from cache_service.question import Question, Steering
from cache_service.semantic_tier import SemanticTier
from cache_service.single_flight import Generation, SingleFlight
from cache_service.store.base import OnConflict
from cache_service.store.entry import NewEntry

log = logging.getLogger(__name__)

MAX_GENERATIONS = 3
"""Generations that may be begun one after another for the same request when they fail; then those who wait share the error."""

_GRACE = 1.0  # seconds a waiter gives a generation beyond their common deadline, so that its own error arrives

_REPLACES = frozenset({MissReason.NO_CACHE, MissReason.TOO_OLD, MissReason.EXPIRED})


class Joining:
    """Sees to it that equal requests at the same time are one generation."""

    def __init__(
        self,
        *,
        flights: SingleFlight[Outcome],
        generator: Generator,
        semantic: SemanticTier,
        steering: Steering,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flights = flights
        self._generator = generator
        self._semantic = semantic
        self._steering = steering
        self._now = now
        self._monotonic = monotonic

    def running(self, question: Question) -> Generation[Outcome] | None:
        """The generation of an equal request, if one is under way."""
        return self._flights.find(question.key.exact)

    async def join_or_lead(
        self, question: Question, decision: Decision, failures: int, *, impatient: bool
    ) -> tuple[Generation[Outcome], bool]:
        """A generation in flight to follow, or a new one that this request leads (then True).

        Between the last look and the launch nothing waits, so that of equal requests exactly one leads. failures: generations
        that failed before. impatient: another answer stands ready, so a failing upstream isn't waited for.
        """
        joins = not question.directives.no_cache
        if joins and isinstance(decision, Miss) and (running := self.running(question)):
            _join(running, question)
            return running, False
        await self._semantic.understand(question)
        job, generation = self._prepare(question, decision, failures, impatient=impatient)
        if joins:
            equal = await self._verified_equal(question) if isinstance(decision, Miss) else None
            if running := self._flights.find(generation.draft.exact_key) or equal:
                _join(running, question)
                return running, False
        self._flights.launch(
            generation,
            lambda flight: self._generator.run(job, flight),
            failed=_unforeseen,
            shared=joins and not question.directives.no_store,
        )
        return generation, True

    async def outcome(self, generation: Generation[Outcome], question: Question) -> Outcome:
        """How the generation ended, or that the waiter's own deadline has passed; the generation goes on either way."""
        try:
            return await asyncio.wait_for(
                generation.outcome(), max(0.0, question.deadline - self._monotonic()) + _GRACE
            )
        except TimeoutError:
            return Broke(
                UpstreamTimeout("the answer took longer than this service waits; it will be stored when it comes")
            )

    def try_again(self, question: Question, generation: Generation[Outcome], outcome: Outcome) -> bool:
        """Whether a follower begins anew: one successor at a time after a transient failure; equals share a permanent error."""
        same_request = generation.draft.exact_key == question.key.exact
        match outcome:
            case Produced() | AlreadyThere():
                return False
            case NotUnderstood():
                return not same_request or generation.n != question.asked.n
            case Broke(BudgetExceeded()):
                return generation.draft.client != question.caller.client  # someone else's budget
            case Broke(error) if is_permanent(error):
                return not same_request
            case Broke():
                return self._monotonic() < question.deadline and generation.attempt + 1 < MAX_GENERATIONS

    async def _verified_equal(self, question: Question) -> Generation[Outcome] | None:
        """A generation of the partition whose prompt the verifier takes for the same; by the threshold of a semantic hit."""
        on = self._steering.mode(question.asked.operation) == "on"
        if question.meaning is None or question.directives.exact_only or not on:
            return None
        beside = self._flights.beside(question.key.partition)
        floor = question.directives.threshold(self._steering.least_cosine(question))
        near = [
            (running, similarity)
            for running, similarity in _near(question.meaning.embedding.vector, beside, floor)
            if not self._steering.denied(question, running.draft)
        ]
        compared = [(running.analysis, similarity) for running, similarity in near]
        position = await self._semantic.first_equal(question.meaning, compared, question.asked.operation)
        if position is None or near[position][0] not in self._flights.beside(question.key.partition):
            return None  # none, or it ended or was purged while we compared
        return near[position][0]

    async def missing(self, question: Question, decision: Decision) -> Missing:
        """What to send for the question, and what its answer becomes: for who sends it another way than one by one."""
        await self._semantic.understand(question)
        job, generation = self._prepare(question, decision, 0)
        return await self._generator.missing(job, generation.draft)

    def _prepare(
        self, question: Question, decision: Decision, failures: int, *, impatient: bool = False
    ) -> tuple[Job, Generation[Outcome]]:
        """What to generate, and the entry it is to become."""
        asked, operation, key, provider = question.asked, question.operation, question.key, question.provider
        on_conflict: OnConflict = "append" if operation.accumulates else "keep"
        meaning, missing, enough = question.meaning, asked.n, asked.n
        if not isinstance(decision, Miss):
            # some outputs are there: the rest with the *stored* prompt, so that all outputs of one entry answer the same words
            asked = replace(asked, prompt=decision.entry.prompt)
            key = form(asked, namespace=question.caller.namespace, group=provider.upstream.group)
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
            made={"provider": provider.name},
            outputs=(),
            vector=vector,
            created_at=self._now(),
            expires_at=None,
            began=0,
            tags=question.tags,
            client=question.caller.client,
            group=provider.upstream.group,
        )
        may_store = not question.directives.no_store
        job = Job(
            operation,
            asked,
            provider,
            missing,
            enough,
            on_conflict,
            may_store,
            question.deadline,
            question.priority,
            impatient,
        )
        analysis = meaning.analysis if meaning is not None else None
        return job, Generation(
            draft, n=question.asked.n, analysis=analysis, attempt=failures, priority=question.priority
        )


def _near(
    vector: npt.NDArray[np.float32], flights: Sequence[Generation[Outcome]], floor: float
) -> list[tuple[Generation[Outcome], float]]:
    """Those whose prompts' vectors have at least that cosine with the vector, and the cosine; in their order."""
    known = [running for running in flights if running.draft.vector is not None and running.analysis is not None]
    if not known:
        return []
    vectors = np.concatenate([running.draft.vector.vector for running in known if running.draft.vector is not None])
    similarities = vectors.reshape(len(known), -1) @ vector
    return [(known[place], float(similarities[place])) for place in np.flatnonzero(similarities >= floor)]


def _join(running: Generation[Outcome], question: Question) -> None:
    """What the question brings to a generation that others began: its tags, and its turn at the upstream where that comes earlier."""
    running.tags |= question.tags
    running.urgency.raise_to(question.priority)


def is_permanent(error: CacheServiceError) -> bool:
    """Whether the same request would be refused again."""
    return isinstance(error, UpstreamError) and not error.transient


def _unforeseen(error: Exception) -> Outcome:
    log.error("a generation ended in a way nobody foresaw", exc_info=error)
    return Broke(UpstreamError("the generation failed; the service's log says why"))
