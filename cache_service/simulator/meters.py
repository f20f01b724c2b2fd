"""How one limit of one pool is counted: four ways, since nobody outside knows which one an upstream uses.

What is known: all figures in captured headers and refusals are those of a leaky bucket that holds a minute's worth and
leaks at limit/60 s (5000 − 4999 left: full again in 12 ms; 30000, 29446 used, 821 asked: wait 534 ms). Yet the upstream's
help pages warn that limits may be enforced in shorter slices, and others count calendar or sliding minutes.

Pure: `now` (seconds, never going back) is an argument. Amounts are whole numbers. A meter promises for every window of t
seconds: bucket of capacity c: at most c + t·limit/period; fixed window: at most the limit in each window; sliding: at most
the limit in any period.
"""

# ruff: noqa: D102  # the promises stand once, in Meter
from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import Protocol

TOLERANCE = 1e-6
"""Of an amount, for sums of binary fractions; limits go up to 10⁷."""

SLICE = 10.0
"""Seconds of the short slice that the upstream's pages warn of."""


class Mode(StrEnum):
    """The four ways."""

    BUCKET = "bucket"
    BUCKET_10S = "bucket-10s"
    FIXED = "fixed-minute"
    SLIDING = "sliding-minute"


class Meter(Protocol):
    """Counts one dimension against its limit."""

    limit: float

    def used(self, now: float) -> float:
        """What counts against the limit now."""

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits, 0 if it does; `amount` ≤ limit. Alone and waiting that long, one is admitted."""

    def told_used(self, amount: int, now: float) -> int:
        """The figure "Used" of a refusal; with buckets, wait = (used + amount − limit) · period / limit."""

    def charge(self, amount: int, now: float) -> None:
        """Counts `amount`, whether or not it fits."""

    def reset(self, now: float) -> float:
        """Seconds until nothing is used any more."""

    def resize(self, limit: float, now: float) -> None:
        """Another limit from now on; what was used stays used."""


def make_meter(mode: Mode, limit: float, period: float, offset: float = 0.0) -> Meter:
    """A meter of `limit` per `period` seconds. offset: by how much the server's minute is ahead (fixed windows)."""
    match mode:
        case Mode.BUCKET:
            return Bucket(limit, period)
        case Mode.BUCKET_10S:
            return Bucket(limit, period, part=min(1.0, SLICE / period) if period <= 60.0 else 1.0)
        case Mode.FIXED:
            return FixedWindow(limit, period, offset)
        case Mode.SLIDING:
            return SlidingWindow(limit, period)


class Bucket:
    """Leaks limit/period a second; holds `part` of the limit, at least 1. One amount above that fits the empty bucket."""

    def __init__(self, limit: float, period: float, *, part: float = 1.0) -> None:
        self.limit = limit
        self._period = period
        self._part = part
        self._level = 0.0
        self._at = 0.0

    def used(self, now: float) -> float:
        return max(0.0, self._level - max(0.0, now - self._at) * self.limit / self._period)

    def wait(self, amount: int, now: float) -> float:
        if self.used(now) + amount <= self._room(amount) + TOLERANCE:
            return 0.0
        return (self.told_used(amount, now) + amount - self.limit) * self._period / self.limit

    def told_used(self, amount: int, now: float) -> int:
        # A refusal's figures are whole; the slice's missing part is shown as used, so that the arithmetic holds.
        return math.ceil(self.used(now) + self.limit - self._room(amount) - TOLERANCE / 2)

    def charge(self, amount: int, now: float) -> None:
        self._level = self.used(now) + amount
        self._at = max(self._at, now)

    def reset(self, now: float) -> float:
        return math.ceil(self.used(now) - TOLERANCE) * self._period / self.limit

    def resize(self, limit: float, now: float) -> None:
        self.charge(0, now)
        self.limit = limit

    def _room(self, amount: int) -> float:
        return max(1.0, self.limit * self._part, min(amount, self.limit))


class FixedWindow:
    """At most the limit in each window that begins at a multiple of the period on the server's clock."""

    def __init__(self, limit: float, period: float, offset: float) -> None:
        self.limit = limit
        self._period = period
        self._offset = offset
        self._window = -1
        self._count = 0

    def used(self, now: float) -> float:
        return self._count if self._window == self._number(now) else 0

    def wait(self, amount: int, now: float) -> float:
        return 0.0 if self.used(now) + amount <= self.limit else self._left(now)

    def told_used(self, amount: int, now: float) -> int:
        return int(self.used(now))

    def charge(self, amount: int, now: float) -> None:
        self._count = int(self.used(now)) + amount
        self._window = self._number(now)

    def reset(self, now: float) -> float:
        return self._left(now) if self.used(now) else 0.0

    def resize(self, limit: float, now: float) -> None:
        self.limit = limit

    def _number(self, now: float) -> int:
        return math.floor((now + self._offset) / self._period + TOLERANCE / self._period)

    def _left(self, now: float) -> float:
        return (self._number(now) + 1) * self._period - self._offset - now


class SlidingWindow:
    """At most the limit in any half-open period."""

    def __init__(self, limit: float, period: float) -> None:
        self.limit = limit
        self._period = period
        self._charges: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> float:
        while self._charges and self._charges[0][0] + self._period <= now + TOLERANCE:
            self._sum -= self._charges.popleft()[1]
        return self._sum

    def wait(self, amount: int, now: float) -> float:
        excess = self.used(now) + amount - self.limit
        for at, charged in self._charges:
            if excess <= 0:
                return 0.0
            excess -= charged
            if excess <= 0:
                return at + self._period - now
        return 0.0

    def told_used(self, amount: int, now: float) -> int:
        return int(self.used(now))

    def charge(self, amount: int, now: float) -> None:
        self.used(now)
        if amount:
            self._charges.append((now, amount))
            self._sum += amount

    def reset(self, now: float) -> float:
        return self._charges[-1][0] + self._period - now if self.used(now) else 0.0

    def resize(self, limit: float, now: float) -> None:
        self.limit = limit
