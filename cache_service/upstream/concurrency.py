"""How many calls of one pool may be in flight: fewer while calls are lost, back at once when they are answered again. Pure.

No upstream of this kind publishes a limit of concurrent calls, and latency says nothing: one image takes 6 to 90 s by its
quality, so a slow answer is content, not load (Vegas and Gradient2 would take it for queueing). Losses (503, time-outs) are a
sign where they are many: a tenth of the calls that gets lost is the network's or the upstream's ordinary illness, and an AIMD that
halves on each would be left with nothing. A spell is where three in ten of the last calls were lost, that is after four in a
row. It cuts the slots step by step to a floor, with a pause that doubles; the first answer restores them to 0.7 of
what they were, since the pacing holds the rate anyway, and as many answers as there are slots give one more.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOOR = 2
"""Slots that always remain: with one, a single hung call would stop the pool."""
CUT = 0.7
"""CUBIC's factor."""
RECENT = 0.1
"""Weight of the last call in the share of those lost."""
SPELL = 0.3
PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds; as the official client backs off."""


@dataclass(slots=True)
class Slots:
    """The slots of one pool. `most` is the configured maximum, `limit` what is allowed now."""

    most: int
    in_flight: int = 0
    limit: float = 0.0
    clean: int = 0
    cut_at: float = float("-inf")
    lost_share: float = 0.0
    restored: float = 0.0  # what the first answer restores; 0 outside of a spell
    cuts: int = 0

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

    def answered(self, started_at: float = float("inf")) -> None:
        """A call went well. One that had started before the last cut doesn't say that the spell is over."""
        if started_at < self.cut_at:
            return
        self.lost_share *= 1 - RECENT
        if self.restored:
            self.limit, self.restored, self.cuts, self.lost_share = self.restored, 0.0, 0, 0.0
        self.clean += 1
        if self.clean >= int(self.limit):
            self.clean = 0
            self.limit = min(float(self.most), self.limit + 1)

    def lost(self, started_at: float, now: float) -> float:
        """A call was lost; returns for how many seconds none should start.

        One that had started before the last cut tells nothing about the limit after it.
        """
        if started_at < self.cut_at:
            return 0.0
        self.clean = 0
        self.lost_share += (1 - self.lost_share) * RECENT
        if self.lost_share <= SPELL:
            return 0.0
        least = float(min(FLOOR, self.most))
        self.restored = self.restored or max(least, self.limit * CUT)
        self.limit = max(least, self.limit * CUT)
        self.cut_at = now
        self.cuts += 1
        return float(min(LONGEST_PAUSE, PAUSE * 2.0 ** min(self.cuts, 10)))

    def absorb(self, other: Slots) -> None:
        """The calls of another pool are this one's from now on, and so are its slots."""
        self.most += other.most
        self.limit += other.limit
        self.in_flight += other.in_flight
