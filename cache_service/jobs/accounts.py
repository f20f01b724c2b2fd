"""Answers questions about money from the ledger: what it is worth (`roi`), what was spent on what and by whom (`spending`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from cache_service import roi
from cache_service.budget import DAY, Use
from cache_service.roi import Assumptions, Judged, Roi
from cache_service.store.entry import Daily, Feedback, Kind, Sum

PriceOf: TypeAlias = Callable[[str, Kind, Sum], float | None]
"""(model, what was made, how much of it) → USD had that model made it; None where it can't or no price is known."""

MOST_DAYS: Final = 3660


class Books(Protocol):
    """What is read: the ledger's sums and clients' judgements."""

    async def sums(self, first: int, last: int) -> dict[Daily, Sum]:
        """The sums of those days, both included."""

    async def feedback_after(self, number: int) -> list[Feedback]:
        """Every feedback given or undone with a larger change number, oldest first."""


@dataclass(frozen=True, slots=True)
class Priced:
    """The same traffic, had one model made it. uncached: every answer generated; cached: as it was. USD."""

    model: str
    operation: str
    uncached_usd: float
    cached_usd: float


@dataclass(frozen=True, slots=True)
class PricedBy:
    """The same traffic, had one provider made it, each answer by what that provider calls the model. USD.

    unpriced: answers of either sum that it doesn't offer, or whose price there nobody knows; they are in neither.
    """

    provider: str
    operation: str
    uncached_usd: float
    cached_usd: float
    unpriced: int


Named: TypeAlias = Callable[[str, str], str | None]
"""(operation, model) → what a provider calls that model; None where it doesn't offer it."""


class Accounts:
    """Reads the ledger. providers: those that `compare_providers` prices, by name. models: that `compare` prices, by operation; allowed: share of semantic hits that may be wrong, by operation."""

    def __init__(
        self,
        books: Books,
        *,
        price: PriceOf,
        models: Mapping[str, Sequence[str]],
        allowed: Mapping[str, float],
        budgets: Callable[[], Sequence[Use]],
        flush: Callable[[], Any],
        providers: Mapping[str, Named] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._books = books
        self._price = price
        self._models = models
        self._allowed = allowed
        self._budgets = budgets
        self._flush = flush
        self._providers = providers or {}
        self._now = now

    async def roi(self, days: int, assumed: Assumptions, *, operation: str | None = None) -> Roi:
        """What the cache was worth in the last so many days, today included. Raises StoreError."""
        rows = await self._rows(days, operation)
        judged = await self._judged(self._now() - days * DAY, operation)
        allowed = self._allowed.get(operation or "", max(self._allowed.values(), default=0.01))
        return roi.reckon(roi.measured(rows, self._span(days, rows)), judged, replace(assumed, allowed_share=allowed))

    async def compare(self, days: int, *, operation: str | None = None) -> list[Priced]:
        """What the same answers would have cost with each model that the catalog has a price for; the cheapest first. Raises StoreError."""
        rows = await self._rows(days, operation)
        found = []
        for kind, models in self._models.items():
            made = {row: value for row, value in rows.items() if row.kind.operation == kind}
            for model in models:
                uncached = self._priced(model, made, roi.PAID | roi.EXACT | roi.SEMANTIC)
                cached = self._priced(model, made, roi.PAID)
                if uncached is not None and cached is not None and (uncached or made):
                    found.append(Priced(model, kind, uncached, cached))
        return sorted(found, key=lambda one: (one.operation, one.uncached_usd, one.model))

    async def compare_providers(self, days: int, *, operation: str | None = None) -> list[PricedBy]:
        """What the same answers would have cost at each configured provider, in the order configured. Raises StoreError."""
        rows = await self._rows(days, operation)
        found = []
        for name, named in self._providers.items():
            for kind in sorted({row.kind.operation for row in rows}):
                made = {row: value for row, value in rows.items() if row.kind.operation == kind}
                uncached, missing = self._priced_by(named, made, roi.PAID | roi.EXACT | roi.SEMANTIC)
                cached, _ = self._priced_by(named, made, roi.PAID)
                found.append(PricedBy(name, kind, uncached, cached, missing))
        return found

    async def spending(self, days: int) -> dict[str, Any]:
        """What was spent and saved by day, client and model, and the budgets as they stand. Raises StoreError."""
        rows = await self._rows(days, None)
        return {
            "by_day": _grouped(rows, lambda row: {"day": _date(row.day)}),
            "by_client": _grouped(rows, lambda row: {"client": row.kind.client}),
            "by_model": _grouped(rows, lambda row: {"operation": row.kind.operation, "model": row.kind.model}),
            "budgets": [
                {
                    "scope": use.scope,
                    "client": use.client,
                    "limit_usd": use.limit,
                    "spent_usd": use.spent,
                    "reserved_usd": use.reserved,
                }
                for use in self._budgets()
            ],
        }

    async def _rows(self, days: int, operation: str | None) -> dict[Daily, Sum]:
        await self._flush()
        today = int(self._now() // DAY)
        rows = await self._books.sums(today - days + 1, today)
        return {row: value for row, value in rows.items() if operation in (None, row.kind.operation)}

    def _span(self, days: int, rows: Mapping[Daily, Sum]) -> float:
        """Days that the rows cover: since the first of them, so that a service of yesterday isn't scaled as one of a month."""
        today = self._now() / DAY
        first = min((row.day for row in rows), default=int(today))
        return max(1 / 24, min(float(days), today - first))

    def _priced(self, model: str, rows: Mapping[Daily, Sum], answers: frozenset[str]) -> float | None:
        total = 0.0
        for row, value in rows.items():
            if row.answer in answers:
                usd = self._price(model, row.kind, value)
                if usd is None:
                    return None
                total += usd
        return total

    def _priced_by(self, named: Named, rows: Mapping[Daily, Sum], answers: frozenset[str]) -> tuple[float, int]:
        total, missing = 0.0, 0
        for row, value in rows.items():
            if row.answer in answers:
                model = named(row.kind.operation, row.kind.model)
                usd = None if model is None else self._price(model, row.kind, value)
                total += usd or 0.0
                missing += value.count if usd is None else 0
        return total, missing

    async def _judged(self, since: float, operation: str | None) -> Judged:
        """The newest verdict on each pair, of hits that were served."""
        newest: dict[tuple[str, ...], Feedback] = {}
        for one in await self._books.feedback_after(0):
            hit = one.hit
            if one.undone is None and one.at >= since and not hit.shadow and operation in (None, hit.operation):
                newest[hit.namespace, hit.operation, *sorted((hit.asked_digest, hit.stored_digest))] = one
        wrong = sum(one.verdict == "wrong" for one in newest.values())
        return Judged(wrong, len(newest) - wrong)


def _grouped(rows: Mapping[Daily, Sum], key: Callable[[Daily], dict[str, str]]) -> list[dict[str, Any]]:
    """Per group: requests, hits, generations, and USD spent, lost and saved."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row, value in rows.items():
        names = key(row)
        group = found.setdefault(
            tuple(names.values()),
            {**names, "requests": 0, "hits": 0, "generations": 0, "spent_usd": 0.0, "maybe_spent_usd": 0.0, "saved_usd": 0.0},
        )  # fmt: skip
        if row.answer in roi.PAID:
            group["generations"] += value.count
            group["spent_usd"] += value.usd
        elif row.answer in roi.LOST:
            group["maybe_spent_usd"] += value.usd
        else:
            group["requests"] += value.count
            group["hits"] += value.count if row.answer in roi.EXACT | roi.SEMANTIC else 0
            group["saved_usd"] += value.usd
    return [found[name] for name in sorted(found)]


def _date(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY))
