"""What happened of late, in short spans of time: hits, misses, errors, money and seconds saved. In memory; a restart begins anew.

A hook like the metrics': it takes events and keeps sums. Seconds that a hit saved are reckoned with the mean time of the misses of its
operation that this process has seen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cache_service.instrumentation.events import Event, RequestServed, Takes, UsdSpent

SPAN: Final = 300.0
"""Seconds of one span."""

SPANS: Final = 288
"""Spans kept: a day."""

_NONE_TOOK: Final = (0, 0.0)
_MISSES: Final = frozenset({"miss", "partial", "collapsed"})


@dataclass(slots=True)
class Span:
    """Sums of one span. at: its beginning, Unix seconds. requests: by (operation, what became of it).

    paid_usd: without what may have been paid for nothing, of which only the most that it could be is known; the ledger has it apart.
    """

    at: float
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    paid_usd: float = 0.0
    saved_usd: float = 0.0
    saved_seconds: float = 0.0


class Timeline:
    """Spans of the last day. now: Unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.takes: Takes = {RequestServed: self._count, UsdSpent: self._pay}
        self._now = now
        self._spans: deque[Span] = deque(maxlen=SPANS)
        self._took: dict[str, tuple[int, float]] = {}

    def __call__(self, event: Event) -> None:
        """Adds what concerns it."""
        if (take := self.takes.get(type(event))) is not None:
            take(event)

    @property
    def spans(self) -> list[Span]:
        """Oldest first; spans in which nothing happened aren't there."""
        return list(self._spans)

    def _pay(self, event: UsdSpent) -> None:
        if event.sure:
            self._current().paid_usd += event.usd

    def _count(self, event: RequestServed) -> None:
        span = self._current()
        span.saved_usd += event.saved_usd or 0.0
        what = (event.operation, answer_of(event))
        span.requests[what] = span.requests.get(what, 0) + 1
        count, mean = self._took.get(event.operation, _NONE_TOOK)
        if event.decision in _MISSES:
            count = min(count + 1, 1000)  # so that the mean follows an upstream that becomes faster
            self._took[event.operation] = (count, mean + (event.seconds - mean) / count)
        elif "hit" in event.decision:
            span.saved_seconds += max(0.0, mean - event.seconds)

    def _current(self) -> Span:
        begin = self._now() // SPAN * SPAN
        if not self._spans or self._spans[-1].at < begin:
            self._spans.append(Span(begin))
        return self._spans[-1]


def answer_of(event: RequestServed) -> str:
    """What became of a request: "exact", "semantic", "miss", "collapsed", "bypass" or "error"."""
    if "hit" in event.decision:
        return event.kind or "exact"
    return "miss" if event.decision == "partial" else event.decision
