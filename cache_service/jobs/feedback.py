"""Feedback on semantic hits: takes it, makes it durable, and lets it act on this node before it is answered; elsewhere within a second.

What was wrong is the pairing, not the entry: that stays right for its own prompt, and so do pictures that a partial hit added
to it, because they were made with its prompt. So nothing is taken out of service; the pair is denied.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cache_service.answer import Caller
from cache_service.errors import NotFound, StoreError
from cache_service.feedback import Standing, Trust
from cache_service.instrumentation.events import FeedbackGiven, Hook
from cache_service.jobs.hit_log import HitLog
from cache_service.store.base import FeedbackStore
from cache_service.store.entry import Feedback, Judgement, ServedHit
from cache_service.store.records import Act

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Effect:
    """What holds now. denied: this pair isn't served any more. exact_only: nor is the entry for any other prompt.

    threshold: the least cosine of a semantic hit of this namespace and operation.
    """

    feedback: Feedback
    denied: bool
    exact_only: bool
    threshold: float


class FeedbackKeeper:
    """Keeps what clients said of hits, in SQL and in memory. threshold: the operator's least cosine."""

    def __init__(
        self,
        store: FeedbackStore,
        hits: HitLog,
        standing: Standing,
        *,
        hook: Hook,
        threshold: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._hits = hits
        self._standing = standing
        self._hook = hook
        self.threshold = threshold
        self._now = now
        self._last = 0
        self._one_at_a_time = asyncio.Lock()

    async def give(
        self,
        caller: Caller,
        verdict: Judgement,
        *,
        key: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> Effect:
        """Judges the newest semantic hit that has this key or request id. Raises NotFound, StoreError.

        The same verdict of the same client again changes nothing, and is answered with the first. by: the operator who judges in a client's place.
        """
        hit = await self._hits.find(namespace=caller.namespace, key=key, request_id=request_id)
        if hit is None:
            raise NotFound("no semantic hit with this key or request id is known")
        known = self._standing.newest(hit)
        if known is None or (known.verdict, known.client) != (verdict, caller.client):
            act = None if by is None else Act(by, f"feedback.{verdict}", {"request_id": hit.request_id})
            known = await self._store.add_feedback(hit, verdict, client=caller.client, by=act)
            await self.refresh()
            log.info("feedback", extra=_facts(known))
            self._hook(FeedbackGiven(hit.operation, verdict, "shadow" if hit.shadow else "on"))
        return self._effect(known)

    async def undo(self, number: int, *, by: str) -> Effect:
        """Takes feedback back; it stays in the record. Raises NotFound, StoreError."""
        feedback = await self._store.undo_feedback(number, by=Act(by, "feedback.undo", {"id": number}))
        if feedback is None:
            raise NotFound("there is no such feedback")
        await self.refresh()
        log.info("feedback undone", extra=_facts(feedback))
        self._hook(FeedbackGiven(feedback.hit.operation, "undone", "shadow" if feedback.hit.shadow else "on"))
        return self._effect(feedback)

    async def newest(self, *, namespace: str | None, before: int | None, limit: int) -> Sequence[Feedback]:
        """The record, newest first, what was undone too. Raises StoreError."""
        return await self._store.list_feedback(namespace=namespace, before=before, limit=limit)

    def trust(self) -> Sequence[Trust]:
        """How far each namespace's semantic hits may be trusted by its feedback."""
        return self._standing.trust(self.threshold, self._now())

    async def refresh(self) -> None:
        """Takes in what was given or undone since, on any node. Raises StoreError."""
        async with self._one_at_a_time:
            since = await self._store.feedback_after(self._last)
            self._standing.apply(since)
            self._last = max((max(one.number, one.undone or 0) for one in since), default=self._last)

    async def run(self, *, poll: float) -> None:
        """Refreshes every `poll` seconds, for ever."""
        while True:
            await asyncio.sleep(poll)
            try:
                await self.refresh()
            except StoreError:
                log.exception("feedback could not be read; trying again")

    def _effect(self, feedback: Feedback) -> Effect:
        hit = feedback.hit
        where = (hit.namespace, hit.operation)
        return Effect(
            feedback,
            denied=self._standing.denial(*where, hit.asked_digest, hit.stored_digest) is not None,
            exact_only=self._standing.is_exact_only(*where, hit.stored_digest),
            threshold=self._standing.threshold(*where, self.threshold, self._now()),
        )


def _facts(feedback: Feedback) -> dict[str, object]:
    """For the log: no prompt."""
    hit: ServedHit = feedback.hit
    return {
        "feedback": feedback.number,
        "verdict": feedback.verdict,
        "client": feedback.client,
        "judged_request": hit.request_id,
        "operation": hit.operation,
        "similarity": hit.similarity,
    }
