"""How many calls of one pool may be in flight: additive increase, multiplicative decrease, on losses only. Pure.

No upstream of this kind publishes a limit of concurrent calls, and latency says nothing: one image takes 6 to 90 s by its
quality, so a slow answer is content, not load (Vegas and Gradient2 would take it for queueing). A loss (503, time-out) is a
sign; one spell of losses cuts once, whatever number of calls it hits.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOOR = 2
"""Slots that always remain: with one, a single hung call would stop the pool."""
CUT = 0.7
"""CUBIC's factor."""


@dataclass(slots=True)
class Slots:
    """The slots of one pool. `most` is the configured maximum, `limit` what is allowed now."""

    most: int
    in_flight: int = 0
    limit: float = 0.0
    clean: int = 0
    cut_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    @property
    def free(self) -> bool:
        """Whether one more call may start."""
        return self.in_flight < int(self.limit)

    def take(self) -> None:
        """A call starts."""
        self.in_flight += 1

    def release(self) -> None:
        """A call ended, however."""
        self.in_flight -= 1

    def answered(self) -> None:
        """A call went well: after as many as there are slots, one slot more."""
        self.clean += 1
        if self.clean >= int(self.limit):
            self.clean = 0
            self.limit = min(float(self.most), self.limit + 1)

    def lost(self, started_at: float, now: float) -> None:
        """A call was lost. One that had started before the last cut tells nothing about the limit after it."""
        if started_at < self.cut_at:
            return
        self.clean = 0
        self.cut_at = now
        self.limit = max(float(min(FLOOR, self.most)), self.limit * CUT)
