"""How fast one limit pool may be used: decisions and their arithmetic, pure. Times are seconds on one monotonic clock.

Three things are kept for each limited dimension (requests, images, tokens a minute), and a call waits for the latest:

1. *Pacing* (GCRA): one unit every T = (60 + guard) / L seconds, with a burst of 1 + the guard's worth. An upstream that
   slices its minute finer sees an even stream; never a minute's worth at once.
2. *Window*: what was sent in the last minute. Pacing alone holds L a minute for single units; a call of several (n pictures,
   thousands of tokens) goes as one, and only the window keeps those to L in *every* half-open minute, too. So it doesn't
   matter whether the upstream counts with a leaky bucket, a fixed minute of its own clock or a sliding one.
3. *Mirror* of the upstream's own bucket (capacity L, leaking L/60 a second): it also holds what others took from it, learnt
   from the text of a refusal, whose wait it reproduces: (used + requested - L) * 60 / L.

The guard stands for the jitter of sending: two calls a minute apart may arrive 0.25 s closer. It costs 0.4 % of the limit.
The burst is the largest with which pacing alone keeps single units to L: L * 60/(60+guard) drain in a minute, and 1 +
guard/(60+guard) * L more stay under L + 1. (One second's worth, L/60, would let 1.2 % too many through.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cache_service.upstream.base import Cost

Dimension: TypeAlias = Literal["requests", "images", "tokens"]
DIMENSIONS: tuple[Dimension, ...] = ("requests", "images", "tokens")

MINUTE = 60.0
GUARD = 0.25
"""Seconds by which two sent calls may come closer together on their way."""
GRAIN = 0.05
"""Calls this close together share one row of the window, so that it has at most some 1,200 rows."""
ROUNDING = 1e-6
"""A time this close counts as reached: sums of floats must not send a waiter to sleep again for nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A pool's limits per minute; None is not limited and costs nothing."""

    requests: float | None = None
    images: float | None = None
    tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    """Now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not before `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Never:
    """The call is larger than the limit itself."""

    reason: str


Verdict: TypeAlias = Admit | Wait | Never


@dataclass(frozen=True, slots=True)
class RefusalText:
    """What a 429 says in words: which dimension, over which period ("min" or "day"), and the state of the upstream's bucket."""

    dimension: Dimension
    period: str
    limit: float | None = None
    used: float | None = None
    requested: float | None = None


@dataclass(slots=True)
class _Row:
    """Units sent between `first` and `last`, at most GRAIN apart."""

    first: float
    last: float
    units: int


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """What one call took from one dimension, and when."""

    dimension: Dimension
    meter: Meter
    row: _Row
    at: float
    units: int


Reservation: TypeAlias = tuple[Charge, ...]


class Meter:
    """One dimension of one pool.

    A limit below 1 a minute counts as 1 in a longer period: 0.5 a minute is one in two minutes.
    """

    def __init__(self, limit: float, guard: float = GUARD) -> None:
        self._guard = guard
        self._next = float("-inf")  # GCRA's theoretical arrival time
        self._rows: deque[_Row] = deque()
        self._sent = 0  # units in the rows
        self._level = 0.0  # of the mirror, at `_level_at`
        self._level_at = float("-inf")
        self.set_limit(limit)

    def set_limit(self, limit: float) -> None:
        """Goes on with another limit; what was sent stays sent."""
        self.limit = limit
        self.capacity = max(limit, 1.0)
        period = MINUTE * self.capacity / limit
        self.interval = (period + self._guard) / self.capacity
        self.burst = 1.0 + self._guard / self.interval
        self._leak = self.capacity / period
        self._window = period + self._guard

    def earliest(self, units: int, now: float) -> float:
        """When that many units may go; a time that is past means now."""
        paced = self._next - (self.burst - min(units, self.burst)) * self.interval
        mirrored = self._level_at + (self._level + units - self.capacity) / self._leak
        return max(paced, mirrored, self._room_at(units, now))

    def charge(self, dimension: Dimension, units: int, now: float) -> Charge:
        """Takes the units at `now`, whether they were allowed or not."""
        self._next = max(self._next, now) + units * self.interval
        self._level, self._level_at = self._level_now(now) + units, now
        if self._rows and now - self._rows[-1].first <= GRAIN:
            self._rows[-1].last = now
            self._rows[-1].units += units
        else:
            self._rows.append(_Row(now, now, units))
        self._sent += units
        return Charge(dimension, self, self._rows[-1], now, units)

    def give_back(self, charge: Charge, units: int, now: float) -> None:
        """Undoes a part of a charge, as if it had not been taken.

        What time has drained meanwhile is not given a second time: the meter is never ahead of one that had been charged
        the smaller amount in the first place.
        """
        self._forget(now)
        if charge.row.last + self._window > now:
            charge.row.units -= units
            self._sent -= units
        elapsed = now - charge.at
        self._next -= max(0.0, units * self.interval - elapsed)
        level = self._level_now(now) - max(0.0, units - elapsed * self._leak)
        self._level, self._level_at = max(0.0, level), now

    def observe(self, limit: float | None, used: float | None, now: float) -> None:
        """The upstream said where its own bucket stands."""
        if limit is not None and limit > 0:
            self.set_limit(limit)
        if used is not None and used >= 0:
            self._level, self._level_at = used, now

    def used(self, now: float) -> float:
        """Units that count against the limit now."""
        self._forget(now)
        return max(float(self._sent), self._level_now(now))

    def _room_at(self, units: int, now: float) -> float:
        self._forget(now)
        excess = self._sent + units - self.capacity
        if excess <= 0:
            return now
        for row in self._rows:
            excess -= row.units
            if excess <= 0:
                return row.last + self._window
        return now  # more than the limit was charged later than reserved; the mirror and the pacing still hold

    def _forget(self, now: float) -> None:
        while self._rows and self._rows[0].last + self._window <= now + ROUNDING:
            self._sent -= self._rows.popleft().units

    def _level_now(self, now: float) -> float:
        if self._level == 0.0:
            return 0.0
        return max(0.0, self._level - (now - self._level_at) * self._leak)


class RateLimit:
    """All dimensions of one limit pool. Nothing here waits: `decide` says when, `reserve` takes."""

    def __init__(self, limits: Limits = Limits(), guard: float = GUARD) -> None:
        self._guard = guard
        self._not_before = float("-inf")
        self.meters: dict[Dimension, Meter] = {}
        for dimension in DIMENSIONS:
            limit = getattr(limits, dimension)
            if limit is not None:
                self.meters[dimension] = Meter(limit, guard)

    def decide(self, cost: Cost, now: float) -> Verdict:
        """Whether a call of that cost may go now, when it may, or that it never fits."""
        until = self._not_before
        for dimension, meter in self.meters.items():
            units = _units(cost, dimension, meter)
            if units > meter.capacity:
                return Never(f"{units} {dimension} in one call, where the limit is {meter.limit:g} a minute")
            if units:
                until = max(until, meter.earliest(units, now))
        return Admit() if until <= now + ROUNDING else Wait(until)

    def reserve(self, cost: Cost, now: float) -> Reservation:
        """Takes the cost; to be called where `decide` admitted, with nothing awaited in between."""
        return tuple(
            meter.charge(dimension, units, now)
            for dimension, meter in self.meters.items()
            if (units := _units(cost, dimension, meter))
        )

    def hold(self, until: float) -> None:
        """Nothing goes before that time: the upstream said so."""
        self._not_before = max(self._not_before, until)

    def observe_refusal(self, text: RefusalText | None, wait: float, now: float) -> None:
        """Learns from a refusal: nothing goes for `wait` seconds, and the mirror stands where the upstream says its bucket does.

        A limit a day is obeyed through its wait alone. A dimension that wasn't limited is, from now on.
        """
        self.hold(now + wait)
        if text is None or text.period != "min":
            return
        meter = self.meters.get(text.dimension)
        if meter is None:
            if text.limit is None or text.limit <= 0:
                return
            meter = self.meters[text.dimension] = Meter(text.limit, self._guard)
        meter.observe(text.limit, text.used, now)

    def used(self, now: float) -> Mapping[str, float]:
        """Units by dimension that count against the limits now."""
        return {dimension: meter.used(now) for dimension, meter in self.meters.items()}


def settle(reservation: Reservation, actual: Cost, now: float) -> None:
    """Gives back what was reserved and not used, and charges what was used beyond."""
    for charge in reservation:
        used = int(getattr(actual, charge.dimension))
        if used < charge.units:
            charge.meter.give_back(charge, charge.units - used, now)
        elif used > charge.units:
            charge.meter.charge(charge.dimension, used - charge.units, now)


def refund_refusal(reservation: Reservation, now: float) -> None:
    """A refused call costs a request, but neither images nor tokens."""
    requests = next((charge.units for charge in reservation if charge.dimension == "requests"), 0)
    settle(reservation, Cost(requests=requests, images=0, tokens=0), now)


def drain_seconds(limits: Iterable[RateLimit], ahead: Cost, cost: Cost) -> float:
    """A lower bound of the time that several pools together need for all that is `ahead` before `cost` may go."""
    rates = list(limits)
    longest = 0.0
    for dimension in DIMENSIONS:
        meters = [rate.meters[dimension] for rate in rates if dimension in rate.meters]
        units = int(getattr(cost, dimension))
        if not meters or len(meters) < len(rates) or not units:
            continue  # nobody, or not everybody, limits it
        at_once = sum(max(meter.burst, units) for meter in meters)
        per_second = sum(1 / meter.interval for meter in meters)
        longest = max(longest, (int(getattr(ahead, dimension)) + units - at_once) / per_second)
    return longest


def _units(cost: Cost, dimension: Dimension, meter: Meter) -> int:
    """Tokens are an estimate, often the most that is possible: one above the limit takes the whole limit, and the upstream judges."""
    units = int(getattr(cost, dimension))
    return min(units, int(meter.capacity)) if dimension == "tokens" else units
