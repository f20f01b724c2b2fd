"""The Grafana dashboard, as JSON: `docs/generate_reference.py` writes it to `docs/ops/`.

A panel is its title, its unit and its queries; names of metrics come from the code's own tables, so that a query can't speak of one that
isn't there. A test runs every query against a real Prometheus.
"""

from __future__ import annotations

from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from prometheus_client import Counter, Histogram

from cache_service.instrumentation.gauges import GAUGES
from cache_service.instrumentation.prometheus import METRICS

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
CHOSEN: Final = 'instance=~"$instance"'
HITS: Final = 'decision=~"hit|stale-hit"'
MISSES: Final = 'decision="miss"'
FOUND: Final = 'decision!~"bypass|error"'
"""Requests that could have been hits: hit rates are of these."""

OURS: Final = 'class!~"client|refused|budget"'
"""Errors that operators answer for."""

GREEN, YELLOW, RED = "green", "yellow", "red"


def series(name: str, *matchers: str, part: str = "") -> str:
    """A metric's series in the instances that are chosen. part: of a histogram, `bucket`, `sum` or `count`. Raises KeyError."""
    kind = METRICS[name][0] if name in METRICS else GAUGES[name] and None
    if (kind is Histogram) != bool(part):
        raise KeyError(f"{name}: a histogram has parts, and nothing else has")
    ending = f"_{part}" if part else "_total" if kind is Counter else ""
    return f"cache_service_{name}{ending}{{{', '.join((CHOSEN, *matchers))}}}"


def per_second(name: str, *matchers: str, by: str = "", part: str = "") -> str:
    """The rate, added up over everything that `by` doesn't name."""
    return f"sum{_by(by)} (rate({series(name, *matchers, part=part)}[$__rate_interval]))"


def so_many(name: str, *matchers: str, by: str = "", part: str = "") -> str:
    """How many in the time that is shown."""
    return f"sum{_by(by)} (increase({series(name, *matchers, part=part)}[$__range]))"


def quantile(share: float, name: str, *matchers: str, by: str = "") -> str:
    """A percentile of a histogram."""
    return (
        f"histogram_quantile({share:g}, {per_second(name, *matchers, by=f'{by}, le' if by else 'le', part='bucket')})"
    )


def level(name: str, *matchers: str, by: str = "", how: str = "sum") -> str:
    """A gauge, added up."""
    return f"{how}{_by(by)} ({series(name, *matchers)})"


def seconds_saved(how: Any) -> str:
    """Hits, each as long as a miss of its operation takes on the mean of a day, less what they took themselves."""
    took = [f"increase({series('request_duration_seconds', MISSES, part=part)}[1d])" for part in ("sum", "count")]
    mean = " / ".join(f"sum by (operation) ({part})" for part in took)
    hits, theirs = (how("request_duration_seconds", HITS, by="operation", part=part) for part in ("count", "sum"))
    # what had no miss has no mean: `>= 0` leaves it out, where a sum with it would be no number
    return f"sum(clamp_min({hits} * ({mean}) - {theirs}, 0) >= 0)"


def dashboard() -> str:
    """The dashboard's JSON."""
    built = (
        board.Dashboard("Cache service")
        .uid("cache-service")
        .description("What the cache saves, how it answers, and how near the upstream's limits it runs.")
        .tags(["cache-service"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(board.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            board.QueryVariable("instance")
            .label("Instance")
            .datasource(SOURCE)
            .query("label_values(cache_service_build_info, instance)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    for row in (_glance, _traffic, _money, _meaning, _latency, _upstream, _store, _trouble):
        row(built)
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _glance(built: board.Dashboard) -> None:
    hits, found = so_many("requests", HITS), so_many("requests", FOUND)
    errors = f"{so_many('errors', OURS)} / {so_many('requests')}"
    built.with_row(board.Row("At a glance"))
    built.with_panel(
        _stat("Hit rate", "percentunit", f"{hits} / {found}", "Of the requests that could have been hits.")
    )
    built.with_panel(
        _stat("Saved", "currencyUSD", so_many("saved_usd"), "What the hits' outputs cost when they were made.")
    )
    built.with_panel(
        _stat("Spent", "currencyUSD", so_many("spent_usd"), "Paid for generations, where the price is known.")
    )
    built.with_panel(_stat("Time saved", "s", seconds_saved(so_many), "What the hits would have waited as misses."))
    built.with_panel(_stat("Requests", "reqps", per_second("requests"), "Answers a second."))
    built.with_panel(_stat("Errors", "percentunit", errors, "Those that operators answer for.", warn=0.01, bad=0.05))
    built.with_panel(
        _stat("Pools out", "short", f"count({series('pool_healthy')} == 0) or vector(0)", "Can't be used now.", bad=1)
    )
    built.with_panel(
        _stat(
            "Alerts",
            "short",
            'count(ALERTS{alertname=~"CacheService.*", alertstate="firing"}) or vector(0)',
            "Fire now, by the rules beside this dashboard.",
            bad=1,
        )
    )


def _traffic(built: board.Dashboard) -> None:
    built.with_row(board.Row("Hits and misses"))
    answers = per_second("requests", by="decision, kind")
    built.with_panel(_graph("Requests by answer", "reqps", {"{{decision}} {{kind}}": answers}, stacked=True))
    whole = per_second("requests", FOUND)
    rates = {
        "{{kind}}": f"{per_second('requests', HITS, by='kind')} / scalar({whole})",
        "all": f"{per_second('requests', HITS)} / {whole}",
    }
    built.with_panel(_graph("Hit rate by kind", "percentunit", rates, most=1.0))
    built.with_panel(
        _graph(
            "Why nothing stored was served", "reqps", {"{{reason}}": per_second("misses", by="reason")}, stacked=True
        )
    )


def _money(built: board.Dashboard) -> None:
    built.with_row(board.Row("Money and time"))
    an_hour = {
        "saved": f"{per_second('saved_usd')} * 3600",
        "spent": f"{per_second('spent_usd')} * 3600",
        "perhaps spent for nothing": f"{per_second('maybe_spent_usd')} * 3600",
    }
    built.with_panel(_graph("USD an hour", "currencyUSD", an_hour))
    built.with_panel(_graph("Seconds saved a second", "s", {"saved": seconds_saved(per_second)}))
    spent = f"({series('budget_spent_usd')} + {series('budget_reserved_usd')}) / {series('budget_limit_usd')}"
    built.with_panel(_graph("Budgets used", "percentunit", {"{{scope}} {{client}}": spent}, most=1.0))


def _meaning(built: board.Dashboard) -> None:
    built.with_row(board.Row("Hits by meaning"))
    built.with_panel(_heat("Cosine of semantic hits", per_second("hit_similarity", by="le", part="bucket")))
    verdicts = per_second("candidates", by="verdict")
    built.with_panel(_graph("Candidates by the verifier's verdict", "ops", {"{{verdict}}": verdicts}, stacked=True))
    judged = {
        "{{verdict}} ({{mode}})": so_many("feedback", by="verdict, mode"),
        "in the shadow": so_many("shadow_hits"),
    }
    built.with_panel(_graph("Clients' verdicts, and hits in the shadow", "short", judged))


def _latency(built: board.Dashboard) -> None:
    built.with_row(board.Row("Latency"))
    for share in (0.5, 0.95, 0.99):
        by = {"{{decision}}": quantile(share, "request_duration_seconds", by="decision")}
        built.with_panel(_graph(f"p{100 * share:g} by decision", "s", by, log=True))
    built.with_panel(
        _graph("p95 of each step", "s", {"{{step}}": quantile(0.95, "step_duration_seconds", by="step")}, log=True)
    )
    misses = quantile(0.95, "miss_duration_seconds", by="model, quality")
    built.with_panel(_graph("p95 of misses by model", "s", {"{{model}} {{quality}}": misses}))
    built.with_panel(
        _graph(
            "p95 of a verification",
            "s",
            {"{{operation}}": quantile(0.95, "verification_duration_seconds", by="operation")},
        )
    )


def _upstream(built: board.Dashboard) -> None:
    built.with_row(board.Row("Upstream: limits, keys, queues"))
    used = f"{level('pool_used', by='pool, dimension')} / {level('pool_limit', by='pool, dimension')}"
    built.with_panel(_graph("Limits in use", "percentunit", {"{{pool}} {{dimension}}": used}, most=1.0))
    share = level("pool_share_of_maximum_ratio", by="pool, dimension", how="max")
    built.with_panel(
        _graph("Of what the limit would have allowed", "percentunit", {"{{pool}} {{dimension}}": share}, most=1.0)
    )
    queue = quantile(0.95, "upstream_queue_seconds", by="pool")
    built.with_panel(_graph("p95 of the wait for capacity", "s", {"{{pool}}": queue}))
    calls = per_second("upstream_calls", by="pool, key, outcome")
    built.with_panel(
        _graph("Calls by key and outcome", "reqps", {"{{pool}} {{key}} {{outcome}}": f"{calls} > 0"}, stacked=True)
    )
    made = {"images {{pool}} {{key}}": per_second("upstream_images", by="pool, key")}
    built.with_panel(_graph("Images a second by key", "ops", made, stacked=True))
    tokens = {"tokens {{pool}} {{key}}": per_second("upstream_tokens", by="pool, key")}
    built.with_panel(_graph("Tokens a second by key", "ops", tokens, stacked=True))
    flying = {
        "{{pool}}": level("pool_in_flight", by="pool"),
        "at most, said by a relay: {{pool}} {{key}}": level("upstream_concurrent_limit", by="pool, key"),
    }
    built.with_panel(_graph("Calls in flight", "short", flying))
    healthy = {
        "pool {{pool}}": level("pool_healthy", by="pool", how="min"),
        "key {{pool}} {{key}}": level("key_healthy", by="pool, key", how="min"),
    }
    built.with_panel(_graph("Healthy keys and pools", "short", healthy, most=1.0))
    built.with_panel(
        _graph(
            "p95 of an attempt, by outcome",
            "s",
            {"{{outcome}}": quantile(0.95, "upstream_duration_seconds", by="outcome")},
        )
    )


def _store(built: board.Dashboard) -> None:
    built.with_row(board.Row("What is stored"))
    built.with_panel(_graph("Entries", "short", {"{{instance}}": series("held_entries")}))
    built.with_panel(_graph("Bytes of pictures", "bytes", {"{{instance}}": series("held_blob_bytes")}))
    built.with_panel(
        _graph("Entries that went", "ops", {"{{cause}}": per_second("entries_removed", by="cause")}, stacked=True)
    )
    batches = {
        "items: {{outcome}}": per_second("batch_items", by="outcome"),
        "batches in progress": level("batches_in_progress"),
    }
    built.with_panel(_graph("Batches", "short", batches))
    memory = 'process_resident_memory_bytes{instance=~"$instance", job="cache_service"}'
    built.with_panel(_graph("Memory", "bytes", {"{{instance}}": memory}))
    recovered = {"{{outcome}}": so_many("recovered_generations", by="outcome")}
    built.with_panel(_graph("Recovered generations", "short", recovered))


def _trouble(built: board.Dashboard) -> None:
    built.with_row(board.Row("Trouble"))
    built.with_panel(
        _graph("Errors by whose fault", "reqps", {"{{class}}": per_second("errors", by="class")}, stacked=True)
    )
    stored = {
        "failed at {{stage}}": per_second("store_failures", by="stage"),
        "not stored: {{reason}}": per_second("not_stored", by="reason"),
        "hits without record": per_second("unrecorded_hits"),
    }
    built.with_panel(_graph("Served and not stored", "ops", stored))
    passed = {
        "passed over: {{tier}}": per_second("tier_failures", by="tier"),
        "{{step}} {{outcome}}": per_second("fallbacks", by="step, outcome"),
        "perhaps paid twice": per_second("upstream_maybe_paid_twice"),
    }
    built.with_panel(_graph("Tiers passed over, and fallbacks", "ops", passed))
    cut = {"{{reason}}": per_second("connections_cut", by="reason")}
    built.with_panel(_graph("Clients' connections cut", "ops", cut, stacked=True))
    ends = f"{level('upstream_model_days_left', by='model', how='min')} or vector(0)"
    alerts = 'ALERTS{alertname=~"CacheService.*"} or vector(0)'
    built.with_panel(_graph("Alerts", "short", {"{{alertname}} {{pool}}{{scope}}": alerts}))
    built.with_panel(_graph("Days until a model ends", "d", {"{{model}}": ends}))


def _stat(
    title: str, unit: str, query: str, what: str, *, warn: float | None = None, bad: float | None = None
) -> stat.Panel:
    steps = [Threshold(value=None, color=GREEN), *([Threshold(value=warn, color=YELLOW)] if warn else [])]
    steps += [Threshold(value=bad, color=RED)] if bad else []
    return (
        stat.Panel()
        .title(title)
        .description(what)
        .datasource(SOURCE)
        .unit(unit)
        .span(3)
        .height(4)
        .no_value("–")
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(prometheus.Dataquery().expr(query).instant().ref_id("A"))
    )


def _graph(
    title: str,
    unit: str,
    queries: dict[str, str],
    *,
    stacked: bool = False,
    most: float | None = None,
    log: bool = False,
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(SOURCE)
        .unit(unit)
        .span(8)
        .height(8)
        .min(0)
        .fill_opacity(20 if stacked else 5)
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if most is not None:
        panel.axis_soft_max(most)
    if log:
        panel.scale_distribution(ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    if stacked:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL))
    for ref, (legend, query) in zip("ABCDEF", queries.items(), strict=False):
        panel.with_target(prometheus.Dataquery().expr(query).range().legend_format(legend).ref_id(ref))
    return panel


def _heat(title: str, query: str) -> heatmap.Panel:
    target = (
        prometheus.Dataquery().expr(query).range().legend_format("{{le}}").ref_id("A").format(PromQueryFormat.HEATMAP)
    )
    return heatmap.Panel().title(title).datasource(SOURCE).span(8).height(8).calculate(False).with_target(target)


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
