"""Metrics: every event counts, every series of decisions is there from the start, labels stay bounded."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.instrumentation import events
from cache_service.instrumentation.events import (
    BatchesInProgress,
    BatchItemEnded,
    CandidateJudged,
    ConnectionCut,
    EntriesRemoved,
    Event,
    FeedbackGiven,
    FellBack,
    HitsUnrecorded,
    MaybePaidTwice,
    ModelEnds,
    NotStored,
    Recovered,
    RequestServed,
    ShadowHit,
    StepTimed,
    StoreFailed,
    StoreHeld,
    TierFailed,
    UpstreamCalled,
    UsdSpent,
)
from cache_service.instrumentation.prometheus import (
    DECISIONS,
    ERRORS,
    MAX_KEY_NAMES,
    METRICS,
    OPERATIONS,
    OUTCOMES,
    REASONS,
    PrometheusMetrics,
)
from cache_service.upstream.base import PoolUse
from cache_service.upstream.retry import FaultKind

PAGE = Path(__file__).parents[3] / "docs/reference/metrics.md"

COUNTED: list[tuple[Event, dict[str, float]]] = [
    (MaybePaidTwice("images"), {'upstream_maybe_paid_twice_total{operation="images"}': 1}),
    (ModelEnds("gpt-image-1-mini", 6), {'upstream_model_days_left{model="gpt-image-1-mini"}': 6}),
    (
        RequestServed("images", "hit", "semantic", "same", 200, 0.02, 0.97),
        {
            'requests_total{decision="hit",kind="semantic",operation="images"}': 1,
            'request_duration_seconds_count{decision="hit",operation="images"}': 1,
            'hit_similarity_count{operation="images"}': 1,
        },
    ),
    (
        RequestServed("chat", "miss", "", "no candidate", 200, 9.0),
        {
            'requests_total{decision="miss",kind="",operation="chat"}': 1,
            'misses_total{operation="chat",reason="no candidate"}': 1,
            'miss_duration_seconds_sum{model="other",quality=""}': 9.0,
        },
    ),
    (
        RequestServed("", "error", "", "invalid_json", 400, 0.0, error="client"),
        {
            'requests_total{decision="error",kind="",operation="other"}': 1,
            'errors_total{class="client",operation="other"}': 1,
        },
    ),
    (StepTimed("images", "embed", 0.004), {'step_duration_seconds_count{operation="images",step="embed"}': 1}),
    (
        CandidateJudged("images", "different", 0.95, 0.001),
        {
            'candidates_total{operation="images",verdict="different"}': 1,
            'candidate_similarity_count{operation="images",verdict="different"}': 1,
            'verification_duration_seconds_count{operation="images"}': 1,
        },
    ),
    (
        UpstreamCalled("images", "key-1", "ok", 12.0, 0.5, 2, 392, "art", 7),
        {
            'upstream_calls_total{key="key-1",operation="images",outcome="ok",pool="art"}': 1,
            'upstream_duration_seconds_sum{operation="images",outcome="ok"}': 12.0,
            'upstream_queue_seconds_sum{operation="images",pool="art"}': 0.5,
            'upstream_images_total{key="key-1",operation="images",pool="art"}': 2,
            'upstream_tokens_total{key="key-1",operation="images",pool="art"}': 392,
            'upstream_concurrent_limit{key="key-1",pool="art"}': 7,
        },
    ),
    (UsdSpent("images", 0.05), {'spent_usd_total{operation="images"}': 0.05}),
    (UsdSpent("images", 0.05, sure=False), {'maybe_spent_usd_total{operation="images"}': 0.05}),
    (
        RequestServed("chat", "hit", "exact", "equal key", 200, 0.001, 1.0, saved_usd=0.01),
        {
            'requests_total{decision="hit",kind="exact",operation="chat"}': 1,
            'request_duration_seconds_bucket{decision="hit",le="0.001",operation="chat"}': 1,
            'request_duration_seconds_bucket{decision="hit",le="+Inf",operation="chat"}': 1,
            'saved_usd_total{operation="chat"}': 0.01,
        },
    ),
    (StoreFailed("images", "sql"), {'store_failures_total{operation="images",stage="sql"}': 1}),
    (NotStored("images", "purged"), {'not_stored_total{operation="images",reason="purged"}': 1}),
    (TierFailed("chat", "verifier"), {'tier_failures_total{operation="chat",tier="verifier"}': 1}),
    (
        FellBack("images", "cached-similar", "answered"),
        {'fallbacks_total{operation="images",outcome="answered",step="cached-similar"}': 1},
    ),
    (EntriesRemoved("expired", 5), {'entries_removed_total{cause="expired"}': 5}),
    (
        ShadowHit("images", 0.97),
        {'shadow_hits_total{operation="images"}': 1, 'shadow_similarity_count{operation="images"}': 1},
    ),
    (FeedbackGiven("chat", "wrong", "on"), {'feedback_total{mode="on",operation="chat",verdict="wrong"}': 1}),
    (HitsUnrecorded(3), {"unrecorded_hits_total": 3}),
    (StoreHeld(7, 900), {"held_entries": 7, "held_blob_bytes": 900}),
    (BatchItemEnded("images", "hit"), {'batch_items_total{operation="images",outcome="hit"}': 1}),
    (BatchesInProgress(2), {"batches_in_progress": 2}),
    (ConnectionCut("late"), {'connections_cut_total{reason="late"}': 1}),
    (Recovered("stored"), {'recovered_generations_total{outcome="stored"}': 1}),
]


def _series(metrics: PrometheusMetrics) -> dict[str, float]:
    """Every series by its name without the prefix."""
    lines = (line for line in metrics.render()[0].decode().splitlines() if line.startswith("cache_service_"))
    return {
        name.removeprefix("cache_service_"): float(value) for name, _, value in (line.rpartition(" ") for line in lines)
    }


@pytest.mark.parametrize(("event", "expected"), COUNTED, ids=lambda value: type(value).__name__)
def test_an_event_is_counted(event: Event, expected: dict[str, float]) -> None:
    """In every metric that it belongs to."""
    metrics = PrometheusMetrics()
    metrics(event)
    assert expected.items() <= _series(metrics).items()


def test_every_event_is_handled() -> None:
    """A new event class without a metric fails here."""
    assert set(typing.get_args(events.Event)) == {type(event) for event, _ in COUNTED}


def test_every_decision_is_there_from_the_start() -> None:
    """At 0, so that the rate over a restart, or of the first error, is right."""
    series = _series(PrometheusMetrics())
    for operation in OPERATIONS:
        for decision, kind in DECISIONS:
            assert series[f'requests_total{{decision="{decision}",kind="{kind}",operation="{operation}"}}'] == 0
        for reason in REASONS:
            assert series[f'misses_total{{operation="{operation}",reason="{reason}"}}'] == 0


def test_the_series_of_configured_keys_and_models_are_there_from_the_start() -> None:
    """Before the first call, so that the first refusal is a step from 0."""
    metrics = PrometheusMetrics()
    pool = PoolUse("art", ("art/key-1", "art/key-2"), {})
    metrics.expect([pool], {"gpt-image-2": ["", "auto", "low"], "gpt-6-luna": [""]})
    series = _series(metrics)
    for operation in OPERATIONS:
        for key in pool.keys:
            for outcome in OUTCOMES:
                name = f'upstream_calls_total{{key="{key}",operation="{operation}",outcome="{outcome}",pool="art"}}'
                assert series[name] == 0
        for error in ERRORS:
            assert series[f'errors_total{{class="{error}",operation="{operation}"}}'] == 0
        assert series[f'upstream_queue_seconds_count{{operation="{operation}",pool="art"}}'] == 0
    assert series['upstream_concurrent_limit{key="art/key-2",pool="art"}'] == 0
    assert series['miss_duration_seconds_count{model="gpt-image-2",quality="low"}'] == 0
    before = set(series)
    metrics(RequestServed("images", "miss", "", "no entry", 200, 21.0, model="gpt-image-2", quality="low"))
    metrics(UpstreamCalled("images", "art/key-1", "rate_limit", 0.1, 0.1, pool="art"))
    after = _series(metrics)
    assert after['miss_duration_seconds_sum{model="gpt-image-2",quality="low"}'] == 21.0
    new = {name.partition("{")[0] for name in after.keys() - before if not name.partition("{")[0].endswith("_created")}
    assert {name.rpartition("_")[0] for name in new} <= {"upstream_duration_seconds"}


def test_the_build_is_named() -> None:
    """As a series that is always 1."""
    assert [value for name, value in _series(PrometheusMetrics()).items() if name.startswith("build_info{")] == [1]


def test_buckets_reach_the_longest_generation() -> None:
    """Two minutes."""
    assert 'request_duration_seconds_bucket{decision="miss",le="120.0",operation="images"}' in _series(
        PrometheusMetrics()
    )


def test_the_caller_s_outcomes_are_all_known() -> None:
    """So that none of them hides under `other`."""
    assert {str(kind) for kind in FaultKind} <= set(OUTCOMES)


@given(st.lists(st.text(max_size=9).map("~{}".format), min_size=1, max_size=30))  # "~": no word of ours
def test_words_from_outside_add_no_series(words: list[str]) -> None:
    """Whatever stands in an event, the number of series is bounded."""
    metrics = PrometheusMetrics()
    for word in words:
        metrics(RequestServed(word, word, word, word, 200, 0.1))
        metrics(RequestServed(word, "miss", "", word, 200, 0.1, model=word, quality=word))
        metrics(RequestServed(word, "error", "", word, 500, 0.1, error=word))
        metrics(StepTimed(word, word, 0.1))
        metrics(StoreFailed(word, word))
        metrics(UpstreamCalled(word, "key-1", word, 0.1, 0.1))
    labels = {label for name in _series(metrics) for label in re.findall(r'"([^"]*)"', name)}
    assert not labels & set(words)


def test_key_names_are_bounded() -> None:
    """Beyond a hundred they are one."""
    metrics = PrometheusMetrics()
    for number in range(MAX_KEY_NAMES + 50):
        metrics(UpstreamCalled("images", f"key-{number}", "ok", 0.1, 0.0))
    keys = [name for name in _series(metrics) if name.startswith("upstream_calls_total")]
    assert len(keys) == MAX_KEY_NAMES + 1


def test_a_gauge_is_asked_for_when_it_is_read() -> None:
    """For what is true at the moment."""
    metrics, numbers = PrometheusMetrics(), [1.0]
    metrics.watch("index_entries", "Entries in the index.", lambda: numbers[0])
    assert _series(metrics)["index_entries"] == 1
    numbers[0] = 2.0
    assert _series(metrics)["index_entries"] == 2


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name: str) -> None:
    """With the name that Prometheus shows, its labels and its meaning."""
    kind, text, labels = METRICS[name]
    full = f"cache_service_{name}" + ("_total" if kind.__name__ == "Counter" else "")
    shown = ", ".join(f"`{label}`" for label in labels)
    assert f"| `{full}` | {kind.__name__.lower()} | {shown} | {text} |" in PAGE.read_text("utf-8")
