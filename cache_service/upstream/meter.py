"""One limit of one pool, counted by us: how much was sent, and when the next may go. Pure. Times are seconds on one clock.

Three things are kept, and a call waits for the latest:

1. *Pacing* (GCRA): one unit every T = (60 + guard) / L seconds, with a burst of 1 + the guard's worth. An upstream that
   slices its minute finer sees an even stream; never a minute's worth at once. A *factor* up to 1 slows it down: what is
   known of the limit is wrong, or others use it too.
2. *Window*: what was sent in the last minute. Pacing alone holds L a minute for single units; a call of several (n pictures,
   thousands of tokens) goes as one, and only the window keeps those to L in *every* half-open minute, too. So it doesn't
   matter whether the upstream counts with a leaky bucket, a fixed minute of its own clock or a sliding one. What is still an
   estimate may have been more: the window keeps some standard deviations free, as far as estimates have been off so far.
3. *Mirror* of the upstream's own bucket (capacity L, leaking L/60 a second): it also holds what others took from it, learnt
   from the text of a refusal, whose wait it reproduces, (used + requested - L) * 60 / L, and from headers.

A limit a day has the mirror alone: nobody slices a day, and a full day's worth may go at once.

The guard stands for the jitter of sending: two calls a minute apart may arrive 0.25 s closer. It costs 0.4 % of the limit.
The burst is the largest with which pacing alone keeps single units to L: L * 60/(60+guard) drain in a minute, and 1 +
guard/(60+guard) * L more stay under L + 1. (One second's worth, L/60, would let 1.2 % too many through.)
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

Dimension: TypeAlias = Literal["requests", "images", "tokens", "requests_per_day"]
DIMENSIONS: tuple[Dimension, ...] = ("requests", "images", "tokens", "requests_per_day")

MINUTE = 60.0
DAY = 86_400.0
PERIOD: dict[Dimension, float] = {"requests": MINUTE, "images": MINUTE, "tokens": MINUTE, "requests_per_day": DAY}
GUARD = 0.25
"""Seconds by which two sent calls may come closer together on their way."""
GRAIN = 0.05
"""Calls this close together share one row of the window, so that it has at most some 1,200 rows."""
ROUNDING = 1e-6
"""A time this close counts as reached: sums of floats must not send a waiter to sleep again for nothing."""
CUT = 0.03
REGAIN = 0.0002
"""AIMD of the factor, by refusal and by admission: in balance at two refusals in three hundred admissions, whatever the limit is."""
ROOM, REGAIN_WITH_ROOM = 0.3, 0.004
"""Of the limit: an answer that told of a bucket no fuller gives the factor so much back. A burst of others is over then."""
FILLED = 0.5
"""Of the limit: only of a bucket that was once told to be so full, for one that is cut into slices of ten seconds looks empty always."""
LEAST_FACTOR = 0.2
OTHERS_WEIGHT = 0.3
"""Of the newest answer in what others take of a window."""
OTHERS_FORGOTTEN = 120.0
"""Seconds after which what was known of them says nothing any more."""
NOBODY = 0.01
"""Of the limit, or half a unit; less is what an average keeps of others who have long gone."""
MOST_OTHERS = 0.8
"""Of the limit: so much is left to them at most."""
WARY, MOST_WARY = 1.0, 3.0
"""Standard deviations that are left to others beyond what they usually take: at first, and at most."""
MORE_WARY, LESS_WARY = 0.25, 0.147
"""By refusal that they explain, and by a limit's worth of admissions: in balance at three refusals in five such minutes."""
EASE = 0.96
"""Of the interval, for calls larger than the burst: the window holds their limit, and two brakes at one rate would waste 1 % of it."""
USUAL = 0.05
"""Weight of the last call in what a call usually takes."""
ERRS = 0.02
"""Weight of the last call in how far estimates are off."""
CAUTION, MOST_CAUTION = 1.5, 3.0
"""Standard deviations that the window keeps free for estimates that turn out to have been too low; the least and the most."""
MORE_CAUTION = 0.3
LESS_CAUTION = 0.0008
"""By refusal that such an estimate explains, and by admission: in balance at three refusals in a thousand admissions."""
EXPLAINED = 3.0
"""Standard deviations by which the upstream's count may be above ours for nobody else to be at work."""
LARGEST_MARGIN = 0.1
"""Of the limit."""


@dataclass(slots=True)
class _Row:
    """Units sent between `first` and `last`, at most GRAIN apart. doubt: variance of those that are estimates yet."""

    first: float
    last: float
    units: int
    doubt: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """What one call took from one dimension, and when; sent, level, spare, learnt: how window and mirror stood just after it."""

    dimension: Dimension
    meter: Meter
    row: _Row
    at: float
    units: int
    doubt: float
    interval: float
    sent: int
    level: float
    spare: float
    learnt: float


class Meter:
    """One dimension of one pool.

    A limit below 1 a period counts as 1 in a longer period: 0.5 a minute is one in two minutes.
    """

    def __init__(self, limit: float, guard: float = GUARD, period: float = MINUTE) -> None:
        self._guard = guard
        self._period = period
        self._next = float("-inf")  # GCRA's theoretical arrival time
        self._rows: deque[_Row] = deque()
        self._sent = 0  # units in the rows
        self._doubt = 0.0  # variance in the rows
        self._caution = CAUTION
        self._others, self._others_spread, self._others_at = 0.0, 0.0, float("-inf")  # in a window that isn't ours
        self._wary = WARY
        self._bucket_at = float("-inf")  # when an answer told a bucket's level
        self._error = 0.0  # mean square of the estimates' relative errors
        self._level = 0.0  # of the mirror, at `_level_at`
        self._level_at = float("-inf")
        self._spare = 0.0  # what could have leaked in all while nothing was there
        self._learnt = 0.0  # what was added to the level in all because others had taken it
        self._sampled_at = float("-inf")
        self._began_at = float("inf")  # the first charge
        self._fullest = 0.0  # that the bucket was told to be by an answer
        self._usual = 0.0  # units of one call
        self.cut_at = float("-inf")
        self.factor = 1.0
        self.set_limit(limit)

    def set_limit(self, limit: float) -> None:
        """Goes on with another limit; what was sent stays sent."""
        self.limit = limit
        self.capacity = max(limit, 1.0)
        period = self._period * self.capacity / limit
        self.interval = (period + self._guard) / self.capacity
        self.burst = 1.0 + self._guard / self.interval
        self._leak = self.capacity / period
        self._nobody = max(0.5, NOBODY * limit)
        # a day isn't held by its window: that only says for how long a row is worth keeping
        self._window = (period if self._period <= MINUTE else MINUTE) + self._guard

    def earliest(self, units: int, now: float) -> float:
        """When that many units may go; a time that is past means now."""
        mirrored = self._level_at + (self._level + units - self.capacity) / self._leak
        if self._period > MINUTE:
            return mirrored
        paced = self._next - (self.at_once(units) - units) * self.interval
        return max(paced, mirrored, self._room_at(units, now))

    def at_once(self, units: int) -> float:
        """Units that the pacing lets go together: its burst; in calls that are larger, two of them or five seconds' worth.

        The window holds up such a call until it fits as a whole; without more to go at once that time would be lost each time.
        """
        return self.burst if units <= self.burst else max(2.0 * units, self.capacity / 12)

    @property
    def calls_per_second(self) -> float | None:
        """How many calls of the usual size a limit a minute lets through; None of a limit a day."""
        return None if self._period > MINUTE else 1.0 / (self.interval * max(1.0, self._usual))

    def charge(self, dimension: Dimension, units: int, now: float, pace: float = 1.0) -> Charge:
        """Takes the units at `now`, whether they were allowed or not. pace: a further factor of the pacing, up to 1."""
        interval = self.interval / (self.factor * pace) * (EASE if units > self.burst else 1.0)
        self._began_at = min(self._began_at, now)
        self._usual += (units - self._usual) * (USUAL if self._usual else 1.0)
        self._next = max(self._next, now) + units * interval
        self._drain(now)
        self._level += units
        doubt = self._error * units * units
        if self._rows and now - self._rows[-1].first <= GRAIN:
            row = self._rows[-1]
            row.last = now
        else:
            self._forget(now)
            row = _Row(now, now, 0)
            self._rows.append(row)
        row.units += units
        row.doubt += doubt
        self._sent += units
        self._doubt += doubt
        return Charge(
            dimension, self, row, now, units, doubt, interval, self._sent, self._level, self._spare, self._learnt
        )

    def settled(self, charge: Charge, used: int, now: float) -> None:
        """The charge was an estimate; from now on it is known."""
        self._forget(now)
        if charge.row.last + self._window > now:
            charge.row.doubt -= charge.doubt
            self._doubt -= charge.doubt
        if used:
            self._error += ((used / charge.units - 1) ** 2 - self._error) * ERRS

    def give_back(self, charge: Charge, units: int, now: float) -> None:
        """Undoes a part of a charge, as if it had not been taken.

        What has leaked meanwhile is not given a second time: window and mirror are never ahead of those that had been charged
        the smaller amount in the first place. The pacing is credited in full, as it is charged in full for what was used
        beyond: it holds the long-run rate, and with estimates that are off by 30 % either way 7 % would be lost.
        """
        self._forget(now)
        if charge.row.last + self._window > now:
            charge.row.units -= units
            self._sent -= units
        self._next -= units * charge.interval
        elapsed = now - charge.at
        self._drain(now)
        self._level = max(0.0, self._level - max(0.0, units - elapsed * self._leak))

    def take_more(self, charge: Charge, units: int, now: float) -> None:
        """Adds to a charge, as if so much more had been taken then: it is what the upstream did.

        At another time in the window, use beyond the estimate would count for longer than use below it, and 3 % be lost.
        """
        self._forget(now)
        if charge.row.last + self._window > now:
            charge.row.units += units
            self._sent += units
        self._next = max(self._next, now) + units * charge.interval
        self._drain(now)
        self._level += max(0.0, units - (now - charge.at) * self._leak)  # as what is given back, or it would creep up

    def observe(self, used: float | None, now: float) -> None:
        """The upstream said where its own bucket stands at this moment."""
        if used is not None and used >= 0:
            self._drain(now)
            self._learnt += used - self._level
            self._level = used

    def observe_sample(self, charge: Charge, actual: int, used: float, now: float) -> None:
        """An answer said where the upstream's bucket stood, at some time between its call's charge and `now`.

        Only what exceeds our own count at both ends is what others took; of that, what has leaked or was learnt since
        isn't taken a second time. A sample of an earlier call than the last one's says nothing new, and nothing lowers
        the level: the answer may be 90 s old. actual: what the call took, by the upstream's count.
        """
        self._bucket_at = now
        if charge.at <= self._sampled_at:
            return
        self._sampled_at = charge.at
        self._drain(now)
        then = charge.level + actual - charge.units + (self._learnt - charge.learnt) + (self._spare - charge.spare)
        extra = used - max(then, self._level)
        if extra > 0:
            self._level += extra
            self._learnt += extra
        self._fullest = max(self._fullest, used)
        if used <= ROOM * self.capacity and self._fullest >= FILLED * self.capacity:
            self.factor = min(1.0, self.factor + REGAIN_WITH_ROOM)

    def observe_window(self, charge: Charge, actual: int, used: float, now: float) -> None:
        """An answer said how much an upstream's minute counted, at some time between its call's charge and `now`.

        What exceeds our own count at both ends, and what may be wrong with that, others took.
        """
        if self._error or now <= self._bucket_at + OTHERS_FORGOTTEN:
            return  # our own count isn't exact, or a full bucket looks alike
        if charge.at < self._began_at + self._window:
            return  # what we sent before we knew of this limit isn't others' doing
        if charge.at > self._sampled_at:
            self._sampled_at = charge.at
            self._forget(now)
            self._note_others(used - max(charge.sent + actual - charge.units, self._sent), now)

    def _note_others(self, units: float, now: float) -> None:
        seen = max(0.0, units)
        weight = 1.0 if now > self._others_at + OTHERS_FORGOTTEN else OTHERS_WEIGHT
        off = seen - self._others
        self._others += weight * off
        self._others_spread = (1 - OTHERS_WEIGHT) * (self._others_spread + OTHERS_WEIGHT * off * off)
        self._others_at = now

    def crowded(self, used: float | None, now: float) -> bool:
        """Whether others who are known to use the limit may be all there is to a refusal. Then more is left to them."""
        if used is None or self._others < self._nobody or now > self._others_at + OTHERS_FORGOTTEN:
            return False
        self._forget(now)
        self._note_others(used - self._sent, now)
        self._wary = min(MOST_WARY, self._wary + MORE_WARY)
        return True

    def refused(self, at: float, now: float) -> None:
        """A call sent at `at` was refused although it should have fitted; those sent before the last cut say nothing new."""
        if at >= self.cut_at:
            self.cut_at = now
            self.factor = max(LEAST_FACTOR, self.factor - CUT)

    def explains(self, used: float | None, now: float) -> bool:
        """Whether estimates that were too low may be all there is to a refusal: we have sent what the upstream counts, nearly.

        Then more of the window is kept free from now on.
        """
        if used is None or not self._error:
            return False
        self._forget(now)
        if used > self._sent + EXPLAINED * math.sqrt(max(0.0, self._doubt)):
            return False
        self._caution = min(MOST_CAUTION, self._caution + MORE_CAUTION)
        return True

    def admitted(self, share: float = REGAIN) -> None:
        """A call was admitted."""
        self.factor = min(1.0, self.factor + share)
        self._caution = max(CAUTION, self._caution - LESS_CAUTION)
        self._wary = max(0.0, self._wary - LESS_WARY / self.capacity)

    def absorb(self, other: Meter, now: float) -> None:
        """Both meters counted one and the same limit: together they hold what each of them has sent."""
        for meter in (self, other):
            meter.used(now)
        self._rows = deque(sorted((*self._rows, *other._rows), key=lambda row: row.last))
        self._sent += other._sent
        self._doubt += other._doubt
        self._error = max(self._error, other._error)
        self._began_at = min(self._began_at, other._began_at)
        self._level, self._level_at = self._level_now(now) + other._level_now(now), now
        self._next = max(self._next, other._next)
        self.factor = min(self.factor, other.factor)
        if other.limit < self.limit:
            self.set_limit(other.limit)

    def used(self, now: float) -> float:
        """Units that count against the limit now."""
        self._forget(now)
        return max(float(self._sent) if self._period <= MINUTE else 0.0, self._level_now(now))

    def _room_at(self, units: int, now: float) -> float:
        self._forget(now)
        excess = self._sent + units - self.capacity
        if self._error:
            margin = self._caution * math.sqrt(max(0.0, self._doubt) + self._error * units * units)
            excess += min(margin, LARGEST_MARGIN * self.capacity, self.capacity - units)
        if self._others >= self._nobody and now <= self._others_at + OTHERS_FORGOTTEN:
            theirs = self._others + self._wary * math.sqrt(self._others_spread)
            excess += min(theirs, MOST_OTHERS * self.capacity, self.capacity - units)
        if excess <= 0:
            return now
        for row in self._rows:
            excess -= row.units
            if excess <= 0:
                return row.last + self._window
        return now  # more than the limit was charged later than reserved; the mirror and the pacing still hold

    def _forget(self, now: float) -> None:
        while self._rows and self._rows[0].last + self._window <= now + ROUNDING:
            row = self._rows.popleft()
            self._sent -= row.units
            self._doubt -= row.doubt

    def _level_now(self, now: float) -> float:
        if self._level == 0.0:
            return 0.0
        return max(0.0, self._level - (now - self._level_at) * self._leak)

    def _drain(self, now: float) -> None:
        """Brings the mirror's level up to date."""
        if self._level_at > float("-inf"):
            self._spare += max(0.0, (now - self._level_at) * self._leak - self._level)
        self._level, self._level_at = self._level_now(now), now
