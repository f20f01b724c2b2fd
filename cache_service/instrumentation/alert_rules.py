"""The same alerts as a file of rules for Prometheus, from the same thresholds. Pure text; `promtool check rules` accepts it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from cache_service.instrumentation.alerts import LEAST, OURS, REFUSALS, Thresholds

_HEAD: Final = """# Alerts of cache_service, for Prometheus (rule_files). Written by: cache-service alerts --rules
groups:
  - name: cache_service
    rules:
"""
_MISSES: Final = "cache_service_miss_duration_seconds"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; an alert where it has a severity, else a recorded series."""

    name: str
    expression: str
    severity: str = ""
    summary: str = ""
    wait: str = ""
    labels: tuple[str, ...] = field(default_factory=tuple)


def rules(thresholds: Thresholds) -> list[Rule]:
    """What is recorded and what fires."""
    errors = f'sum(rate(cache_service_errors_total{{class=~"{_any(OURS)}"}}[10m]))'
    refused = f'sum(rate(cache_service_upstream_calls_total{{outcome=~"{_any(REFUSALS)}"}}[10m]))'
    return [
        Rule(
            "cache_service:pool_share_of_maximum:rate5m",
            "sum by (pool) (rate(cache_service_upstream_images_total[5m])) * 60 "
            '/ max by (pool) (cache_service_pool_limit{dimension="images"})',
        ),
        Rule(
            "CacheServiceErrorRate",
            f"{errors} / sum(rate(cache_service_requests_total[10m])) > {thresholds.error_rate:g} "
            f"and sum(increase(cache_service_requests_total[10m])) >= {LEAST}",
            "critical",
            "{{ $value | humanizePercentage }} of the requests fail",
        ),
        Rule(
            "CacheServiceUpstreamRefusals",
            f"{refused} / sum(rate(cache_service_upstream_calls_total[10m])) > {thresholds.refused_rate:g} "
            f"and sum(increase(cache_service_upstream_calls_total[10m])) >= {LEAST}",
            "warning",
            "The upstream refuses {{ $value | humanizePercentage }} of the calls for their rate",
        ),
        Rule(
            "CacheServiceSlowMisses",
            _slow(thresholds),
            "warning",
            "95 % of the misses of {{ $labels.model }} {{ $labels.quality }} take up to {{ $value | humanizeDuration }}",
        ),
        Rule(
            "CacheServiceStoreFailures",
            "sum(increase(cache_service_store_failures_total[10m])) > 0",
            "critical",
            "Paid answers could not be stored",
            wait="0m",
        ),
        Rule(
            "CacheServicePoolOut",
            "cache_service_pool_healthy == 0",
            "critical",
            "Limit pool {{ $labels.pool }} can't be used",
        ),
        Rule(
            "CacheServiceBudgetNearlySpent",
            "(cache_service_budget_spent_usd + cache_service_budget_reserved_usd) / cache_service_budget_limit_usd "
            f"> {thresholds.budget:g}",
            "warning",
            "The budget ({{ $labels.scope }} {{ $labels.client }}) is {{ $value | humanizePercentage }} spent",
            wait="0m",
        ),
        Rule(
            "CacheServiceDown",
            'up{job="cache_service"} == 0',
            "critical",
            "{{ $labels.instance }} doesn't answer",
        ),
    ]


def as_yaml(thresholds: Thresholds) -> str:
    """The file."""
    lines = []
    for rule in rules(thresholds):
        lines.append(f"      - {'alert' if rule.severity else 'record'}: {rule.name}")
        lines.append(f"        expr: {json.dumps(rule.expression)}")
        if rule.severity:
            lines += [
                f"        for: {rule.wait or '2m'}",
                f"        labels: {{severity: {rule.severity}}}",
                f"        annotations: {{summary: {json.dumps(rule.summary, ensure_ascii=False)}}}",
            ]
    return _HEAD + "\n".join(lines) + "\n"


def _slow(thresholds: Thresholds) -> str:
    recent = f"histogram_quantile(0.95, sum by (model, quality, le) (rate({_MISSES}_bucket[10m])))"
    enough = f"sum by (model, quality) (increase({_MISSES}_count[10m])) >= {LEAST}"
    if thresholds.p95 is not None:
        return f"{recent} > {thresholds.p95:g} and {enough}"
    before = f"histogram_quantile(0.95, sum by (model, quality, le) (rate({_MISSES}_bucket[1d] offset 10m)))"
    known = f"sum by (model, quality) (increase({_MISSES}_count[1d] offset 10m)) >= {LEAST}"
    return f"{recent} > {thresholds.p95_factor:g} * {before} and {enough} and {known}"


def _any(words: frozenset[str]) -> str:
    return "|".join(sorted(words))
