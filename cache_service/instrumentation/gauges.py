"""What stands still between events, asked for at each scrape: limit pools, their keys, and budgets.

A limit that isn't there is +Inf. `pool_share_of_maximum_ratio` is what the pool made in the last five minutes, of all that its limit
would have allowed in that time: 1 means that no more can be had.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cache_service.budget import Use
from cache_service.instrumentation.events import Event, Takes, UpstreamCalled
from cache_service.upstream.base import PoolUse

DIMENSIONS: Final[Mapping[str, float]] = {"requests": 60.0, "images": 60.0, "tokens": 60.0, "requests_per_day": 86400.0}
"""Dimensions of a limit, and the seconds it holds for."""
WINDOW: Final = 300.0  # seconds over which the share is reckoned
BIN: Final = 10.0  # seconds to which it is counted
MAX_CLIENTS: Final = 100

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "pool_limit": (
        "What a limit pool allows a minute (`requests_per_day`: a day); +Inf where it isn't limited.",
        ("pool", "dimension"),
    ),
    "pool_used": ("What counts against the limit now.", ("pool", "dimension")),
    "pool_share_of_maximum_ratio": (
        "What was made in the last five minutes, of what the limit would have allowed.",
        ("pool", "dimension"),
    ),
    "pool_in_flight": ("Calls in flight.", ("pool",)),
    "pool_healthy": ("1 while the pool can be used, 0 while it is out.", ("pool",)),
    "key_healthy": ("1 while the key can be used, 0 while it is out.", ("pool", "key")),
    "budget_limit_usd": ("What may be spent: by a client a day, by all a day, or in all.", ("scope", "client")),
    "budget_spent_usd": ("What was spent of it.", ("scope", "client")),
    "budget_reserved_usd": ("What is held for calls in flight.", ("scope", "client")),
}
"""Name without prefix: help, labels."""


class Gauges(Collector):
    """A collector, and a hook that counts what each pool made. clock: seconds, monotonic."""

    def __init__(
        self,
        pools: Callable[[], Sequence[PoolUse]],
        budgets: Callable[[], Sequence[Use]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.takes: Takes = {UpstreamCalled: self}
        self._pools = pools
        self._budgets = budgets
        self._clock = clock
        self._began = clock()
        self._made: dict[str, deque[tuple[float, dict[str, float]]]] = {}

    def __call__(self, event: Event) -> None:
        """Counts what a call made."""
        if not isinstance(event, UpstreamCalled) or event.outcome != "ok":
            return
        bins = self._made.setdefault(event.pool, deque(maxlen=int(WINDOW / BIN) + 1))
        at = self._clock() // BIN * BIN
        if not bins or bins[-1][0] != at:
            bins.append((at, dict.fromkeys(DIMENSIONS, 0.0)))
        units = {"requests": 1, "images": event.images, "tokens": event.tokens, "requests_per_day": 1}
        for dimension, more in units.items():
            bins[-1][1][dimension] += more

    def share(self, pool: PoolUse, dimension: str) -> float:
        """Of the maximum; 0 where there is none."""
        limit = pool.limits.get(dimension)
        if not limit:
            return 0.0
        now = self._clock()
        seconds = min(WINDOW, now - self._began)
        made = sum(units[dimension] for at, units in self._made.get(pool.name, ()) if at > now - WINDOW)
        return made / (limit * max(seconds, BIN) / DIMENSIONS[dimension])

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Every gauge as it stands."""
        families = {name: _family(name) for name in GAUGES}
        for pool in self._pools():
            for dimension in DIMENSIONS:
                limit = pool.limits.get(dimension)
                families["pool_limit"].add_metric([pool.name, dimension], math.inf if limit is None else limit)
                families["pool_used"].add_metric([pool.name, dimension], pool.used.get(dimension, 0.0))
                families["pool_share_of_maximum_ratio"].add_metric([pool.name, dimension], self.share(pool, dimension))
            families["pool_in_flight"].add_metric([pool.name], pool.in_flight)
            families["pool_healthy"].add_metric([pool.name], pool.healthy)
            for key in pool.keys:
                families["key_healthy"].add_metric([pool.name, key], key not in pool.keys_out)
        for use in self._budgets()[: MAX_CLIENTS + 2]:
            labels = [use.scope, use.client]
            families["budget_limit_usd"].add_metric(labels, use.limit)
            families["budget_spent_usd"].add_metric(labels, use.spent)
            families["budget_reserved_usd"].add_metric(labels, use.reserved)
        return families.values()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The names, without asking anybody."""
        return [_family(name) for name in GAUGES]


def _family(name: str) -> GaugeMetricFamily:
    text, labels = GAUGES[name]
    return GaugeMetricFamily(f"cache_service_{name}", text, labels=labels)
