"""Which alerts fire: pure evaluation over counts that only grow, as Prometheus keeps them.

Rates are of the last ten minutes. The p95 of misses is compared with its own baseline, the day before, for each model and quality, because
no one number of seconds fits a fast model and a fine one. Nothing fires on fewer than twenty requests.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from cache_service.budget import Use
from cache_service.instrumentation.events import Event, RequestServed, StoreFailed, Takes, UpstreamCalled
from cache_service.upstream.base import PoolUse

WINDOW: Final = 600.0  # seconds
BASELINE: Final = 86400.0  # seconds before the window
LEAST: Final = 20  # requests in the window below which a share means nothing
KEEP_EVERY: Final = 600.0  # seconds between snapshots that are older than the window

OURS: Final = frozenset({"capacity", "timeout", "upstream", "service"})
"""Classes of errors that operators answer for; a wrong request or a spent budget is none."""
REFUSALS: Final = frozenset({"rate_limit", "slow_down"})
"""Outcomes of calls that the limiter should have prevented."""
BOUNDS: Final = (
    0.5,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    25.0,
    30.0,
    40.0,
    50.0,
    60.0,
    75.0,
    90.0,
    120.0,
    180.0,
    math.inf,
)
"""Upper bounds in seconds of the counts of misses."""
MAX_SERIES: Final = 200  # models × qualities; names come from clients

Severity: TypeAlias = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an alert fires. error_rate, refused_rate, budget: shares. p95: seconds, or None and then `p95_factor` times the baseline."""

    error_rate: float = 0.05
    refused_rate: float = 0.01
    p95: float | None = None
    p95_factor: float = 1.5
    budget: float = 0.9


PROFILES: Final[Mapping[str, Thresholds]] = {
    "own-baseline": Thresholds(),
    "fixed": Thresholds(error_rate=0.1, refused_rate=0.2, p95=5.0),
}
"""`fixed` are thresholds as they are published for such services; misses of image models are always slower than its 5 s."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts since the process began. at: seconds, monotonic. misses: by model and quality, as many as `BOUNDS`, not cumulative."""

    at: float
    requests: int = 0
    errors: int = 0
    calls: int = 0
    refused: int = 0
    store_failures: int = 0
    misses: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires. value and threshold in the alert's own unit; text: for people, without prompts or keys."""

    name: str
    severity: Severity
    value: float
    threshold: float
    text: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Name and labels: the same alert, whatever its value."""
        return self.name, tuple(sorted(self.labels.items()))


class Counts:
    """A hook that counts what alerts are about. Safe on one loop; `snapshot` copies."""

    def __init__(self) -> None:
        self.takes: Takes = {RequestServed: self._request, UpstreamCalled: self._call, StoreFailed: self._store_failure}
        self._counts = dict.fromkeys(("requests", "errors", "calls", "refused", "store_failures"), 0)
        self._misses: dict[tuple[str, str], list[int]] = {}

    def __call__(self, event: Event) -> None:
        """Counts the event."""
        if (take := self.takes.get(type(event))) is not None:
            take(event)

    def _request(self, event: RequestServed) -> None:
        self._counts["requests"] += 1
        if event.error in OURS:
            self._counts["errors"] += 1
        if event.decision == "miss":
            self._miss(event.model, event.quality, event.seconds)

    def _call(self, event: UpstreamCalled) -> None:
        self._counts["calls"] += 1
        self._counts["refused"] += event.outcome in REFUSALS

    def _store_failure(self, event: StoreFailed) -> None:
        self._counts["store_failures"] += 1

    def snapshot(self, at: float) -> Snapshot:
        """The counts now."""
        return Snapshot(at, **self._counts, misses={name: tuple(counts) for name, counts in self._misses.items()})

    def _miss(self, model: str, quality: str, seconds: float) -> None:
        series = (model, quality)
        if series not in self._misses and len(self._misses) >= MAX_SERIES:
            series = ("other", "other")
        counts = self._misses.setdefault(series, [0] * len(BOUNDS))
        counts[bisect.bisect_left(BOUNDS, seconds)] += 1


def evaluate(
    history: Sequence[Snapshot], thresholds: Thresholds, pools: Sequence[PoolUse] = (), budgets: Sequence[Use] = ()
) -> list[Alert]:
    """The alerts that fire. history: in order of time, the newest is now."""
    if not history:
        return []
    now = history[-1]
    before = _at(history, now.at - WINDOW)
    long_before = _at(history, now.at - WINDOW - BASELINE)
    alerts: list[Alert] = []
    requests = now.requests - before.requests
    errors = now.errors - before.errors
    if requests >= LEAST and errors / requests > thresholds.error_rate:
        share = errors / requests
        alerts.append(
            Alert("ErrorRate", "critical", share, thresholds.error_rate, f"{errors} of {requests} requests failed")
        )
    calls, refused = now.calls - before.calls, now.refused - before.refused
    if calls >= LEAST and refused / calls > thresholds.refused_rate:
        text = f"the upstream refused {refused} of {calls} calls for their rate"
        alerts.append(Alert("UpstreamRefusals", "warning", refused / calls, thresholds.refused_rate, text))
    alerts += _slow(now, before, long_before, thresholds)
    if (failed := now.store_failures - before.store_failures) > 0:
        alerts.append(Alert("StoreFailures", "critical", failed, 0.0, f"{failed} paid answers could not be stored"))
    alerts += [
        Alert("PoolOut", "critical", 0.0, 1.0, f"limit pool {pool.name}: {pool.detail}", {"pool": pool.name})
        for pool in pools
        if not pool.healthy
    ]
    alerts += [
        Alert("BudgetNearlySpent", "warning", use.share, thresholds.budget, _budget_text(use), _budget_labels(use))
        for use in budgets
        if use.share > thresholds.budget
    ]
    return alerts


def thinned(history: Sequence[Snapshot]) -> list[Snapshot]:
    """What evaluation needs of the history: all of the last window, then one every ten minutes, and nothing before the baseline."""
    if not history:
        return []
    now = history[-1].at
    kept: list[Snapshot] = []
    for snapshot, following in pairwise(history):
        recent = following.at > now - WINDOW
        if following.at < now - WINDOW - BASELINE:
            continue
        if recent or not kept or following.at - kept[-1].at > KEEP_EVERY:
            kept.append(snapshot)
    return [*kept, history[-1]]


def quantile(counts: Sequence[int], share: float) -> float:
    """The quantile of bucket counts, linear inside a bucket, as `histogram_quantile` has it. NaN of nothing; the last finite bound at most."""
    total = sum(counts)
    if not total:
        return math.nan
    rank, below, low = share * total, 0, 0.0
    for bound, count in zip(BOUNDS, counts, strict=True):
        if below + count >= rank and count:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / count
        below, low = below + count, low if math.isinf(bound) else bound
    return low


def _slow(now: Snapshot, before: Snapshot, long_before: Snapshot, thresholds: Thresholds) -> list[Alert]:
    alerts = []
    for series, counts in now.misses.items():
        recent = _less(counts, before.misses.get(series))
        if sum(recent) < LEAST:
            continue
        p95, limit = quantile(recent, 0.95), thresholds.p95
        if limit is None:
            baseline = _less(before.misses.get(series), long_before.misses.get(series))
            if sum(baseline) < LEAST:
                continue
            limit = quantile(baseline, 0.95) * thresholds.p95_factor
        if p95 > limit:
            model, quality = series
            text = f"95 % of the misses of {model or 'no model'} {quality} take up to {p95:.1f} s; {limit:.1f} s are expected"
            alerts.append(Alert("SlowMisses", "warning", p95, limit, text, {"model": model, "quality": quality}))
    return alerts


def _at(history: Sequence[Snapshot], at: float) -> Snapshot:
    """The newest snapshot that is not younger than that; where there is none, the counts as the process began."""
    position = bisect.bisect_right(history, at, key=lambda snapshot: snapshot.at)
    return history[position - 1] if position else Snapshot(at)


def _less(counts: Sequence[int] | None, before: Sequence[int] | None) -> tuple[int, ...]:
    zeros = (0,) * len(BOUNDS)
    return tuple(new - old for new, old in zip(counts or zeros, before or zeros, strict=True))


def _budget_text(use: Use) -> str:
    whose = {"client": f"of client {use.client} for today", "day": "for today", "total": "in all"}[use.scope]
    return f"the budget {whose} is {use.share:.0%} spent or reserved"


def _budget_labels(use: Use) -> dict[str, str]:
    return {"scope": use.scope, **({"client": use.client} if use.client else {})}
