"""How fast one limit pool may be used, in all its dimensions: decisions, pure. Times are seconds on one monotonic clock.

A limit is configured (a maximum, never exceeded), or learnt: from the text of a refusal (exact), from headers, or, where
neither tells, by slowing down a little with each refusal and speeding up with each admission (AIMD; in `meter`). What was learnt
and not confirmed for an hour is doubted: it grows by 5 % a minute until a refusal sets it right again. "Slow down" cuts
the pace to 0.7; it grows back by half in a quarter of an hour, which is as fast as the upstream asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cache_service.upstream.base import Cost
from cache_service.upstream.limit_headers import LimitState
from cache_service.upstream.meter import DIMENSIONS, GUARD, MINUTE, PERIOD, ROUNDING, Charge, Dimension, Meter
from cache_service.upstream.wording import RefusalText

DOUBTED_AFTER = 3_600.0
"""Seconds for which what was learnt holds without being confirmed."""
DOUBT = 1.05
"""Factor a minute by which a doubted limit grows."""
MOST_DOUBT = 16.0
"""So many times what was learnt at most; an idle pool's limit must not grow for ever."""
DOUBT_EVERY = 30.0
"""Seconds between two steps of doubt."""
FASTER = 0.025
"""What a slowed meter's factor grows by in such a step."""
SLOWED = 0.7
LEAST_PACE = 0.1
REGROWTH = 1.5 ** (1 / 900.0)
"""Factor a second by which a slowed pace grows back: by half in 15 minutes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A pool's limits per minute, and of requests per day; None is not limited and costs nothing."""

    requests: float | None = None
    images: float | None = None
    tokens: float | None = None
    requests_per_day: float | None = None


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


ADMIT = Admit()

Verdict: TypeAlias = Admit | Wait | Never


Reservation: TypeAlias = tuple[Charge, ...]


@dataclass(slots=True)
class _Learnt:
    """A limit that was not configured: what it was when it was last confirmed, and when that was."""

    limit: float
    at: float


class RateLimit:
    """All dimensions of one limit pool. Nothing here waits: `decide` says when, `reserve` takes."""

    def __init__(self, limits: Limits = Limits(), guard: float = GUARD) -> None:
        self._guard = guard
        self._not_before = float("-inf")
        self._pace, self._slowed_at = 1.0, 0.0
        self._learnt: dict[Dimension, _Learnt] = {}
        self._days_seen: list[
            float
        ] = []  # a day's limit as the last answer told it: a window looks like one by chance, once
        self._doubt_at = float("inf")
        self.meters: dict[Dimension, Meter] = {}
        for dimension in DIMENSIONS:
            limit = getattr(limits, dimension)
            if limit is not None:
                self.meters[dimension] = Meter(limit, guard, PERIOD[dimension])

    def decide(self, cost: Cost, now: float) -> Verdict:
        """Whether a call of that cost may go now, when it may, or that it never fits."""
        if now >= self._doubt_at:
            self._doubt(now)
        until = self._not_before
        for dimension, meter in self.meters.items():
            units = _units(cost, dimension, meter)
            if units > meter.capacity:
                per = "minute" if PERIOD[dimension] == MINUTE else "day"
                return Never(f"{units} {dimension} in one call, where the limit is {meter.limit:g} a {per}")
            if units:
                until = max(until, meter.earliest(units, now))
        return ADMIT if until <= now + ROUNDING else Wait(until)

    def reserve(self, cost: Cost, now: float) -> Reservation:
        """Takes the cost; to be called where `decide` admitted, with nothing awaited in between."""
        pace = self.pace(now)
        return tuple(
            meter.charge(dimension, units, now, pace)
            for dimension, meter in self.meters.items()
            if (units := _units(cost, dimension, meter))
        )

    def hold(self, until: float) -> None:
        """Nothing goes before that time: the upstream said so."""
        self._not_before = max(self._not_before, until)

    def slow_down(self, sent_at: float, now: float) -> None:
        """The load grew too fast for the upstream. A call sent before the last such word says nothing new."""
        if sent_at >= self._slowed_at:
            self._pace, self._slowed_at = max(LEAST_PACE, self.pace(now) * SLOWED), now

    def pace(self, now: float) -> float:
        """The factor of the pacing that is left of earlier words to slow down."""
        if self._pace < 1.0:
            grown: float = self._pace * REGROWTH ** (now - self._slowed_at)
            if grown < 1.0:
                return grown
            self._pace = 1.0
        return 1.0

    def observe_refusal(self, text: RefusalText | None, wait: float, now: float) -> bool:
        """Learns from a refusal: nothing goes for `wait` seconds, and the mirror stands where the upstream says its bucket does.

        A dimension that wasn't limited is, from now on. True where the refusal told a limit that wasn't known: then it is
        explained. Tokens a day are obeyed through the wait alone.
        """
        self.hold(now + wait)
        dimension = None if text is None else dimension_of(text)
        if text is None or dimension is None:
            return False
        known = self.meters.get(dimension)
        before = None if known is None else known.limit
        if text.limit is not None and text.limit > 0:
            known = self._learn(dimension, text.limit, now)
        if known is None:
            return False
        known.observe(text.used, now)
        news = before is None or abs(before - known.limit) >= 1
        if news:
            known.cut_at = now  # those that are on their way were sent under another limit
        return news

    def refused(self, dimension: Dimension | None, sent_at: float, now: float) -> None:
        """A call was refused that should have fitted: slower, in that dimension or, where none was told, in all."""
        for name, meter in self.meters.items():
            if dimension in (None, name):
                meter.refused(sent_at, now)
                self._doubt_at = min(self._doubt_at, now + DOUBTED_AFTER)

    def observe_headers(self, states: Sequence[LimitState], sent_at: float, now: float) -> None:
        """Learns limits from the headers of an answer to a call sent at `sent_at`.

        A limit that was refused away comes back by them at once; an answer to a call sent before that tells of a past limit.
        """
        days = [state.limit for state in states if state.dimension == "requests_per_day"]
        confirmed = bool(days) and days == self._days_seen
        self._days_seen = days
        for state in states:
            learnt = self._learnt.get(state.dimension)
            if learnt is not None and sent_at < learnt.at:
                continue
            if state.dimension == "requests_per_day" and learnt is None and not confirmed:
                continue
            new = state.dimension not in self.meters
            meter = self._learn(state.dimension, state.limit, sent_at)
            if new and state.bucket:
                meter.observe(state.used, now)

    def observe_limits(self, limits: Limits, now: float) -> None:
        """Learns from a list of limits; what it doesn't hold stays as it is."""
        for dimension in DIMENSIONS:
            limit = getattr(limits, dimension)
            if limit is not None:
                self._learn(dimension, limit, now)

    def observe_sample(self, reservation: Reservation, state: LimitState, actual: Cost, now: float) -> None:
        """Learns from an answer's headers what others have taken of a bucket; of one whose limit is ours."""
        for charge in reservation:
            known = self.meters.get(state.dimension)
            if charge.dimension == state.dimension and charge.meter is known and abs(known.limit - state.limit) < 1:
                units = spent(actual, charge.dimension)
                if state.bucket:
                    charge.meter.observe_sample(charge, units, state.used, now)
                elif state.sliding:
                    charge.meter.observe_window(charge, units, state.used, now)

    def absorb(self, other: RateLimit, now: float) -> None:
        """Both were one and the same pool: from now on this one counts for both, under the smaller limits."""
        for dimension, meter in other.meters.items():
            if dimension in self.meters:
                self.meters[dimension].absorb(meter, now)
            else:
                self.meters[dimension] = meter
        self._learnt = {**other._learnt, **self._learnt}
        self._not_before = max(self._not_before, other._not_before)
        self._pace, self._slowed_at = min(self.pace(now), other.pace(now)), now
        self._doubt_at = min(self._doubt_at, other._doubt_at)

    def hand_over(self, dimension: Dimension, to: RateLimit) -> None:
        """What was assumed, not learnt, of a dimension is `to`'s to count and to set right, where that has no count of its own."""
        if dimension in self.meters and dimension not in self._learnt:
            meter = self.meters.pop(dimension)
            to.meters.setdefault(dimension, meter)

    def used(self, now: float) -> Mapping[str, float]:
        """Units by dimension that count against the limits now."""
        return {dimension: meter.used(now) for dimension, meter in self.meters.items()}

    def _learn(self, dimension: Dimension, limit: float, at: float) -> Meter:
        meter = self.meters.get(dimension)
        if meter is None:
            meter = self.meters[dimension] = Meter(limit, self._guard, PERIOD[dimension])
        elif meter.limit != limit:
            meter.set_limit(limit)
        self._learnt[dimension] = _Learnt(limit, at)
        self._doubt_at = min(self._doubt_at, at + DOUBTED_AFTER)
        return meter

    def _doubt(self, now: float) -> None:
        """Lets go, by and by, of what was learnt long ago and not confirmed since."""
        due = [float("inf")]
        for dimension, meter in self.meters.items():
            if meter.factor < 1.0:
                if now >= meter.cut_at + DOUBTED_AFTER:
                    meter.admitted(1.0 if now >= meter.cut_at + 2 * DOUBTED_AFTER else FASTER)
                due.append(max(now + DOUBT_EVERY, meter.cut_at + DOUBTED_AFTER))
            learnt = self._learnt.get(dimension)
            minutes = 0.0 if learnt is None else (now - learnt.at - DOUBTED_AFTER) / MINUTE
            if learnt is not None and minutes >= 0:
                grown = DOUBT ** min(minutes, 100.0)
                meter.set_limit(learnt.limit * min(MOST_DOUBT, grown))
                if grown >= MOST_DOUBT:
                    continue
            if learnt is not None:
                due.append(max(now + DOUBT_EVERY, learnt.at + DOUBTED_AFTER))
        self._doubt_at = min(due)


def settle(reservation: Reservation, actual: Cost, now: float) -> None:
    """Gives back what was reserved and not used, and charges what was used beyond."""
    for charge in reservation:
        used = spent(actual, charge.dimension)
        charge.meter.settled(charge, used, now)
        if used < charge.units:
            charge.meter.give_back(charge, charge.units - used, now)
        elif used > charge.units:
            charge.meter.take_more(charge, used - charge.units, now)


def refund_refusal(reservation: Reservation, now: float) -> None:
    """A refused call costs a request, but neither images nor tokens."""
    requests = next((charge.units for charge in reservation if charge.dimension.startswith("requests")), 0)
    settle(reservation, Cost(requests=requests, images=0, tokens=0), now)


def drain_seconds(limits: Iterable[RateLimit], ahead: Cost, cost: Cost) -> float:
    """A lower bound of the time that several pools together need for all that is `ahead` before `cost` may go."""
    rates = list(limits)
    longest = 0.0
    for dimension, period in PERIOD.items():
        meters = [rate.meters[dimension] for rate in rates if dimension in rate.meters]
        units = spent(cost, dimension)
        if not meters or len(meters) < len(rates) or not units or period > MINUTE:
            continue  # nobody, or not everybody, limits it; or a whole day's worth may go at once
        at_once = sum(meter.at_once(units) for meter in meters)
        per_second = sum(1 / meter.interval for meter in meters)
        longest = max(longest, (spent(ahead, dimension) + units - at_once) / per_second)
    return longest


def dimension_of(text: RefusalText) -> Dimension | None:
    """Which of our dimensions a refusal speaks of; None for tokens or images a day."""
    if text.period == "min":
        return text.dimension
    return "requests_per_day" if text.dimension == "requests" else None


def spent(cost: Cost, dimension: Dimension) -> int:
    """What the cost is in that dimension."""
    match dimension:
        case "requests" | "requests_per_day":
            return cost.requests
        case "images":
            return cost.images
        case "tokens":
            return cost.tokens


def _units(cost: Cost, dimension: Dimension, meter: Meter) -> int:
    """Tokens are an estimate, often the most that is possible: one above the limit takes the whole limit, and the upstream judges."""
    units = spent(cost, dimension)
    return min(units, int(meter.capacity)) if dimension == "tokens" else units
