"""What is spent: every call is opened with what it may cost, and closed with what it did cost; budgets refuse what they can't hold.

Payments are durable before their answer is given, the stored ones in the same transaction as their entry. A store that fails costs
nobody an answer: such payments wait in memory, count against the budgets, and are filed as soon as the store answers again.
How requests were answered is added up by day, written behind them; a killed process loses the last half second of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from cache_service.answer import Report
from cache_service.budget import DAY, Budgets, Refused, Reserved, Use
from cache_service.errors import BudgetExceeded, StoreError
from cache_service.instrumentation.events import Hook, UsdSpent
from cache_service.operations.base import Asked
from cache_service.store.base import LedgerStore
from cache_service.store.entry import Charge, Daily, Kind, Payment, Sum

log = logging.getLogger(__name__)

Price: TypeAlias = Callable[[str | None, Mapping[str, Any]], float | None]
"""(model, usage) → USD, None where it isn't known."""
Estimate: TypeAlias = Callable[[str, Mapping[str, Any], int], float | None]
"""(operation, request, outputs) → USD it may cost at most, None where no price is known."""

MOST_WAITING: Final = 10_000  # payments that wait for a store that fails; the oldest are given up
MOST_KINDS: Final = 2_000  # rows of daily sums that wait to be written; names come from clients, so there is a bound
_OTHER: Final = "other"
_Row: TypeAlias = tuple[int, str, str, str, str, str, str, str]
"""Day, answer, and the members of a `Kind`: every request adds to one, so it is no more than a tuple, and its sum a list."""
_TEXTS: Final[Mapping[str, str]] = {
    "client": "the budget of this client for today is spent",
    "day": "today's budget is spent",
    "total": "the budget is spent",
    "unpriced": "no price is known for this model, so no budget can hold it",
}


@dataclass(slots=True, eq=False)
class Bill:
    """One generation's money, from before its first call until it is closed. estimate: USD, None where no price is known."""

    id: str
    kind: Kind
    n: int
    estimate: float | None
    reserved: Reserved
    paid: float = 0.0


class Ledger:
    """Opens and closes bills, and adds up how requests were answered, by upstream group ("simulator" for the built-in one)."""

    def __init__(
        self,
        store: LedgerStore,
        budgets: Budgets,
        *,
        price: Price,
        estimate: Estimate,
        hook: Hook,
        simulated: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._configured = budgets.limits.clients
        self._price = price
        self._estimate = estimate
        self._hook = hook
        self._simulated = simulated
        self._now = now
        self._waiting: deque[Payment] = deque(maxlen=MOST_WAITING)
        self._sums: dict[_Row, list[Any]] = {}

    def limit_clients(self, usd: Mapping[str, float]) -> None:
        """What clients with a key of their own may spend in a day, by name; it holds where the settings name the client too."""
        self._budgets.limits = replace(self._budgets.limits, clients={**self._configured, **usd})

    def estimate(self, asked: Asked, n: int) -> float | None:
        """What n outputs may cost at most."""
        return self._estimate(asked.operation, asked.body, n)

    def open(self, asked: Asked, client: str, n: int, group: str) -> Bill:
        """Holds what the generation may cost. group: of the upstream that is asked. Raises BudgetExceeded."""
        estimate = self.estimate(asked, n)
        verdict = self._budgets.reserve(client, estimate, self._now())
        if isinstance(verdict, Refused):
            said = _TEXTS[verdict.scope] + ("" if verdict.limit is None else f" ({verdict.limit:g} USD)")
            raise BudgetExceeded(said, retry_after=verdict.retry_after)
        return Bill(uuid.uuid4().hex, _kind(asked, client, group), n, estimate, verdict)

    def payment(
        self, bill: Bill, charge: Charge, usage: Mapping[str, Any] | None, made: Mapping[str, Any] | None = None
    ) -> Payment:
        """What the bill came to: by the upstream's usage, else by the estimate; as the first row under the bill's id."""
        kind = _as_made(bill.kind, made)
        usd = self.price(bill, usage, made) if usage else bill.estimate
        tokens_in, tokens_out = tokens_of(usage)
        return Payment(bill.id, self._now(), kind, charge, usd, not usage, bill.n, tokens_in, tokens_out)

    def price(self, bill: Bill, usage: Mapping[str, Any] | None, made: Mapping[str, Any] | None = None) -> float | None:
        """What that use costs: at the price of the model that made it, else of the one that was asked for."""
        if not usage:
            return None
        usd = self._price(_as_made(bill.kind, made).model or None, usage)
        return usd if usd is not None else self._price(bill.kind.model or None, usage)

    def filed(self, bill: Bill, payment: Payment) -> None:
        """The payment was stored together with its entry."""
        bill.paid += payment.usd or 0.0
        if payment.usd is not None:
            self._hook(UsdSpent(payment.kind.operation, payment.usd, sure=payment.charge != "maybe-paid"))

    async def file(self, bill: Bill, payment: Payment) -> None:
        """Stores the payment on its own; one that the store doesn't take waits."""
        self.filed(bill, payment)
        try:
            await self._store.pay([payment])
        except StoreError:
            log.exception("a payment could not be filed; trying again")
            self._waiting.append(payment)

    async def lost(self, bill: Bill, calls: int) -> None:
        """So many calls got no answer and may have been charged: each is counted as what it may have cost."""
        for number in range(calls):
            payment = replace(self.payment(bill, "maybe-paid", None), id=f"{bill.id}-{number + 1}")
            await self.file(bill, payment)

    def close(self, bill: Bill) -> None:
        """Takes back what was held beyond what was paid; once."""
        self._budgets.settle(bill.reserved, bill.paid, self._now())

    def recovered(self, bill_id: str, asked: Asked, client: str, n: int, group: str) -> Bill:
        """A bill of a process that was killed: nothing is held for it."""
        kind = _kind(asked, client, group)
        return Bill(bill_id, kind, n, self.estimate(asked, n), Reserved(client, 0.0))

    def answered(self, asked: Asked, client: str, report: Report, decision: str, group: str) -> None:
        """Adds one answered request to its day; waits for nothing."""
        by_meaning = report.kind == "semantic" or (report.matched_prompt is not None and not report.shadow)
        by_meaning = by_meaning and decision in ("hit", "stale-hit", "collapsed", "partial")
        answer = f"semantic-{decision}" if by_meaning else decision
        row = (int(self._now() // DAY), answer, *_made(asked, client, group, report.made))
        sums = self._sums.get(row)
        if sums is None:
            if len(self._sums) >= MOST_KINDS:
                row = (*row[:4], _OTHER, _OTHER, _OTHER, group)
            sums = self._sums.setdefault(row, [0, 0, 0, 0, 0.0, 0])
        sums[0] += 1
        sums[1] += asked.n
        sums[2] += report.tokens[0]
        sums[3] += report.tokens[1]
        sums[4] += report.saved_usd or 0.0
        sums[5] += decision in ("hit", "stale-hit") and report.saved_usd is None

    def budgets(self) -> list[Use]:
        """Every budget that is set, as it stands."""
        return self._budgets.use(self._now())

    async def refresh(self) -> None:
        """Takes in what the ledger says, other processes' payments too. Raises StoreError."""
        mark, day = self._budgets.mark(), int(self._now() // DAY)
        self._budgets.observe(day, await self._store.spent(day, simulated=self._simulated), mark)

    async def flush(self) -> None:
        """Writes what waits. Raises StoreError; what couldn't be written waits on."""
        payments = list(self._waiting)
        await self._store.pay(payments)
        for payment in payments:
            with contextlib.suppress(ValueError):  # given up meanwhile
                self._waiting.remove(payment)
        sums, self._sums = self._sums, {}
        try:
            await self._store.add(
                {Daily(day, Kind(*kind), answer): Sum(*values) for (day, answer, *kind), values in sums.items()}
            )
        except StoreError:
            for row, values in sums.items():
                since = self._sums.get(row, [0] * len(values))
                self._sums[row] = [one + other for one, other in zip(values, since, strict=True)]
            raise

    async def run(self, *, every: float) -> None:
        """Flushes and refreshes every `every` seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                await self.flush()
                await self.refresh()
            except StoreError:
                log.exception("the ledger can't be written or read; trying again")

    async def aclose(self) -> None:
        """The last flush; a store that fails costs the sums, not the shutdown."""
        try:
            await self.flush()
        except StoreError:
            log.exception("%d payments and the last sums could not be filed", len(self._waiting))


def tokens_of(usage: Mapping[str, Any] | None) -> tuple[int, int]:
    """Tokens read and written, by images' words or chat's."""

    def first(*names: str) -> int:
        values = [(usage or {}).get(name) for name in names]
        return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), 0)

    return max(0, first("input_tokens", "prompt_tokens")), max(0, first("output_tokens", "completion_tokens"))


def _kind(asked: Asked, client: str, group: str) -> Kind:
    return Kind(
        asked.operation,
        client,
        asked.model or "",
        _word(asked.context.get("size")),
        _word(asked.context.get("quality")),
        group,
    )


def _made(asked: Asked, client: str, group: str, made: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    """What was made for a request, as far as that is known: the members of its `Kind`, in order."""
    model, size, quality = made.get("model"), made.get("size"), made.get("quality")
    context = asked.context
    return (
        asked.operation,
        client,
        model if model and isinstance(model, str) else asked.model or "",
        size if size and isinstance(size, str) else _word(context.get("size")),
        quality if quality and isinstance(quality, str) else _word(context.get("quality")),
        group,
    )


def _as_made(kind: Kind, made: Mapping[str, Any] | None) -> Kind:
    """The same with what was really made in place of what was asked for, where that is known."""
    made = made or {}
    return replace(
        kind,
        model=_word(made.get("model")) or kind.model,
        size=_word(made.get("size")) or kind.size,
        quality=_word(made.get("quality")) or kind.quality,
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
