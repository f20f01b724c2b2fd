"""From a decision or an outcome to what the client gets: the body, and the report of how it came about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cache_service.answer import Forwarded, Report, Served
from cache_service.decision import Decision, Hit, Miss, MissReason, StaleHit
from cache_service.generation import NotUnderstood, Produced
from cache_service.jobs.ledger import Price, tokens_of
from cache_service.operations.base import Operation
from cache_service.store.base import BlobStore
from cache_service.store.entry import Entry, Output
from cache_service.wire_bodies import Body, WireBodies

JSON = "application/json"

_RENDER_IN_THREAD = 256 * 1024  # bytes of pictures; base64 of less takes under half a millisecond

_FORWARDED: Mapping[MissReason, Forwarded] = {
    MissReason.NO_CACHE: "request",
    MissReason.TOO_OLD: "request",
    MissReason.EXPIRED: "stale",
}


class Responses:
    """Builds answers. Raises StoreCorrupt where a stored picture is missing or damaged."""

    def __init__(self, blobs: BlobStore, price: Price, bodies: WireBodies) -> None:
        self._blobs = blobs
        self._price = price
        self._bodies = bodies

    async def hit(self, operation: Operation, decision: Hit | StaleHit, n: int) -> Served:
        """The first n outputs of a stored entry."""
        entry = decision.entry
        body = self._bodies.find(entry, n)
        if body is None:
            body = await self._body(operation, entry, n)
            self._bodies.keep(entry, n, body)
        stale = isinstance(decision, StaleHit)
        report = Report(
            decision="stale-hit" if stale else "hit",
            key=entry.exact_key,
            kind=decision.kind,
            reason=decision.reason,
            similarity=decision.similarity,
            matched_prompt=entry.prompt if decision.kind == "semantic" else None,
            matched_key=entry.exact_key if decision.kind == "semantic" else "",
            age=decision.age,
            ttl=-decision.staleness if isinstance(decision, StaleHit) else decision.ttl,
            detail=decision.allowed if isinstance(decision, StaleHit) else "",
            provider=str(entry.made.get("provider", "")),
            saved_usd=body.saved_usd,
            made=body.made,
            tokens=body.tokens,
        )
        return Served(200, body.content, JSON, report)

    async def _body(self, operation: Operation, entry: Entry, n: int) -> Body:
        outputs = entry.outputs[:n]
        content = await self._render(operation, entry.envelope, outputs, {})
        return Body(content, self._usd(entry, outputs), _tokens(outputs), {"model": entry.model, **entry.made})

    async def produced(
        self,
        operation: Operation,
        produced: Produced,
        before: Entry | None,
        held: Mapping[str, bytes],
        n: int,
        report: Report,
        *,
        leads: bool,
    ) -> Served:
        """A fresh answer: the leader of a whole generation gets it as the upstream sent it, everybody else rendered from its parts.

        before: the entry that had some of the outputs already. held: their pictures by digest, which a purge may have deleted since.
        """
        report = report._replace(
            stored=produced.entry is not None and produced.filed_as_asked,
            detail=report.detail or _why_not_stored(produced),
            usd=produced.usd if leads else None,
            saved_usd=self._saved(produced, before, n, leads=leads),
            made=produced.answer.made,
            tokens=tokens_of(produced.answer.total_usage),
            upstream_request_id=produced.request_id,
        )
        if leads and before is None:
            return Served(200, produced.raw, JSON, report, produced.headers)
        envelope = before.envelope if before is not None else produced.answer.envelope
        outputs = (*(before.outputs if before is not None else ()), *produced.outputs)
        if produced.entry is not None and produced.filed_as_asked and len(produced.entry.outputs) >= len(outputs):
            envelope, outputs = produced.entry.envelope, produced.entry.outputs
        body = await self._render(operation, envelope, outputs[:n], {**held, **produced.pictures})
        return Served(200, body, JSON, report, produced.headers if leads else {})

    def _saved(self, produced: Produced, before: Entry | None, n: int, *, leads: bool) -> float | None:
        """What was not paid for this answer: the outputs that were there, or all of another's generation."""
        there = self._usd(before, before.outputs[:n]) if before is not None else None
        if leads or produced.usd is None:
            return there
        return (there or 0.0) + produced.usd

    async def pictures(self, outputs: Sequence[Output]) -> dict[str, bytes]:
        """The outputs' pictures by digest."""
        return {output.blob: await self._blobs.read(output.blob) for output in outputs if output.blob is not None}

    def not_understood(self, outcome: NotUnderstood, report: Report) -> Served:
        """A 2xx that holds no complete result, as it came."""
        report = report._replace(
            forward_status=outcome.status,
            detail=f"not stored: {outcome.reason}",
            upstream_request_id=outcome.request_id,
        )
        return Served(outcome.status, outcome.raw, outcome.headers.get("content-type", JSON), report, outcome.headers)

    async def _render(
        self,
        operation: Operation,
        envelope: Mapping[str, object],
        outputs: Sequence[Output],
        fresh: Mapping[str, bytes],
    ) -> bytes:
        """The body; pictures come from `fresh` (by digest) or from disk."""
        pictures = [
            None if output.blob is None else fresh.get(output.blob) or await self._blobs.read(output.blob)
            for output in outputs
        ]
        if sum(len(picture or b"") for picture in pictures) > _RENDER_IN_THREAD:
            return await asyncio.to_thread(operation.render, envelope, outputs, pictures)
        return operation.render(envelope, outputs, pictures)

    def _usd(self, entry: Entry, outputs: Sequence[Output]) -> float | None:
        """What the outputs cost when they were made; at today's price where that wasn't noted."""
        model = entry.model or entry.made.get("model")
        prices = [
            output.usd if output.usd is not None else self._price(model, output.usage) if output.usage else None
            for output in outputs
        ]
        known = [price for price in prices if price is not None]
        return sum(known) if known else None


def miss_report(decision: Decision, key: str, *, leads: bool) -> Report:
    """How a request came to go upstream: alone, for the missing outputs, or behind another's generation."""
    matched: Entry | None = None
    rejected = decision.rejected if isinstance(decision, Miss) else None
    if isinstance(decision, Miss):
        matched = decision.shadow.entry if decision.shadow is not None else None
        forwarded = _FORWARDED.get(decision.reason, "miss")
        reason, detail, similarity = str(decision.reason), decision.detail, decision.nearest
    else:
        matched = decision.entry if decision.kind == "semantic" else None
        forwarded, reason, detail, similarity = "partial", decision.reason, "", decision.similarity
    return Report(
        decision="collapsed" if not leads else "partial" if forwarded == "partial" else "miss",
        key=key,
        reason=reason,
        detail=detail,
        similarity=similarity,
        matched_prompt=matched.prompt if matched is not None else None,
        matched_key=matched.exact_key if matched is not None else "",
        rejected_prompt=rejected.prompt if rejected is not None else None,
        rejected_key=rejected.exact_key if rejected is not None else "",
        shadow=isinstance(decision, Miss) and matched is not None,
        forwarded=forwarded,
        collapsed=not leads,
    )


def _tokens(outputs: Sequence[Output]) -> tuple[int, int]:
    pairs = [tokens_of(output.usage) for output in outputs]
    return sum(read for read, _ in pairs), sum(written for _, written in pairs)


def _why_not_stored(produced: Produced) -> str:
    if produced.why_not:
        return f"not stored: {produced.why_not}"
    return "" if produced.filed_as_asked else "filed under what was really made"
