"""Whether another generation may be paid: budgets in USD, what was spent, and what is reserved for calls in flight. Pure.

A day is a day of UTC. What a call may cost at most is reserved before it and settled after it, so that calls side by side never
spend more than the budget, except by what the upstream charges beyond the estimate. Hits cost nothing and are never refused.

Several processes share the ledger, not the reservations: together they may overshoot by what the others have in flight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from cache_service.store.entry import Spent

DAY: Final = 86400.0
ROUNDING: Final = 1e-9  # USD; sums of floats

Scope: TypeAlias = Literal["client", "day", "total", "unpriced"]
SCOPES: Final[tuple[Scope, ...]] = ("client", "day", "total", "unpriced")
"""What refused: a client's day, everybody's day, all that may ever be spent, or a price that nobody knows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """USD; None is not limited. client: of each client and day, clients: of some clients other than that, by name.

    unpriced: whether something without a known price may be paid although a budget is set.
    """

    client: float | None = None
    clients: Mapping[str, float] = field(default_factory=dict)
    day: float | None = None
    total: float | None = None
    unpriced: bool = False

    def of_client(self, client: str) -> float | None:
        """What the client may spend in a day."""
        return self.clients.get(client, self.client)


@dataclass(frozen=True, slots=True, eq=False)
class Reserved:
    """It may be paid. usd: what is held for it until it is settled."""

    client: str
    usd: float


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not. limit: USD. retry_after: seconds until the day ends, None where no time changes anything."""

    scope: Scope
    limit: float | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """One budget as it stands, USD. client: "" but for the scope "client"."""

    scope: Scope
    client: str
    limit: float
    spent: float
    reserved: float

    @property
    def share(self) -> float:
        """How much of it is gone."""
        return (self.spent + self.reserved) / self.limit if self.limit else 1.0


class Budgets:
    """What may still be spent. Answers from memory; `observe` tells it what the ledger says."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._day = -1
        self._spent = Spent({}, 0.0, 0.0)
        self._reserved: dict[str, float] = {}
        self._all_reserved = 0.0
        self._since: list[tuple[int, str, float]] = []  # settled since the ledger was last asked

    def reserve(self, client: str, usd: float | None, now: float) -> Reserved | Refused:
        """Holds what a generation may cost at most, or says which budget can't. usd None: nobody knows."""
        limits = (
            ("client", self.limits.of_client(client), self._of_client(client, now)),
            ("day", self.limits.day, self._of_day(now)),
            ("total", self.limits.total, self._of_all()),
        )
        bound = [(scope, limit, gone) for scope, limit, gone in limits if limit is not None]
        if usd is None and bound and not self.limits.unpriced:
            return Refused("unpriced", None, None)
        for scope, limit, gone in bound:
            # what has no price is let through while anything is left
            if gone + (usd or 0.0) > limit + ROUNDING or (usd is None and gone >= limit):
                wait = None if scope == "total" else seconds_left(now)
                return Refused(scope, limit, wait)  # type: ignore[arg-type] # the words of the table above
        held = Reserved(client, usd or 0.0)
        self._reserved[client] = self._reserved.get(client, 0.0) + held.usd
        self._all_reserved += held.usd
        return held

    def settle(self, reserved: Reserved, usd: float, now: float) -> None:
        """Takes back what was held, and counts what was spent instead; 0 for a call that cost nothing."""
        left = self._reserved.get(reserved.client, 0.0) - reserved.usd
        self._reserved[reserved.client] = max(0.0, left)
        if left <= ROUNDING:
            del self._reserved[reserved.client]
        self._all_reserved = max(0.0, self._all_reserved - reserved.usd) if self._reserved else 0.0
        if usd:
            self._since.append((int(now // DAY), reserved.client, usd))

    def mark(self) -> int:
        """Call it before the ledger is asked: what is settled from then on isn't surely in its answer."""
        return len(self._since)

    def observe(self, day: int, spent: Spent, mark: int) -> None:
        """What the ledger said of that day. A payment settled while it was asked may count twice until it is asked again."""
        self._day, self._spent = day, spent
        del self._since[:mark]

    def use(self, now: float) -> list[Use]:
        """Every budget that is set; of clients those that spend or have a budget of their own."""
        limits = self.limits
        found: list[Use] = []
        if limits.day is not None:
            found.append(Use("day", "", limits.day, self._of_day(now) - self._all_reserved, self._all_reserved))
        if limits.total is not None:
            found.append(Use("total", "", limits.total, self._of_all() - self._all_reserved, self._all_reserved))
        clients = {*limits.clients, *self._spent.by_client, *self._reserved, *(client for _, client, _ in self._since)}
        for client in sorted(clients):
            limit = limits.of_client(client)
            if limit is not None:
                held = self._reserved.get(client, 0.0)
                found.append(Use("client", client, limit, self._of_client(client, now) - held, held))
        return found

    def _of_client(self, client: str, now: float) -> float:
        day = int(now // DAY)
        known = self._spent.by_client.get(client, 0.0) if day == self._day else 0.0
        since = sum(usd for of, name, usd in self._since if of == day and name == client)
        return known + since + self._reserved.get(client, 0.0)

    def _of_day(self, now: float) -> float:
        day = int(now // DAY)
        known = self._spent.day if day == self._day else 0.0
        return known + sum(usd for of, _, usd in self._since if of == day) + self._all_reserved

    def _of_all(self) -> float:
        return self._spent.total + sum(usd for _, _, usd in self._since) + self._all_reserved


def seconds_left(now: float) -> float:
    """Seconds until the day ends in UTC; at least one."""
    return max(1.0, math.ceil(DAY - now % DAY))
