"""What the cache is worth: the arithmetic by hand, the ranges by scipy, and what can't be said isn't."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cache_service.roi import MONTH, Assumptions, Judged, Range, Traffic, clopper_pearson, measured, reckon, wrong_share
from cache_service.roi_text import lines
from cache_service.store.entry import Daily, Kind, Sum

TRAFFIC = Traffic(
    days=MONTH, answered=1000, errors=10, exact_hits=300, semantic_hits=100, generations=600, saved_exact=15.0,
    saved_semantic=5.0, spent=30.0, lost=0.5,
)  # fmt: skip
KIND = Kind("images", "web", "m")


def test_savings_are_true_hits_less_wrong_ones_less_running() -> None:
    """300 exact hits of 0.05, 90 of 100 semantic ones, 10 wrong ones at 0.20, 4 a month to run."""
    roi = reckon(TRAFFIC, Judged(), Assumptions(wrong_share=0.1, wrong_answer_usd=0.2, running_usd_per_month=4.0))
    assert roi.saved_usd == Range(*[pytest.approx(15.0 + 4.5 - 2.0 - 4.0)] * 3)
    assert roi.monthly_usd.expected == pytest.approx(13.5)
    assert (roi.cost_per_generation, roi.saved_per_hit, roi.hit_rate.expected) == (0.05, 0.05, 0.4)
    assert (roi.payback_months, roi.annual_roi) == (None, None)


def test_the_break_even_hit_rate_is_where_nothing_is_saved() -> None:
    """With the same mix of hits at that rate, the saving is 0."""
    assumed = Assumptions(wrong_share=0.1, wrong_answer_usd=0.2, running_usd_per_month=4.0)
    rate = reckon(TRAFFIC, Judged(), assumed).break_even_hit_rate
    assert rate is not None
    factor = rate / 0.4
    fewer = replace(
        TRAFFIC, exact_hits=300 * factor, semantic_hits=100 * factor, saved_exact=15 * factor, saved_semantic=5 * factor
    )  # type: ignore[arg-type]
    share, cost = 0.1, 0.2
    assert fewer.saved_exact + fewer.saved_semantic * (1 - share) - share * fewer.semantic_hits * cost == pytest.approx(
        4.0
    )


def test_where_a_hit_costs_more_than_it_saves_no_hit_rate_pays() -> None:
    assumed = Assumptions(wrong_share=0.5, wrong_answer_usd=10.0, running_usd_per_month=1.0)
    roi = reckon(TRAFFIC, Judged(), assumed)
    assert roi.break_even_hit_rate is None
    assert roi.saved_usd.expected < 0


def test_without_any_traffic_nothing_is_claimed() -> None:
    roi = reckon(Traffic(days=1.0), Judged(), Assumptions(running_usd_per_month=MONTH))
    assert roi.saved_usd.expected == -1.0
    assert (roi.break_even_hit_rate, roi.cost_per_generation, roi.saved_per_hit) == (None, None, None)
    assert (roi.hit_rate, roi.wrong_share.low, roi.wrong_share.high) == (Range(0.0, 0.0, 1.0), 0.0, 1.0)


def test_an_investment_comes_back_by_all_that_it_saves() -> None:
    """20 a month of hits, 10 hours at 50, and 8 % fewer failures of 1,010 requests at 0.05."""
    assumed = Assumptions(
        wrong_share=0.0, one_off_usd=3000.0, labour_hours=10.0, labour_rate=50.0, failure_before=0.1, failure_after=0.02
    )
    roi = reckon(TRAFFIC, Judged(), assumed)
    monthly = 20.0 + 500.0 + 0.08 * 1010 * 0.05
    assert roi.monthly_usd.expected == pytest.approx(monthly)
    assert roi.payback_months == pytest.approx(3000.0 / monthly)
    assert roi.annual_roi == pytest.approx((12 * monthly - 3000.0) / 3000.0)
    lost = reckon(TRAFFIC, Judged(), replace(assumed, labour_hours=0.0, running_usd_per_month=99.0))
    assert lost.payback_months is None
    assert lost.annual_roi is not None
    assert lost.annual_roi < -1


@given(whole=st.integers(1, 400), data=st.data())
def test_the_interval_is_clopper_s_and_pearson_s(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    exact = binomtest(part, whole).proportion_ci(0.95, method="exact")
    assert clopper_pearson(part, whole) == pytest.approx((exact.low, exact.high), abs=1e-6)


@given(hits=st.integers(0, 5000), wrong=st.integers(0, 50), right=st.integers(0, 200))
def test_the_range_of_wrong_hits_holds_its_expectation_and_narrows_with_judgements(
    hits: int, wrong: int, right: int
) -> None:
    """Without any judgement nothing is known but what is allowed."""
    found = wrong_share(hits, Judged(wrong, right), Assumptions(allowed_share=0.01))
    assert 0 <= found.low <= found.expected <= found.high <= 1
    if not wrong + right:
        assert (found.low, found.expected, found.high) == (0.0, 0.01, 1.0)


@given(wrong=st.integers(0, 20), right=st.integers(0, 200), price=st.floats(0, 10), running=st.floats(0, 100))
def test_a_larger_share_of_wrong_hits_never_saves_more(wrong: int, right: int, price: float, running: float) -> None:
    assumed = Assumptions(wrong_answer_usd=price, running_usd_per_month=running)
    roi = reckon(TRAFFIC, Judged(wrong, right), assumed)
    assert roi.saved_usd.low <= roi.saved_usd.expected <= roi.saved_usd.high


def test_daily_sums_become_traffic() -> None:
    """Each answer in its place; what may have been paid for nothing is no generation."""
    sums = {
        Daily(1, KIND, "paid"): Sum(6, usd=0.6),
        Daily(2, KIND, "not-stored"): Sum(2, usd=0.2, unpriced=1),
        Daily(2, KIND, "maybe-paid"): Sum(1, usd=0.1),
        Daily(1, KIND, "hit"): Sum(5, usd=0.5),
        Daily(1, KIND, "semantic-hit"): Sum(3, usd=0.3),
        Daily(1, KIND, "semantic-collapsed"): Sum(1, usd=0.1),
        Daily(1, KIND, "collapsed"): Sum(2, usd=0.2),
        Daily(1, KIND, "partial"): Sum(1, usd=0.1),
        Daily(1, KIND, "miss"): Sum(6),
        Daily(1, KIND, "bypass"): Sum(1),
        Daily(1, KIND, "error"): Sum(4),
    }
    assert measured(sums, 2.0) == Traffic(
        2.0, answered=19, errors=4, exact_hits=7, semantic_hits=4, generations=8,
        saved_exact=pytest.approx(0.8), saved_semantic=pytest.approx(0.4), spent=pytest.approx(0.8), lost=0.1, unpriced=1,
    )  # fmt: skip


def test_the_text_says_every_figure_with_its_range() -> None:
    roi = reckon(TRAFFIC, Judged(2, 98), Assumptions(wrong_answer_usd=1.0, one_off_usd=100.0))
    answer = roi.as_json() | {
        "compared": [{"model": "gpt-image-2", "operation": "images", "uncached_usd": 50.0, "cached_usd": 30.0}]
    }
    text = "\n".join(lines(answer))
    for expected in (
        "30.4 days, 1000 answers",
        "300 exact, 100 by meaning",
        "40.0% (",
        "paid back after",
        "gpt-image-2",
        "50.00 USD",
    ):
        assert expected in text
    assert "never" in "\n".join(
        lines(reckon(TRAFFIC, Judged(), Assumptions(one_off_usd=1.0, running_usd_per_month=99.0)).as_json())
    )
