"""From what was found or generated to what the client gets, and what the rest of the world is told of it: hook, log, ledger, record of hits."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from cache_service.answer import Failed, Report, Result, Served, Trace
from cache_service.cache_key.normalize import prompt_digest
from cache_service.decision import Decision, Directives, Hit, Miss, MissReason, StaleHit, decide_exact
from cache_service.errors import (
    BudgetExceeded,
    CacheServiceError,
    CapacityExceeded,
    NotCached,
    RequestError,
    StoreCorrupt,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.generation import AlreadyThere, Broke, NotUnderstood, Outcome, Produced
from cache_service.instrumentation.events import FellBack, Hook, RequestServed, ShadowHit, TierFailed
from cache_service.jobs.ledger import Ledger
from cache_service.question import Question
from cache_service.responses import Responses, miss_report
from cache_service.single_flight import Generation
from cache_service.store.base import EntryStore
from cache_service.store.entry import ServedHit

log = logging.getLogger(__name__)


class Serving:
    """Answers questions. record: told of every answer that another prompt had made; used: of every entry that was served; trace: of every
    answer and failure.
    """

    def __init__(
        self,
        *,
        responses: Responses,
        store: EntryStore,
        ledger: Ledger,
        hook: Hook,
        record: Callable[[ServedHit], None],
        trace: Callable[[Trace], None] = lambda trace: None,
        used: Callable[[int], None] = lambda entry_id: None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._responses = responses
        self._store = store
        self._ledger = ledger
        self._hook = hook
        self._record_hit = record
        self._used = used
        self._trace = trace
        self._now = now
        self._monotonic = monotonic

    async def serve_hit(self, question: Question, decision: Hit | StaleHit) -> Served | Decision:
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
        self._used(decision.entry.id)
        return self.answered(question, served)

    async def serve_outcome(
        self, question: Question, decision: Decision, generation: Generation[Outcome], outcome: Outcome, *, leads: bool
    ) -> Result:
        """What a generation led to, for its leader or a follower."""
        report = self._report(question, decision, generation, leads=leads)
        question.steps |= generation.steps
        match outcome:
            case Produced():
                before = None if isinstance(decision, Miss) else decision.entry
                try:
                    served = await self._responses.produced(
                        question.operation, outcome, before, question.held, question.asked.n, report, leads=leads
                    )
                except StoreCorrupt as error:
                    return self.failed(question, error, report)
                return self.answered(question, served)
            case AlreadyThere(entry):
                hit = decide_exact(entry, Directives(), self._now())
                if isinstance(hit, Hit) and entry.exact_key != question.key.exact:
                    hit = replace(hit, kind="semantic", similarity=report.similarity or 0.0)
                found = await self.serve_hit(question, hit) if isinstance(hit, Hit) else hit
                if isinstance(found, Served):
                    return found
                return self.failed(
                    question, StoreCorrupt("the stored answer can't be read; ask again with no-cache"), report
                )
            case NotUnderstood(reason=reason) if not isinstance(decision, Miss):
                broken = UpstreamUnreachable(
                    f"the upstream's answer for the outputs that are missing held none: {reason}"
                )
                return self.failed(question, broken, report._replace(detail=f"not stored: {reason}"))
            case NotUnderstood():
                return self.answered(question, self._responses.not_understood(outcome, report))
            case Broke(error):
                status = error.status if isinstance(error, UpstreamRefused) else None
                return self.failed(question, error, report._replace(forward_status=status))

    def _report(
        self, question: Question, decision: Decision, generation: Generation[Outcome], *, leads: bool
    ) -> Report:
        """How the generation came to answer the question; for one that was joined by meaning, also whose it is."""
        draft, meaning = generation.draft, question.meaning
        report = miss_report(decision, draft.exact_key, leads=leads)._replace(provider=question.provider.name)
        if leads:
            missing = question.asked.n - (0 if isinstance(decision, Miss) else len(decision.entry.outputs))
            report = report._replace(estimated_usd=self._ledger.estimate(question.asked, missing))
        if draft.exact_key == question.key.exact or not isinstance(decision, Miss):
            return report
        similarity = None
        if draft.vector is not None and meaning is not None:
            similarity = float(draft.vector.vector @ meaning.embedding.vector)
        return report._replace(matched_prompt=draft.prompt, matched_key=draft.exact_key, similarity=similarity)

    def not_cached(self, question: Question, decision: Decision) -> Failed:
        """The client wanted nothing generated, and nothing stored can be served."""
        reason = decision.detail or str(decision.reason) if isinstance(decision, Miss) else "too few outputs are stored"
        report = Report(decision="miss", key=question.key.exact, reason="only-if-cached", detail=reason)
        return self.failed(question, NotCached(f"only-if-cached, and nothing stored can be served: {reason}"), report)

    def answered(self, question: Question, served: Served) -> Served:
        """The same answer, once it is counted and recorded."""
        if question.course is not None:
            served = served._replace(report=served.report._replace(fallback=str(question.course.step)))
            self._hook(FellBack(question.asked.operation, str(question.course.step), "answered"))
        report, operation = served.report, question.asked.operation
        self._record(question, report, report.decision, served.status)
        if report.matched_prompt is not None:  # so that feedback can name it
            self._record_hit(_paired(question, report, report.matched_prompt, self._now()))
        if report.shadow:
            log.info("shadow hit", extra={"request_id": question.request_id, "operation": operation,
                                          "similarity": report.similarity, "key": report.matched_key})  # fmt: skip
            self._hook(ShadowHit(operation, report.similarity or 0.0))
        return served

    def failed(self, question: Question, error: CacheServiceError, report: Report) -> Failed:
        """No answer, counted."""
        self._record(question, report, "error", 0, error_class(error))
        return Failed(error, report)

    def _record(self, question: Question, report: Report, decision: str, status: int, error: str = "") -> None:
        seconds = self._monotonic() - question.started
        operation = question.asked.operation
        group = question.provider.upstream.group
        self._ledger.answered(question.asked, question.caller.client, report, decision, group)
        self._trace(
            Trace(
                request_id=question.request_id,
                at=self._now(),
                caller=question.caller,
                operation=operation,
                model=question.asked.model,
                prompt=question.key.prompt,
                key=question.key.exact,
                report=report,
                status=status,
                error=error,
                seconds=seconds,
                steps=question.steps,
            )
        )
        quality = question.asked.context.get("quality")
        self._hook(
            RequestServed(
                operation,
                decision,
                report.kind,
                report.reason,
                status,
                seconds,
                report.similarity,
                error=error,
                model=question.asked.model or "",
                quality=quality if isinstance(quality, str) else "",
                saved_usd=report.saved_usd,
            )
        )


def error_class(error: CacheServiceError) -> str:
    """Whose fault it was: a word of `prometheus.ERRORS`."""
    match error:
        case RequestError():
            return "client"
        case BudgetExceeded():
            return "budget"
        case CapacityExceeded():
            return "capacity"
        case UpstreamTimeout():
            return "timeout"
        case UpstreamRefused() if not error.transient and error.status < 500:
            return "refused"
        case UpstreamError():
            return "upstream"
    return "service"


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
