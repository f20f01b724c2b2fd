"""What is counted, who watches, and what is too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cache_service.budget import Use
from cache_service.config import Settings
from cache_service.instrumentation.alerts import PROFILES as ALERT_PROFILES
from cache_service.instrumentation.alerts import Counts, Thresholds
from cache_service.instrumentation.events import Hook, to_all
from cache_service.instrumentation.gauges import Gauges
from cache_service.instrumentation.prometheus import PrometheusMetrics
from cache_service.jobs.alerts import AlertKeeper, webhook
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.timeline import Timeline
from cache_service.upstream.base import PoolUse, Upstream
from cache_service.upstream.cost import Catalog


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What counts events. hook: takes each, and hands it to all."""

    metrics: PrometheusMetrics
    counts: Counts
    gauges: Gauges
    timeline: Timeline
    hook: Hook

    def expect(self, upstream: Upstream, catalog: Catalog) -> None:
        """From now on the upstream's pools and the catalog's models have their series."""
        self.expect_more(upstream, catalog)
        self.metrics.collect_from(self.gauges)

    def expect_more(self, upstream: Upstream, catalog: Catalog) -> None:
        """Pools or keys have come."""
        self.metrics.expect(upstream.pools(), catalog.qualities())


def open_telemetry(pools: Callable[[], Sequence[PoolUse]], budgets: Callable[[], Sequence[Use]]) -> Telemetry:
    """pools, budgets: as they stand when somebody reads the metrics; not asked before."""
    metrics, counts, gauges, timeline = PrometheusMetrics(), Counts(), Gauges(pools, budgets), Timeline()
    return Telemetry(metrics, counts, gauges, timeline, to_all(metrics, counts, gauges, timeline))


def alert_keeper(settings: Settings, counts: Counts, upstream: Upstream, ledger: Ledger) -> AlertKeeper:
    """Who watches."""
    url = settings.alert_webhook_url
    return AlertKeeper(
        counts,
        alert_thresholds(settings),
        pools=upstream.pools,
        budgets=ledger.budgets,
        post=webhook(url.get_secret_value()) if url is not None else None,
    )


def alert_thresholds(settings: Settings) -> Thresholds:
    """The profile's thresholds, and what the operator set in their place."""
    own = {
        "error_rate": settings.alert_error_rate,
        "refused_rate": settings.alert_refused_rate,
        "p95": settings.alert_miss_p95,
    }
    profile = ALERT_PROFILES[settings.alert_profile]
    return replace(profile, **{name: value for name, value in own.items() if value is not None})
