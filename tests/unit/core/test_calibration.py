"""A calibrated threshold keeps its promise: its bound holds, more wrong hits never loosen it, and it never looks behind the first failure."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from cache_service.calibration import (
    LEAST_CATEGORY,
    NEVER,
    SEQUENCE,
    WORST_CATEGORY,
    Calibration,
    as_json,
    at_prior,
    calibrate,
    evidence,
    needed,
    upper,
)

Pairs = tuple[list[float], list[float]]
"""Scores of the same and of the different pairs."""


def chosen(same: Sequence[float], different: Sequence[float], allowed: float = 0.05, prior: float = 0.5) -> Calibration:
    score = np.array([*same, *different])
    flags = np.array([True] * len(same) + [False] * len(different), bool)
    return calibrate(score, flags, ["x"] * len(flags), allowed, prior)


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    """A verifier that is mostly right."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    sizes = draw(st.tuples(st.integers(20, 300), st.integers(60, 400)))
    skill = draw(st.floats(3, 8))
    same, different = (random.normal(sign * skill / 2, 1.5, size) for sign, size in zip((1, -1), sizes, strict=True))
    return [float(p) for p in 1 / (1 + np.exp(-same))], [float(p) for p in 1 / (1 + np.exp(-different))]


@given(st.integers(0, 3000), st.integers(0, 3000))
@example(0, 1)
@example(0, 1_000_000)
@example(12, 60_000)
def test_the_bound_is_clopper_and_pearsons(count: int, more: int) -> None:
    total = count + more
    expected = 1.0 if more == 0 else beta.ppf(0.95, count + 1, more)
    assert upper(count, total) == pytest.approx(expected, abs=1e-7)


@given(st.integers(1, 400), st.floats(0.001, 0.999))
def test_a_rate_is_above_its_bound_one_time_in_twenty_at_most(total: int, rate: float) -> None:
    least = bisect_left(range(total + 1), rate, key=lambda count: upper(count, total))
    assert binom.cdf(least - 1, total, rate) <= 0.05 + 1e-6


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.01, 0.99))
def test_more_wrong_hits_more_bound(wrong: int, more: int, prior: float) -> None:
    different = wrong + more + 50
    found, bound = at_prior(40, 50, wrong, different, prior)
    found_more, bound_more = at_prior(40, 50, wrong + more, different, prior)
    assert found <= bound
    assert found < found_more
    assert bound < bound_more


@pytest.mark.parametrize(
    ("same", "different", "true_rate", "false_rate"),
    [(300, 400, 0.6, 0.008), (50, 400, 0.4, 0.01), (100, 2000, 0.3, 0.004), (20, 400, 0.25, 0.005)],
)
def test_the_bound_holds_although_the_true_hit_rate_is_taken_as_measured(
    same: int, different: int, true_rate: float, false_rate: float
) -> None:
    """Wrong / hits is above its bound one time in twenty at most, counted over all that can come out."""
    truth = false_rate / (false_rate + true_rate)
    missed = 0.0
    for wrong in range(int(binom.ppf(1 - 1e-6, different, false_rate)) + 1):
        most = bisect_left(
            range(same + 1),
            True,
            key=lambda right, wrong=wrong: at_prior(right, same, wrong, different, 0.5)[1] < truth,
        )
        missed += binom.pmf(wrong, different, false_rate) * binom.sf(most - 1, same, true_rate)
    assert 0 < missed <= 0.05


@given(st.integers(0, 50), st.floats(0.05, 0.94))
def test_the_rarer_same_pairs_are_the_more_hits_are_wrong(wrong: int, prior: float) -> None:
    assert at_prior(40, 50, wrong, 100, prior)[1] > at_prior(40, 50, wrong, 100, prior + 0.05)[1]


@given(pairs(), st.sampled_from([0.05, 0.1, 0.2]), st.sampled_from([0.4, 0.5, 0.8]))
def test_what_is_chosen_is_within_what_is_allowed_and_so_is_every_stricter_step(
    scores: Pairs, allowed: float, prior: float
) -> None:
    found = chosen(*scores, allowed, prior)
    assume(found.threshold != NEVER)
    assert found.bound <= allowed
    start = np.quantile(scores[0], 0.75)
    same = np.array([True] * len(scores[0]) + [False] * len(scores[1]))
    score = np.array([*scores[0], *scores[1]])
    for step in (s for s in SEQUENCE if found.threshold <= s <= start):
        assert evidence(step, score >= step, same, prior).bound <= allowed


@given(pairs(), st.data())
def test_a_higher_score_of_a_different_pair_never_loosens(scores: Pairs, data: st.DataObject) -> None:
    same, different = scores
    place = data.draw(st.integers(0, len(different) - 1))
    higher = data.draw(st.floats(different[place], 1.0))
    before = chosen(same, different)
    after = chosen(same, [*different[:place], higher, *different[place + 1 :]])
    assert after.threshold >= before.threshold


@given(pairs())
def test_one_more_wrong_hit_never_loosens(scores: Pairs) -> None:
    same, different = scores
    assert chosen(same, [*different, 1.0]).threshold >= chosen(same, different).threshold


@given(pairs(), st.sampled_from([0.01, 0.05]))
def test_less_allowed_is_never_looser(scores: Pairs, allowed: float) -> None:
    assert chosen(*scores, allowed / 2).threshold >= chosen(*scores, allowed).threshold


@given(pairs(), st.integers(0, 2**32 - 1))
def test_nothing_is_looked_at_behind_the_first_step_that_fails(scores: Pairs, seed: int) -> None:
    same, different = scores
    found = chosen(same, different)
    start = np.quantile(same, 0.75)
    looser = [step for step in SEQUENCE if step < found.threshold and step <= start]
    assume(looser)  # the sequence did not end by itself
    failed = looser[0]
    random = np.random.default_rng(seed)
    changed = [score if score >= failed else float(random.uniform(0, failed) * 0.999) for score in different]
    assert chosen(same, changed) == found


def test_the_sequence_ends_at_the_first_failure_even_if_later_steps_would_pass() -> None:
    same = [0.95] * 40 + [0.5] * 60
    different = [0.93] * 8 + [0.01] * 492  # 8 / 500 against a true-hit rate of 0.4, then of 1.0
    passes_later = evidence(0.4, np.array([*same, *different]) >= 0.4, np.arange(600) < 100, 0.5)
    assert passes_later.bound < 0.03
    found = chosen(same, different, allowed=0.03)
    assert found.threshold > 0.93
    assert found.served_different == 0


def test_no_category_hides_behind_the_mean() -> None:
    same = np.arange(1500) < 500
    score = np.where(same, 0.9, 0.1)
    score[500:503] = 0.9  # three wrong hits of a category of forty: 7.5 % of it, 0.3 % of all
    category = ["s"] * 500 + ["few"] * LEAST_CATEGORY + ["many"] * (1000 - LEAST_CATEGORY)
    assert calibrate(score, same, ["all"] * 1500, 0.05, 0.5).threshold != NEVER
    assert 3 / LEAST_CATEGORY > WORST_CATEGORY
    assert calibrate(score, same, category, 0.05, 0.5).threshold == NEVER


@pytest.mark.parametrize(
    ("same", "different"), [([], []), ([0.9] * 50, []), ([], [0.1] * 500), ([0.9] * 50, [0.1] * 20)]
)
def test_too_little_evidence_is_no_threshold(same: list[float], different: list[float]) -> None:
    assert chosen(same, different, allowed=0.01).threshold == NEVER


@pytest.mark.parametrize(("allowed", "prior", "pairs"), [(0.01, 0.5, 296), (0.02, 0.5, 146), (0.01, 0.9, 32)])
def test_how_many_pairs_it_takes_is_exact(allowed: float, prior: float, pairs: int) -> None:
    assert needed(allowed, prior) == pairs
    assert at_prior(1, 1, 0, pairs, prior)[1] <= allowed < at_prior(1, 1, 0, pairs - 1, prior)[1]


def test_both_figures_are_told() -> None:
    found = chosen([0.95] * 90 + [0.1] * 10, [0.95] * 2 + [0.1] * 398, allowed=0.05)
    assert (found.served_same, found.served_different, found.hits) == (90, 2, 92)
    assert found.raw == pytest.approx(2 / 92)
    assert found.raw_bound == pytest.approx(beta.ppf(0.95, 3, 90), abs=1e-6)
    assert found.wrong_of_hits == pytest.approx(0.005 / 0.905)
    assert as_json(found)["bound"] == pytest.approx(found.bound, abs=1e-6)


def test_the_shipped_thresholds_are_within_what_they_say_is_allowed() -> None:
    shipped = json.loads((Path(__file__).parents[3] / "models" / "verifier" / "thresholds.json").read_text())
    for kind, found in shipped["evidence"].items():
        right, wrong = found["served_same"], found["served_different"]
        again = at_prior(right, found["same"], wrong, found["different"], shipped["prior"])
        assert again == pytest.approx((found["wrong_of_hits"], found["bound"]), abs=2e-6)
        assert shipped["serve"][kind] >= 1 or found["bound"] <= shipped["allowed"][kind]
