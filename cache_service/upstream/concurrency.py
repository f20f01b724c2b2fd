"""How many calls of one pool may be in flight: what its rate and its answers' times need, and fewer while calls are lost. Pure.

No upstream of this kind publishes a limit of concurrent calls. By Little's law a pool that admits r calls a second, each answered
within s seconds, has r * s in flight: at 50 a minute and 22 s that is 19, at 250 a minute 92; a fixed number is wrong
for both. So there are ceil(r * p95 * 1.25) slots, never above the configured maximum (each may hold some 10 MB). The age of a call
that still runs counts as its time so far: when slow calls follow fast ones the slots grow with them, and throughput isn't lost.

Latency itself is no sign of load: one image takes 6 to 90 s by its quality (Vegas and Gradient2 would take it for queueing). Losses
(503, time-outs, broken connections) are, where they are many: a tenth of the calls that gets lost is ordinary illness, and
an AIMD that cuts on each would be left with nothing. A spell is where three in ten of the last calls were lost, which is
after seven in a row. Its first sign cuts the slots to 0.7; every sign pauses the model, for twice as long as the one before, so that a
dead upstream gets a call in eight seconds. The first answer ends the spell, and as many answers as there are slots give one more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

Rate: TypeAlias = Callable[[], float | None]
"""Calls a second that the pool's limits allow; None where that isn't known."""

FLOOR = 2
"""Slots that always remain: with one, a single hung call would stop the pool."""
CUT = 0.7
"""CUBIC's factor."""
HEADROOM = 1.25
RECENT = 0.05
"""Weight of the last call in the share of those lost: with a tenth lost by chance, one in some 10,000 calls looks like a spell."""
SPELL = 0.3
PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds; as the official client backs off."""
SAMPLES = 128
ENOUGH = 20
"""Answers from which on their times are believed."""
UNKNOWN_LATENCY = 120.0
"""Seconds; the longest that the upstream's own pages speak of."""
LEAST_LATENCY = 10.0
"""Seconds; below it slots cost nothing, and a burst must not wait for them."""
REVIEW = 1.0
"""Seconds between two countings of the slots that are needed."""


@dataclass(slots=True)
class Slots:
    """The slots of one pool. `most` is the configured maximum, `limit` what losses leave of it."""

    most: int
    limit: float = 0.0
    clean: int = 0
    cut_at: float = -math.inf
    lost_share: float = 0.0
    signs: int = 0  # pauses since the last answer
    needed: float = 0.0
    needed_at: float = -math.inf
    running: dict[int, float] = field(default_factory=dict)  # by the call's number: when it started
    took: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    @property
    def in_flight(self) -> int:
        """Calls that run."""
        return len(self.running)

    @property
    def in_spell(self) -> bool:
        """Whether calls were lost one after the other, and none was answered since."""
        return self.signs > 0

    def free_at(self, now: float, rate: Rate) -> float:
        """When one more call may start: `now`, a later look, or infinity where only the end of a call can tell."""
        if len(self.running) >= int(self.limit):
            return math.inf
        if len(self.running) < self.needed:
            return now
        if now < self.needed_at + REVIEW:
            return self.needed_at + REVIEW
        self._count_needed(now, rate())
        return now if len(self.running) < self.needed else now + REVIEW

    def take(self, number: int, now: float) -> None:
        """The call of that number starts."""
        self.running[number] = now

    def release(self, number: int, now: float, *, answered: bool = False) -> None:
        """The call ended, however; its time counts where it was answered."""
        started = self.running.pop(number, None)
        if answered and started is not None:
            self.took.append(now - started)

    def answered(self, started_at: float = math.inf) -> None:
        """A call went well. One that had started before the last sign doesn't say that the spell is over."""
        if started_at < self.cut_at:
            return
        self.lost_share *= 1 - RECENT
        if self.signs:
            self.signs, self.lost_share = 0, 0.0
        self.clean += 1
        if self.clean >= int(self.limit):
            self.clean = 0
            self.limit = min(float(self.most), self.limit + 1)

    def lost(self, started_at: float, now: float) -> float:
        """A call was lost; returns for how many seconds none should start.

        One that had started before the last sign says nothing new.
        """
        if started_at < self.cut_at:
            return 0.0
        self.clean = 0
        self.lost_share += (1 - self.lost_share) * RECENT
        if self.lost_share <= SPELL:
            return 0.0
        if not self.signs:
            self.limit = max(float(min(FLOOR, self.most)), min(self.limit, self.needed) * CUT)
        self.cut_at = now
        self.signs += 1
        return float(min(LONGEST_PAUSE, PAUSE * 2.0 ** min(self.signs, 10)))

    def absorb(self, other: Slots) -> None:
        """The calls of another pool are this one's from now on, and so are its slots."""
        self.most += other.most
        self.limit += other.limit
        self.running |= other.running
        self.took.extend(other.took)

    def _count_needed(self, now: float, rate: float | None) -> None:
        self.needed_at = now
        if rate is None:
            self.needed = float(self.most)
            return
        times = sorted([*self.took, *(now - started for started in self.running.values())])
        p95 = max(LEAST_LATENCY, times[math.ceil(0.95 * len(times)) - 1] if times else 0.0)
        if len(self.took) < ENOUGH:
            p95 = max(p95, UNKNOWN_LATENCY)
        self.needed = float(min(self.most, max(FLOOR, math.ceil(rate * p95 * HEADROOM))))
