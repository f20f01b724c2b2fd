"""Alerts: what fires, what doesn't, and that Prometheus would say the same."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.budget import Use
from cache_service.instrumentation.alert_rules import as_yaml, rules
from cache_service.instrumentation.alerts import (
    BOUNDS,
    PROFILES,
    WINDOW,
    Alert,
    Counts,
    Snapshot,
    Thresholds,
    evaluate,
    quantile,
    thinned,
)
from cache_service.instrumentation.events import RequestServed, StoreFailed, UpstreamCalled
from cache_service.upstream.base import PoolUse

OPS = Path(__file__).parents[3] / "docs/ops"
USUAL, FIXED = PROFILES["own-baseline"], PROFILES["fixed"]


def told(alerts: list[Alert]) -> list[str]:
    return [alert.name for alert in alerts]


def at(seconds: float, **counts: int) -> Snapshot:
    return Snapshot(seconds, **counts)


@pytest.mark.parametrize(
    ("errors", "usual", "fixed"), [(0, [], []), (5, [], []), (6, ["ErrorRate"], []), (11, ["ErrorRate"], ["ErrorRate"])]
)
def test_errors_fire_above_their_share(errors: int, usual: list[str], fixed: list[str]) -> None:
    """5 % by default, 10 % in the fixed profile."""
    history = [at(0), at(60, requests=100, errors=errors)]
    assert told(evaluate(history, USUAL)) == usual
    assert told(evaluate(history, FIXED)) == fixed


@pytest.mark.parametrize(("refused", "usual", "fixed"), [(1, [], []), (2, ["UpstreamRefusals"], []), (21, ["UpstreamRefusals"], ["UpstreamRefusals"])])  # fmt: skip
def test_refusals_fire_above_their_share(refused: int, usual: list[str], fixed: list[str]) -> None:
    history = [at(0), at(60, calls=100, refused=refused)]
    assert told(evaluate(history, USUAL)) == usual
    assert told(evaluate(history, FIXED)) == fixed


def test_a_few_requests_prove_nothing() -> None:
    """Of nineteen all may fail: a share of so few says nothing, and nobody is woken up."""
    assert evaluate([at(0), at(60, requests=19, errors=19, calls=19, refused=19)], USUAL) == []
    assert evaluate([], USUAL) == []


def test_what_was_long_ago_no_longer_fires() -> None:
    """Rates are of the last ten minutes."""
    bad = {"requests": 100, "errors": 50, "calls": 100, "refused": 50, "store_failures": 3}
    early = at(100, **bad)
    assert len(evaluate([at(0), early], USUAL)) == 3
    assert evaluate([at(0), early, at(100 + WINDOW, **bad)], USUAL) == []


def slow_history(before: float, now: float, *, count: int = 40) -> list[Snapshot]:
    """A day at one speed, then ten minutes at another."""
    counts, history = Counts(), [at(0)]
    for hour in range(1, 25):
        for _ in range(count):
            counts(RequestServed("images", "miss", "", "no entry", 200, before, model="m", quality="low"))
        history.append(counts.snapshot(hour * 3600.0))
    for _ in range(count):
        counts(RequestServed("images", "miss", "", "no entry", 200, now, model="m", quality="low"))
    history.append(counts.snapshot(24 * 3600.0 + WINDOW))
    return history


def test_slow_misses_fire_against_their_own_baseline() -> None:
    """A model that always takes 28 s is well, one that takes 45 s instead is not; 5 s in the fixed profile is another rule."""
    assert evaluate(slow_history(28.0, 28.0), USUAL) == []
    [alert] = evaluate(slow_history(28.0, 48.0), USUAL)
    assert (alert.name, alert.labels) == ("SlowMisses", {"model": "m", "quality": "low"})
    assert alert.value > alert.threshold == pytest.approx(1.5 * quantile([0] * 9 + [40] + [0] * 8, 0.95))
    assert told(evaluate(slow_history(28.0, 28.0), FIXED)) == ["SlowMisses"]
    assert evaluate(slow_history(4.0, 4.0), FIXED) == []
    assert evaluate(slow_history(28.0, 48.0, count=19), USUAL) == []


def test_hits_and_errors_say_nothing_of_how_long_misses_take() -> None:
    counts = Counts()
    for _ in range(100):
        counts(RequestServed("images", "hit", "exact", "", 200, 99.0, model="m"))
        counts(RequestServed("images", "error", "", "", 0, 99.0, error="client", model="m"))
    assert counts.snapshot(1.0) == at(1.0, requests=200)


def test_only_what_operators_answer_for_counts_as_an_error() -> None:
    """A wrong request, a prompt that the upstream refused, a spent budget: none of them wakes anybody up."""
    counts = Counts()
    for error in ("client", "refused", "budget", "capacity", "timeout", "upstream", "service"):
        counts(RequestServed("images", "error", "", "", 0, 1.0, error=error))
    for outcome in ("ok", "timeout", "quota", "rate_limit", "slow_down"):
        counts(UpstreamCalled("images", "k", outcome, 1.0, 0.0))
    counts(StoreFailed("images", "sql"))
    assert counts.snapshot(0) == Snapshot(0, requests=7, errors=4, calls=5, refused=2, store_failures=1)


def test_pools_budgets_and_failures_to_store_fire_at_once() -> None:
    pools = [PoolUse("art", ("k",), {}, healthy=False, detail="out: quota"), PoolUse("text", ("k",), {})]
    budgets = [Use("client", "web", 10.0, 9.0, 0.5), Use("day", "", 10.0, 8.0, 1.0), Use("total", "", 0.0, 0.0, 0.0)]
    alerts = evaluate([at(0), at(30, store_failures=1)], USUAL, pools, budgets)
    assert [(alert.name, dict(alert.labels)) for alert in alerts] == [
        ("StoreFailures", {}),
        ("PoolOut", {"pool": "art"}),
        ("BudgetNearlySpent", {"scope": "client", "client": "web"}),
        ("BudgetNearlySpent", {"scope": "total"}),
    ]
    assert "quota" in alerts[1].text


@given(st.lists(st.floats(0, 400), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_is_right_to_its_bucket(values: list[float], share: float) -> None:
    """The true one lies in the same bucket, or beyond the last finite bound."""
    counts = Counts()
    for value in values:
        counts(RequestServed("images", "miss", "", "", 200, value))
    found = quantile(counts.snapshot(0).misses[("", "")], share)
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < upper), default=0.0)
    assert lower - 1e-9 <= found <= (lower if math.isinf(upper) else upper) + 1e-9


def test_models_of_clients_own_making_are_counted_together() -> None:
    counts = Counts()
    for number in range(1000):
        counts(RequestServed("images", "miss", "", "", 200, 1.0, model=f"m{number}"))
    misses = counts.snapshot(0).misses
    assert len(misses) == 201
    assert sum(misses[("other", "other")]) == 800


@given(st.lists(st.tuples(st.floats(1, 4000), *[st.integers(0, 40)] * 5), min_size=1, max_size=80))
def test_forgetting_snapshots_changes_nothing_that_fires(steps: list[tuple[float, ...]]) -> None:
    """And keeps few: the last window, and about six an hour of a day."""
    history, kept = [at(0)], [at(0)]
    for seconds, requests, errors, calls, refused, failures in steps:
        last = history[-1]
        history.append(
            Snapshot(
                last.at + seconds,
                last.requests + int(requests),
                last.errors + int(errors),
                last.calls + int(calls),
                last.refused + int(refused),
                last.store_failures + int(failures),
            )
        )
        kept = thinned([*kept, history[-1]])
        assert told(evaluate(kept, USUAL)) == told(evaluate(history, USUAL))
    assert len(kept) <= 160 + sum(snapshot.at > history[-1].at - WINDOW for snapshot in history)


def test_the_rule_file_is_the_code_s() -> None:
    """What operators load is made from the same thresholds."""
    assert (OPS / "prometheus-alerts.yml").read_text("utf-8") == as_yaml(USUAL)
    assert (OPS / "prometheus-alerts-fixed.yml").read_text("utf-8") == as_yaml(FIXED)
    named = {rule.name for rule in rules(USUAL) if rule.severity}
    assert {f"CacheService{name}" for name in ("ErrorRate", "UpstreamRefusals", "SlowMisses", "PoolOut")} <= named
    assert "> 0.25 " in as_yaml(Thresholds(error_rate=0.25))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus isn't installed here")
@pytest.mark.parametrize("name", ["prometheus-alerts.yml", "prometheus-alerts-fixed.yml"])
def test_prometheus_accepts_the_rules(name: str) -> None:
    """The real promtool reads them."""
    checked = subprocess.run(
        ["promtool", "check", "rules", str(OPS / name)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus isn't installed here")
def test_the_rules_fire_in_prometheus_when_they_should_and_not_else() -> None:
    """The scenarios beside the rules, played to the real promtool."""
    tried = subprocess.run(
        ["promtool", "test", "rules", str(OPS / "prometheus-alerts.test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr + tried.stdout
