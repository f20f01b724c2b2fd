"""Models of published algorithms for calling an API through several limit pools: the idea, not the products.

`workers` are ten that call and repeat after the told wait; `burst` a leaky bucket that lets a minute's worth go at once; `random` a
pool drawn by weight, paced in sum; `minute` counters per minute of the client's own clock. All know the configured limits.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping


class Algorithm:
    """Which pool, and when. workers: how many call at once; 0: as many as the limits allow."""

    workers = 0
    repeats_itself = True

    def __init__(self, pools: int, limit: float) -> None:
        self.limit = limit
        self.blocked = [0.0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The pool to call, and from when on."""
        raise NotImplementedError

    def sent(self, pool: int, units: int, now: float) -> None:
        """A call goes."""

    def refused(self, pool: int, until: float) -> None:
        """The pool is left alone until then."""
        self.blocked[pool] = max(self.blocked[pool], until)


class Workers(Algorithm):
    """Ten workers, pools in turn; after a refusal the worker waits as told."""

    workers = 10
    repeats_itself = False

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.turn = itertools.cycle(range(pools))

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """At once."""
        return next(self.turn), now


class Burst(Algorithm):
    """A leaky bucket per pool that holds a minute's worth."""

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.level, self.at = [0.0] * pools, [0.0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The pool that has room first."""
        room = [
            max(self.blocked[n], self.at[n] + (self.level[n] + units - self.limit) * 60.0 / self.limit, now)
            for n in range(len(self.level))
        ]
        return min(range(len(room)), key=room.__getitem__), min(room)

    def sent(self, pool: int, units: int, now: float) -> None:
        """Fills."""
        self.level[pool] = max(0.0, self.level[pool] - (now - self.at[pool]) * self.limit / 60.0) + units
        self.at[pool] = now


class Weighted(Algorithm):
    """A pool drawn by weight (here equal), the sum paced; no pool is left alone, the call waits as told."""

    repeats_itself = False

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.next = 0.0

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """When the sum allows."""
        return draw.randrange(len(self.blocked)), max(now, self.next)

    def sent(self, pool: int, units: int, now: float) -> None:
        """Paces."""
        self.next = max(self.next, now) + units * 60.0 / (self.limit * len(self.blocked))


class Minutes(Algorithm):
    """Counters per minute of the client's clock; the least used pool first."""

    def __init__(self, pools: int, limit: float) -> None:
        super().__init__(pools, limit)
        self.window, self.count = -1, [0] * pools

    def plan(self, units: int, now: float, draw: random.Random) -> tuple[int, float]:
        """The least used, or the next minute."""
        if int(now // 60 + 1e-9) != self.window:
            self.window, self.count = int(now // 60 + 1e-9), [0] * len(self.count)
        free = [n for n, used in enumerate(self.count) if used + units <= self.limit]
        open_now = [n for n in free if self.blocked[n] <= now]
        if open_now:
            return min(open_now, key=self.count.__getitem__), now
        return 0, min([(self.window + 1) * 60.0, *(self.blocked[n] for n in free)])

    def sent(self, pool: int, units: int, now: float) -> None:
        """Counts."""
        self.count[pool] += units


MODELS: Mapping[str, type[Algorithm]] = {"workers": Workers, "burst": Burst, "random": Weighted, "minute": Minutes}
