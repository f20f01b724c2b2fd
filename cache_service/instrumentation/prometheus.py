"""Events as Prometheus metrics. `METRICS` lists every one; `PrometheusMetrics` is the hook that counts.

Labels are bounded: a word that isn't in its label's list is counted as `other`, key names beyond a number too. Every series of
decisions exists at 0 from the start, so that a rate over a restart is right. Units are Prometheus's base units, and USD.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cache_service.decision import MissReason
from cache_service.fallback import Step
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
    Takes,
    TierFailed,
    UpstreamCalled,
    UsdSpent,
)
from cache_service.upstream.base import PoolUse

OTHER: Final = "other"
MAX_KEY_NAMES: Final = 100

OPERATIONS: Final = ("images", "chat")
DECISIONS: Final = (
    ("hit", "exact"),
    ("hit", "semantic"),
    ("stale-hit", "exact"),
    ("stale-hit", "semantic"),
    ("miss", ""),
    ("partial", ""),
    ("collapsed", ""),
    ("bypass", ""),
    ("error", ""),
)
REASONS: Final = tuple(str(reason) for reason in MissReason)
STEPS: Final = ("key", "exact", "embed", "search", "verify", "join", "generate", "store")
VERDICTS: Final = ("same", "different", "unsure")
STAGES: Final = ("spool", "blob", "sql", "index")
TIERS: Final = ("exact", "embedding", "index", "verifier")
NOT_STORED: Final = ("purged", "incomplete", "no-store", "too large", "store failed")
CAUSES: Final = ("purged", "expired", "evicted")
FALLBACKS: Final = tuple(str(step) for step in Step)
FELL_BACK: Final = ("answered", "failed")
JUDGEMENTS: Final = ("wrong", "right", "undone")
MODES: Final = ("on", "shadow")
BATCH_OUTCOMES: Final = ("hit", "generated", "failed", "skipped", "cancelled")
CUT: Final = ("late", "large_head", "malformed", "not_taken", "idle", "crowded")
"""Too slow a head or body; a head over its bounds; no HTTP; an answer that wasn't taken; nothing sent, or to make room; no room."""
RECOVERED: Final = ("stored", "incomplete", "purged", "too large", "unreadable")
ERRORS: Final = ("client", "refused", "budget", "capacity", "timeout", "upstream", "service")
"""Whose fault: the request's, the upstream's judgement of it, a budget's; then what operators answer for: no capacity before the deadline,
no answer in time, an upstream that failed, this service."""
QUALITIES: Final = ("", "auto", "low", "medium", "high", "xhigh", "max")
OUTCOMES: Final = (
    *("ok", "abandoned", "rate_limit", "too_large", "slow_down", "quota", "key", "model", "overloaded", "refused"),
    *("redirect", "not_sent", "broken", "cut", "answer_too_large", "timeout"),
)

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    90.0,
    120.0,
)
"""A hit takes milliseconds, a generation up to two minutes."""
SIMILARITIES: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 1.0)

Metric = Counter | Gauge | Histogram

METRICS: Final[Mapping[str, tuple[type[Counter] | type[Gauge] | type[Histogram], str, tuple[str, ...]]]] = {
    "build_info": (Gauge, "Always 1; the labels say which build runs.", ("version", "python")),
    "requests": (Counter, "Answers of generation routes, by what decided them.", ("operation", "decision", "kind")),
    "request_duration_seconds": (Histogram, "Time until the answer was ready.", ("operation", "decision")),
    "errors": (Counter, "Requests that got an error, by whose fault it was.", ("operation", "class")),
    "miss_duration_seconds": (Histogram, "Time until a generated answer was ready, of misses.", ("model", "quality")),
    "misses": (Counter, "Why nothing stored was served.", ("operation", "reason")),
    "hit_similarity": (Histogram, "Cosine of semantic hits.", ("operation",)),
    "step_duration_seconds": (Histogram, "Time of each step of a request.", ("operation", "step")),
    "candidates": (Counter, "Candidates by the verifier's verdict.", ("operation", "verdict")),
    "candidate_similarity": (Histogram, "Cosine of the candidates that were verified.", ("operation", "verdict")),
    "verification_duration_seconds": (Histogram, "Time of one verification.", ("operation",)),
    "upstream_calls": (
        Counter,
        "Attempts at the upstream, by key name and what came of them.",
        ("operation", "pool", "key", "outcome"),
    ),
    "upstream_duration_seconds": (Histogram, "Time of one attempt at the upstream.", ("operation", "outcome")),
    "upstream_queue_seconds": (Histogram, "Time waited for capacity in a limit pool.", ("operation", "pool")),
    "upstream_images": (Counter, "Images made by the upstream.", ("operation", "pool", "key")),
    "upstream_tokens": (Counter, "Tokens used at the upstream.", ("operation", "pool", "key")),
    "upstream_concurrent_limit": (
        Gauge,
        "Calls at once that a relay said it allows (`x-concurrent-limit`); 0 until one says so.",
        ("pool", "key"),
    ),
    "upstream_maybe_paid_twice": (
        Counter,
        "Calls repeated after a time-out or a broken answer, which may be paid twice.",
        ("operation",),
    ),
    "upstream_model_days_left": (
        Gauge,
        "Days until a model in use ends, where the upstream has announced it.",
        ("model",),
    ),
    "spent_usd": (Counter, "Paid for generations, where the price is known.", ("operation",)),
    "maybe_spent_usd": (Counter, "What calls that got no answer may have cost, estimated.", ("operation",)),
    "saved_usd": (
        Counter,
        "What the served outputs of hits cost when they were made, where the price is known.",
        ("operation",),
    ),
    "store_failures": (Counter, "Answers that were served but could not be stored.", ("operation", "stage")),
    "not_stored": (Counter, "Answers that were served and rightly not stored.", ("operation", "reason")),
    "tier_failures": (Counter, "Tiers that could not be asked and were passed over.", ("operation", "tier")),
    "fallbacks": (Counter, "Steps tried after the upstream had failed.", ("operation", "step", "outcome")),
    "entries_removed": (Counter, "Entries that went.", ("cause",)),
    "held_entries": (Gauge, "Entries that are stored, as of the last look.", ()),
    "held_blob_bytes": (Gauge, "Bytes of their pictures; one that two entries share counts twice.", ()),
    "shadow_hits": (Counter, "Semantic hits found and verified in shadow mode, and not served.", ("operation",)),
    "shadow_similarity": (Histogram, "Cosine of those.", ("operation",)),
    "feedback": (Counter, "Clients' verdicts on semantic hits.", ("operation", "verdict", "mode")),
    "unrecorded_hits": (Counter, "Semantic hits that could not be recorded, so that no feedback can name them.", ()),
    "batch_items": (Counter, "Items of batches, by what became of them.", ("operation", "outcome")),
    "batches_in_progress": (Gauge, "Batches that run in this process.", ()),
    "recovered_generations": (Counter, "Generations of an earlier process found in the spool.", ("outcome",)),
    "connections_cut": (Counter, "Connections of clients that were ended early, or refused.", ("reason",)),
}
"""Name without prefix and `_total`: type, help, labels. Those of the process and of garbage collection come from the library."""

_BUCKETS: Final[Mapping[str, Sequence[float]]] = {
    "hit_similarity": SIMILARITIES,
    "candidate_similarity": SIMILARITIES,
    "shadow_similarity": SIMILARITIES,
    # of each model and quality, so fewer of them
    "miss_duration_seconds": (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0),
}


class _Histogram(Histogram):
    """The library's, which looks through the bounds one by one for each value."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Of a series with its labels; there are no exemplars here."""
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


class PrometheusMetrics:
    """A hook that counts, and what it has counted as text. Safe to call from any thread."""

    def __init__(self) -> None:
        self.takes: Takes = {
            StepTimed: self._step, RequestServed: self._request, CandidateJudged: self._candidate, UsdSpent: self._spent,
            **dict.fromkeys((UpstreamCalled, MaybePaidTwice, ModelEnds), self._of_upstream),
            **dict.fromkeys((StoreFailed, NotStored, TierFailed, FellBack), self._trouble),
            **dict.fromkeys((EntriesRemoved, Recovered, StoreHeld), self._kept),
            **dict.fromkeys((ShadowHit, FeedbackGiven, HitsUnrecorded), self._judged),
            **dict.fromkeys((BatchItemEnded, BatchesInProgress), self._batch),
            ConnectionCut: self._cut,
        }  # fmt: skip
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._metrics: dict[str, Any] = {name: self._create(name) for name in METRICS}
        self._series: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._steps: dict[tuple[str, str], Any] = {}
        self._key_names: set[tuple[str, str]] = set()
        self._models: set[str] = set()
        self._ending: set[str] = set()
        self._metrics["build_info"].labels(version("cache-service"), platform.python_version()).set(1)
        self._start_at_zero()
        self._exact = {
            (operation, decision): (
                self._of("requests", operation, decision, "exact"),
                self._of("request_duration_seconds", operation, decision),
                self._of("saved_usd", operation),
            )
            for operation in OPERATIONS
            for decision in ("hit", "stale-hit")
        }

    def render(self) -> tuple[bytes, str]:
        """Body and content type of `/metrics`."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge `cache_service_{name}` whose value is asked for at each scrape."""
        Gauge(f"cache_service_{name}", text, registry=self.registry).set_function(value)

    def expect(self, pools: Sequence[PoolUse], models: Mapping[str, Sequence[str]]) -> None:
        """Starts the series of these pools' keys, and of these models with their qualities, at 0. Other models are `other`."""
        for pool in pools:
            for operation in OPERATIONS:
                self._of("upstream_queue_seconds", operation, pool.name)
                for key in pool.keys:
                    self._key(pool.name, key)
                    for outcome in OUTCOMES:
                        self._of("upstream_calls", operation, pool.name, key, outcome)
                    self._of("upstream_images", operation, pool.name, key)
                    self._of("upstream_tokens", operation, pool.name, key)
            for key in pool.keys:
                self._of("upstream_concurrent_limit", pool.name, key)
        for model, qualities in models.items():
            self._models.add(model)
            for quality in qualities:
                self._of("miss_duration_seconds", model, _one(quality, QUALITIES))

    def collect_from(self, collector: Collector) -> None:
        """Asks the collector too at each scrape."""
        self.registry.register(collector)

    def __call__(self, event: Event) -> None:
        """Counts the event."""
        self.takes[type(event)](event)

    def _step(self, event: StepTimed) -> None:
        series = self._steps.get((event.operation, event.step))
        if series is None:
            operation, step = _operation(event.operation), _one(event.step, STEPS)
            series = self._of("step_duration_seconds", operation, step)
            if (operation, step) == (event.operation, event.step):  # what isn't known has no bound
                self._steps[operation, step] = series
        series.observe(event.seconds)

    def _request(self, event: RequestServed) -> None:
        exact = self._exact.get((event.operation, event.decision)) if event.kind == "exact" else None
        if exact is not None:  # most of what a busy service answers
            count, duration, saved = exact
            count.inc()
            duration.observe(event.seconds)
            if (event.saved_usd or 0.0) > 0:
                saved.inc(event.saved_usd)
            return
        operation = _operation(event.operation)
        if (event.saved_usd or 0.0) > 0:
            self._of("saved_usd", operation).inc(event.saved_usd)
        decision = _one(event.decision, _DECISION_WORDS)
        kind = event.kind if (decision, event.kind) in DECISIONS else ""
        self._of("requests", operation, decision, kind).inc()
        self._of("request_duration_seconds", operation, decision).observe(event.seconds)
        if decision == "error":
            self._of("errors", operation, _one(event.error, ERRORS)).inc()
        if decision == "miss":
            model = event.model if event.model in self._models else OTHER
            self._of("miss_duration_seconds", model, _one(event.quality, QUALITIES)).observe(event.seconds)
        if decision in _MISSING:
            self._of("misses", operation, _one(event.reason, REASONS)).inc()
        if kind == "semantic" and event.similarity is not None:
            self._of("hit_similarity", operation).observe(event.similarity)

    def _candidate(self, event: CandidateJudged) -> None:
        operation, verdict = _operation(event.operation), _one(event.verdict, VERDICTS)
        self._of("candidates", operation, verdict).inc()
        self._of("candidate_similarity", operation, verdict).observe(event.similarity)
        self._of("verification_duration_seconds", operation).observe(event.seconds)

    def _spent(self, event: UsdSpent) -> None:
        name = "spent_usd" if event.sure else "maybe_spent_usd"
        self._of(name, _operation(event.operation)).inc(max(0.0, event.usd))

    def _cut(self, event: ConnectionCut) -> None:
        self._of("connections_cut", _one(event.reason, CUT)).inc()

    def _trouble(self, event: StoreFailed | NotStored | TierFailed | FellBack) -> None:
        operation = _operation(event.operation)
        match event:
            case StoreFailed(stage=stage):
                self._of("store_failures", operation, _one(stage, STAGES)).inc()
            case NotStored(reason=reason):
                self._of("not_stored", operation, _one(reason, NOT_STORED)).inc()
            case TierFailed(tier=tier):
                self._of("tier_failures", operation, _one(tier, TIERS)).inc()
            case FellBack(step=step, outcome=outcome):
                self._of("fallbacks", operation, _one(step, FALLBACKS), _one(outcome, FELL_BACK)).inc()

    def _judged(self, event: ShadowHit | FeedbackGiven | HitsUnrecorded) -> None:
        match event:
            case ShadowHit(operation, similarity):
                self._of("shadow_hits", _operation(operation)).inc()
                self._of("shadow_similarity", _operation(operation)).observe(similarity)
            case FeedbackGiven(operation, verdict, mode):
                self._of("feedback", _operation(operation), _one(verdict, JUDGEMENTS), _one(mode, MODES)).inc()
            case HitsUnrecorded(count):
                self._metrics["unrecorded_hits"].inc(count)

    def _kept(self, event: EntriesRemoved | Recovered | StoreHeld) -> None:
        match event:
            case EntriesRemoved(cause, count):
                self._of("entries_removed", _one(cause, CAUSES)).inc(count)
            case Recovered(outcome):
                self._of("recovered_generations", _one(outcome, RECOVERED)).inc()
            case StoreHeld(entries, blob_bytes):
                self._metrics["held_entries"].set(entries)
                self._metrics["held_blob_bytes"].set(blob_bytes)

    def _batch(self, event: BatchItemEnded | BatchesInProgress) -> None:
        match event:
            case BatchItemEnded(operation, outcome):
                self._of("batch_items", _operation(operation), _one(outcome, BATCH_OUTCOMES)).inc()
            case BatchesInProgress(count):
                self._metrics["batches_in_progress"].set(count)

    def _of_upstream(self, event: UpstreamCalled | MaybePaidTwice | ModelEnds) -> None:
        match event:
            case UpstreamCalled():
                self._upstream(event)
            case MaybePaidTwice(operation):
                self._of("upstream_maybe_paid_twice", _operation(operation)).inc()
            case ModelEnds(model, days):
                self._of("upstream_model_days_left", self._model(model)).set(days)

    def _upstream(self, event: UpstreamCalled) -> None:
        operation, outcome = _operation(event.operation), _one(event.outcome, OUTCOMES)
        pool, key = self._key(event.pool, event.key_name)
        self._of("upstream_calls", operation, pool, key, outcome).inc()
        self._of("upstream_duration_seconds", operation, outcome).observe(event.seconds)
        self._of("upstream_queue_seconds", operation, pool).observe(event.queued)
        self._of("upstream_images", operation, pool, key).inc(event.images)
        self._of("upstream_tokens", operation, pool, key).inc(event.tokens)
        if event.concurrent_limit is not None:
            self._of("upstream_concurrent_limit", pool, key).set(event.concurrent_limit)

    def _of(self, name: str, *labels: str) -> Any:
        """The series; remembered, because the library looks for it again under a lock. Their number is bounded, as labels are."""
        series = self._series.get((name, labels))
        if series is None:
            series = self._series[name, labels] = self._metrics[name].labels(*labels)
        return series

    def _key(self, pool: str, name: str) -> tuple[str, str]:
        if (pool, name) not in self._key_names:
            if len(self._key_names) >= MAX_KEY_NAMES:
                return OTHER, OTHER
            self._key_names.add((pool, name))
        return pool, name

    def _model(self, name: str) -> str:
        if name not in self._ending:
            if len(self._ending) >= MAX_KEY_NAMES:
                return OTHER
            self._ending.add(name)
        return name

    def _create(self, name: str) -> Metric:
        kind, text, labels = METRICS[name]
        full = f"cache_service_{name}"
        if kind is Histogram:
            return _Histogram(full, text, labels, registry=self.registry, buckets=_BUCKETS.get(name, SECONDS))
        return kind(full, text, labels, registry=self.registry)

    def _start_at_zero(self) -> None:
        for operation in OPERATIONS:
            for decision, kind in DECISIONS:
                self._of("requests", operation, decision, kind)
                self._of("request_duration_seconds", operation, decision)
            for name in (
                "hit_similarity",
                "spent_usd",
                "maybe_spent_usd",
                "saved_usd",
                "shadow_hits",
            ):
                self._of(name, operation)
            for name, words in (
                ("misses", REASONS), ("errors", ERRORS), ("candidates", VERDICTS), ("store_failures", STAGES),
                ("not_stored", NOT_STORED), ("tier_failures", TIERS), ("batch_items", BATCH_OUTCOMES),
            ):  # fmt: skip
                for word in words:
                    self._of(name, operation, word)
            for step in FALLBACKS:
                for outcome in FELL_BACK:
                    self._of("fallbacks", operation, step, outcome)
            for verdict in JUDGEMENTS:
                for mode in MODES:
                    self._of("feedback", operation, verdict, mode)
        for name, words in (
            ("entries_removed", CAUSES),
            ("recovered_generations", RECOVERED),
            ("connections_cut", CUT),
        ):
            for word in words:
                self._of(name, word)


_DECISION_WORDS: Final = tuple(dict.fromkeys(decision for decision, _ in DECISIONS))
_MISSING: Final = frozenset({"miss", "collapsed"})


def _operation(name: str) -> str:
    return _one(name, OPERATIONS)


def _one(word: str, known: Sequence[str]) -> str:
    """The word if it is known, else `other`."""
    return word if word in known else OTHER
