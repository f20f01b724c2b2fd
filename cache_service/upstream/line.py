"""Who goes next of those that wait for capacity. Pure; work is counted in requests, images and tokens, not in time.

Larger priority first, then who came first. A call may be passed by later ones of its priority, those with an earlier deadline or
those that fit where it doesn't yet, by as much work as was ahead of it when it came, and no more: so it never waits
longer than twice what it would have waited had everybody kept his place. Of ten calls that go while lower priorities wait, one is
theirs, so that none of them waits for ever. A call that had its turn and must queue again comes back to the head, and isn't passed.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cache_service.upstream.base import Cost

LOWER_TURN = 10
"""Of so many calls that go, one is of a lower priority, if any waits."""
PASSED = 0.9
"""Of the work that was ahead of a call, so much may pass it; the rest of 1 is for what comes in large pieces."""
NONE = Cost(0, 0, 0)


@dataclass(slots=True, eq=False)
class Waiting:
    """One call in the line. kind: calls of one kind can use the same pools. number: in the order of arrival, unique.

    credit: the work that may still pass it. again: it had its turn before.
    """

    number: int
    priority: int
    deadline: float
    cost: Cost
    kind: Hashable
    again: bool = False
    credit: Cost = field(default=NONE)
    left: bool = False


Waiter = TypeVar("Waiter", bound=Waiting)


class Line(Generic[Waiter]):
    """Those that wait, in order."""

    def __init__(self) -> None:
        self._line: list[Waiter] = []
        self._kinds: Counter[Hashable] = Counter()
        self._all = NONE  # the work of everybody
        self._deadlines: list[tuple[float, int, Waiter]] = []  # a heap; who has left is dropped when he comes up
        self._order = itertools.count()
        self._went = 0  # since a call of a lower priority went, while one waited

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, waiter: object) -> bool:
        return waiter in self._line

    @property
    def kinds(self) -> int:
        """How many kinds of calls wait."""
        return len(self._kinds)

    def join(self, waiter: Waiter) -> None:
        """Takes its place, passing those who can bear it."""
        if waiter.again:
            at = bisect.bisect(self._line, _head_order(waiter), key=_head_order)
        else:
            at = self._place(waiter)
            waiter.credit = _part(self.ahead(at))
            for passed in self._passed(at, waiter):
                passed.credit = _less(passed.credit, waiter.cost)
        self._line.insert(at, waiter)
        self._kinds[waiter.kind] += 1
        self._all = _more(self._all, waiter.cost)
        heapq.heappush(self._deadlines, (waiter.deadline, next(self._order), waiter))

    def leave(self, waiter: Waiter, *, went: bool = False) -> None:
        """It doesn't wait any more. went: because its turn came, perhaps before that of others: see `may_pass`."""
        if went:
            top = self._line[0].priority
            if waiter.priority < top:
                self._went = 0
            elif self._line[-1].priority < top:
                self._went += 1
        self._line.remove(waiter)
        self._all = _less(self._all, waiter.cost)
        waiter.left = True
        self._kinds[waiter.kind] -= 1
        if not self._kinds[waiter.kind]:
            del self._kinds[waiter.kind]

    def raise_to(self, waiter: Waiter, priority: int) -> None:
        """It stands where it would, had it come now with that priority."""
        self.leave(waiter)
        waiter.priority, waiter.left = priority, False
        self.join(waiter)

    def __iter__(self) -> Iterator[Waiter]:
        """In the order of their turns; the one that was given last may leave meanwhile."""
        line = self._line
        lower = None
        if line and self._went >= LOWER_TURN - 1 and line[-1].priority < line[0].priority:
            lower = min((one for one in line if one.priority < line[0].priority), key=lambda one: one.number)
            yield lower
        at = 0
        while at < len(line):
            waiter = line[at]
            if waiter is not lower:
                yield waiter
            at += at < len(line) and line[at] is waiter

    def ahead(self, at: int) -> Cost:
        """The work before that place."""
        behind = len(self._line) - at
        return total(self._line[:at]) if at < behind else _less(self._all, total(self._line[at:]))

    def first_deadline(self) -> float:
        """The earliest deadline of all; infinity where nobody waits."""
        self._drop_gone()
        return self._deadlines[0][0] if self._deadlines else math.inf

    def expired(self, now: float) -> Iterator[Waiter]:
        """Those whose deadline has come; they must leave."""
        self._drop_gone()
        while self._deadlines and self._deadlines[0][0] <= now:
            yield heapq.heappop(self._deadlines)[2]
            self._drop_gone()

    def place_of(self, priority: int, deadline: float, cost: Cost) -> int:
        """Where a call would stand that joined now."""
        return self._place(Waiting(0, priority, deadline, cost, None))

    def clear(self) -> list[Waiter]:
        """Everybody leaves."""
        gone, self._line = self._line, []
        self._kinds.clear()
        self._deadlines.clear()
        self._all = NONE
        return gone

    def _drop_gone(self) -> None:
        while self._deadlines and self._deadlines[0][2].left:
            heapq.heappop(self._deadlines)

    def _place(self, waiter: Waiting) -> int:
        at = bisect.bisect(self._line, -waiter.priority, key=lambda one: -one.priority)
        while at and self._line[at - 1].deadline > waiter.deadline and may_pass(waiter, self._line[at - 1]):
            at -= 1
        return at

    def _passed(self, at: int, waiter: Waiting) -> list[Waiter]:
        end = bisect.bisect(self._line, -waiter.priority, key=lambda one: -one.priority)
        return self._line[at:end]


def may_pass(waiter: Waiting, other: Waiting) -> bool:
    """Whether `other` can bear that the later call goes first."""
    credit, cost = other.credit, waiter.cost
    return (
        waiter.priority == other.priority
        and credit.requests >= cost.requests
        and credit.images >= cost.images
        and credit.tokens >= cost.tokens
    )


def let_pass(waiter: Waiting, other: Waiting) -> None:
    """The later call goes first."""
    other.credit = _less(other.credit, waiter.cost)


def smaller(one: Cost, other: Cost) -> bool:
    """Whether it takes less of something and of nothing more."""
    return one != other and one.requests <= other.requests and one.images <= other.images and one.tokens <= other.tokens


def total(waiting: list[Waiter]) -> Cost:
    """The work of all of them."""
    requests = images = tokens = 0
    for waiter in waiting:
        cost = waiter.cost
        requests += cost.requests
        images += cost.images
        tokens += cost.tokens
    return Cost(requests=requests, images=images, tokens=tokens)


def _part(work: Cost) -> Cost:
    return Cost(int(work.requests * PASSED), int(work.images * PASSED), int(work.tokens * PASSED))


def _more(one: Cost, other: Cost) -> Cost:
    return Cost(one.requests + other.requests, one.images + other.images, one.tokens + other.tokens)


def _less(one: Cost, other: Cost) -> Cost:
    return Cost(one.requests - other.requests, one.images - other.images, one.tokens - other.tokens)


def _head_order(waiter: Waiting) -> tuple[int, bool, int]:
    """Sorts those that come again before the others of their priority, as they first came."""
    return (-waiter.priority, not waiter.again, waiter.number if waiter.again else 0)
