"""What the cache is worth: from measured traffic, with ranges; and what it takes to pay for itself. Pure.

    saved = true hits × what they cost when they were made − wrong hits × what a wrong answer costs − what running the service costs

Exact hits and joins of equal requests are right by construction. Of semantic hits nobody judges all, so the share that is wrong is a range:

- low: those that were called wrong, of *all* semantic hits, as if everybody complained (Clopper–Pearson's lower bound),
- high: those that were called wrong, of the *judged* ones, as if people judged at random (its upper bound),
- expected: the share that the operator allows, moved by the judgements as far as they weigh (the mean of the same Beta posterior
  that tightens the threshold).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cache_service.beta import beta_quantile
from cache_service.store.entry import Daily, Sum

MONTH: Final = 365.25 / 12  # days
CERTAINTY: Final = 0.95
PRIOR: Final = 50.0  # judged pairs that the allowed share is worth

PAID: Final = frozenset({"paid", "not-stored"})
LOST: Final = frozenset({"maybe-paid"})
EXACT: Final = frozenset({"hit", "stale-hit", "collapsed"})
SEMANTIC: Final = frozenset({"semantic-hit", "semantic-stale-hit", "semantic-collapsed"})
PARTIAL: Final = frozenset({"partial", "semantic-partial"})
ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class Range:
    """A figure and how far it may be off; low and high at 95 %, both certain where nothing is left to chance."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was measured in `days`.

    answered: requests that got an answer. exact_hits, semantic_hits: answered without a generation of their own, joins too.
    saved_exact, saved_semantic: USD that their outputs cost when they were made. spent: USD for generations that were answered,
    lost: for calls without an answer, estimated. unpriced: requests and payments without a known price, in neither sum.
    """

    days: float
    answered: int = 0
    errors: int = 0
    exact_hits: int = 0
    semantic_hits: int = 0
    generations: int = 0
    saved_exact: float = 0.0
    saved_semantic: float = 0.0
    spent: float = 0.0
    lost: float = 0.0
    unpriced: int = 0

    @property
    def hits(self) -> int:
        """Of either kind."""
        return self.exact_hits + self.semantic_hits


@dataclass(frozen=True, slots=True)
class Judged:
    """Semantic hits that clients judged."""

    wrong: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What measurement can't know. USD, hours a month, shares.

    wrong_answer_usd: what one wrong answer costs. wrong_share: of semantic hits, instead of what feedback says. allowed_share: what
    the operator allows. one_off_usd: to set it up. labour_hours: work saved in a month. failure_*: share of requests that fail
    without and with the service, and what a failed one costs.
    """

    wrong_answer_usd: float = 0.0
    wrong_share: float | None = None
    allowed_share: float = 0.01
    running_usd_per_month: float = 0.0
    one_off_usd: float = 0.0
    labour_hours: float = 0.0
    labour_rate: float = 0.0
    failure_before: float = 0.0
    failure_after: float = 0.0
    failure_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Roi:
    """What comes of it. hit_rate, wrong_share: shares. saved_usd: in the days measured; monthly_usd, annual: scaled.

    break_even_hit_rate: the hit rate at which the service costs nothing; None where no hit rate does that, because a hit costs more than it
    saves. payback_months, annual_roi: None where nothing was invested, or it never comes back.
    """

    traffic: Traffic
    hit_rate: Range
    wrong_share: Range
    cost_per_generation: float | None
    saved_per_hit: float | None
    wrong_usd: Range
    running_usd: float
    saved_usd: Range
    break_even_hit_rate: float | None
    monthly_usd: Range
    payback_months: float | None
    annual_roi: float | None

    def as_json(self) -> dict[str, Any]:
        """Every figure."""
        return asdict(self)


def measured(sums: Mapping[Daily, Sum], days: float) -> Traffic:
    """The traffic that daily sums tell of."""

    def total(answers: frozenset[str]) -> Sum:
        return sum((value for row, value in sums.items() if row.answer in answers), Sum())

    paid, lost, exact, semantic = total(PAID), total(LOST), total(EXACT), total(SEMANTIC)
    partial, errors = total(PARTIAL), total(frozenset({ERROR}))
    requests = sum(value.count for row, value in sums.items() if row.answer not in PAID | LOST | {ERROR})
    return Traffic(
        days,
        answered=requests,
        errors=errors.count,
        exact_hits=exact.count,
        semantic_hits=semantic.count,
        generations=paid.count,
        saved_exact=exact.usd + partial.usd,
        saved_semantic=semantic.usd,
        spent=paid.usd,
        lost=lost.usd,
        unpriced=paid.unpriced + lost.unpriced + exact.unpriced + semantic.unpriced,
    )


def reckon(traffic: Traffic, judged: Judged, assumed: Assumptions) -> Roi:
    """What the cache is worth, by that traffic."""
    wrong = wrong_share(traffic.semantic_hits, judged, assumed)
    running = assumed.running_usd_per_month * traffic.days / MONTH

    def cost_of_wrong(share: float) -> float:
        return share * traffic.semantic_hits * assumed.wrong_answer_usd

    def saved(share: float) -> float:
        return traffic.saved_exact + traffic.saved_semantic * (1 - share) - cost_of_wrong(share) - running

    saving = Range(saved(wrong.high), saved(wrong.expected), saved(wrong.low))
    per_generation = traffic.spent / traffic.generations if traffic.generations else None
    per_hit = (traffic.saved_exact + traffic.saved_semantic) / traffic.hits if traffic.hits else None
    others = _beside(traffic, assumed, per_generation)
    monthly = Range(*(usd * MONTH / traffic.days + others for usd in (saving.low, saving.expected, saving.high)))
    payback = assumed.one_off_usd / monthly.expected if assumed.one_off_usd and monthly.expected > 0 else None
    annual = (12 * monthly.expected - assumed.one_off_usd) / assumed.one_off_usd if assumed.one_off_usd else None
    return Roi(
        traffic,
        hit_rate=share_of(traffic.hits, traffic.answered),
        wrong_share=wrong,
        cost_per_generation=per_generation,
        saved_per_hit=per_hit,
        wrong_usd=Range(*(cost_of_wrong(share) for share in (wrong.low, wrong.expected, wrong.high))),
        running_usd=running,
        saved_usd=saving,
        break_even_hit_rate=_break_even(traffic, wrong.expected, running, per_hit, per_generation, assumed),
        monthly_usd=monthly,
        payback_months=payback,
        annual_roi=annual,
    )


def wrong_share(hits: int, judged: Judged, assumed: Assumptions) -> Range:
    """The share of semantic hits that are wrong; what is assumed is certain."""
    if assumed.wrong_share is not None:
        return Range(assumed.wrong_share, assumed.wrong_share, assumed.wrong_share)
    known = judged.wrong + judged.right
    low = clopper_pearson(judged.wrong, max(hits, known))[0]
    high = clopper_pearson(judged.wrong, known)[1]
    expected = (PRIOR * assumed.allowed_share + judged.wrong) / (PRIOR + known)
    return Range(low, min(max(expected, low), high), high)


def share_of(part: int, whole: int) -> Range:
    """A share, and Clopper–Pearson's interval around it."""
    low, high = clopper_pearson(part, whole)
    return Range(low, part / whole if whole else 0.0, high)


def clopper_pearson(part: int, whole: int) -> tuple[float, float]:
    """The interval that holds the true share with at least 95 %, whatever it is (Clopper and Pearson 1934); all of [0, 1] for nothing."""
    tail = (1 - CERTAINTY) / 2
    low = beta_quantile(tail, part, whole - part + 1) if part else 0.0
    high = beta_quantile(1 - tail, part + 1, whole - part) if part < whole else 1.0
    return low, high


def _break_even(
    traffic: Traffic,
    wrong: float,
    running: float,
    per_hit: float | None,
    per_generation: float | None,
    assumed: Assumptions,
) -> float | None:
    """At the present mix of exact and semantic hits; where nothing was hit yet, a hit is worth a generation."""
    value = per_hit if per_hit is not None else per_generation
    if value is None or not traffic.answered:
        return None
    share = wrong * (traffic.semantic_hits / traffic.hits if traffic.hits else 1.0)
    net = value * (1 - share) - share * assumed.wrong_answer_usd
    return running / (traffic.answered * net) if net > 0 else None


def _beside(traffic: Traffic, assumed: Assumptions, per_generation: float | None) -> float:
    """USD a month that aren't the cache's own: labour, and failures that don't happen any more."""
    per_failure = assumed.failure_usd or per_generation or 0.0
    requests = (traffic.answered + traffic.errors) * MONTH / traffic.days
    return (
        assumed.labour_hours * assumed.labour_rate
        + (assumed.failure_before - assumed.failure_after) * requests * per_failure
    )
