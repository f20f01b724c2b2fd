"""The picture of an evaluation shows what was counted, and says what it needs."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache_service.errors import ConfigurationError
from cache_service.jobs.evaluate import Evaluation, Gate, Point
from cache_service.jobs.pairs import Decided, How, Pair
from cache_service.jobs.picture import LINE, MIDDLE, POINTS, Mark, _heights, check, curves, draw
from cache_service.verification.base import Same, Scored, Unsure


def evaluation(*pairs: tuple[bool, float, float]) -> Evaluation:
    """Pairs with (same, cosine, score), served from a score of 0.9."""
    result = Evaluation(0.92, gates={0.92: Gate(), 0.85: Gate()})
    for same, similarity, score in pairs:
        verdict = Same("x") if score >= 0.9 else Unsure("x")
        scored = Scored(verdict, score, "caption") if similarity >= 0.85 else None
        result.add(Decided(Pair("a", "b", same), "images", How.COMPARED, similarity, scored))
    return result


SOME = evaluation(
    (True, 0.99, 1.0), (True, 0.93, 0.95), (True, 0.88, 0.92), (True, 0.6, 0.0), (False, 0.97, 0.2), (False, 0.91, 0.4)
)


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(0, 1)), min_size=2).filter(
        lambda p: 0 < sum(s for s, *_ in p) < len(p)
    )
)
def test_marked_points_are_the_rates_that_are_printed(pairs: list[tuple[bool, float, float]]) -> None:
    result = evaluation(*pairs)
    bare, by_gate = curves(result, verifier="learned")[:2]
    for mark, (_, found) in zip(by_gate.marks, sorted(result.gates.items(), reverse=True), strict=True):
        assert (mark.x, mark.y) == pytest.approx((found.total.false_hit_rate, found.total.true_hit_rate))
    over = [(same, similarity) for same, similarity, _ in pairs if similarity >= 0.92]
    assert bare.marks[0].y == pytest.approx(sum(same for same, _ in over) / sum(same for same, *_ in pairs))
    for one in curves(result, verifier="learned"):
        assert np.all(np.diff(one.x) >= 0)
        assert np.all(np.diff(one.y) >= 0)


def test_the_point_in_force_is_marked_and_scores_have_a_curve_of_their_own() -> None:
    bare, by_gate, by_score = curves(SOME, verifier="learned")
    assert [mark.chosen for mark in bare.marks] == [False, False]
    assert [(mark.name, mark.chosen) for mark in by_gate.marks] == [
        ("learned, gate 0.92", True),
        ("learned, gate 0.85", False),
    ]
    assert (bare.x[-1], bare.y[-1]) == (1.0, 1.0)
    assert (by_score.x[-1], by_score.y[-1]) == (0.5, 0.5)


def test_a_verifier_without_scores_has_no_curve_of_them() -> None:
    rules = evaluation((True, 0.95, 1.0), (False, 0.95, 0.0))
    assert [one.name for one in curves(rules, verifier="rules")] == ["bare cosine", "rules, by gate"]


@pytest.mark.parametrize("pairs", [[], [(True, 0.9, 1.0)], [(False, 0.9, 1.0)]])
def test_pairs_of_one_kind_are_no_picture(pairs: list[tuple[bool, float, float]]) -> None:
    with pytest.raises(ConfigurationError, match="same and pairs that aren't"):
        curves(evaluation(*pairs), verifier="rules")


def test_it_is_drawn_as_svg_and_png(tmp_path: Path) -> None:
    drawn = curves(SOME, verifier="learned")
    draw(drawn, tmp_path / "p.svg", title="pairs")
    draw(drawn, tmp_path / "p.png", title="pairs")
    assert "<svg" in (tmp_path / "p.svg").read_text("utf-8")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (1152, 720)


def test_what_can_not_be_drawn_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"\.svg or \.png"):
        check(tmp_path / "p.pdf")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"cache-service\[plot\]"):
        check(tmp_path / "p.svg")


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        draw(curves(SOME, verifier="rules"), tmp_path / "no-such" / "p.png", title="")


def test_points_keep_what_the_picture_needs() -> None:
    assert SOME.points[0] == Point(True, 0.99, True, 1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_names_do_not_cover_each_other(places: list[tuple[float, float]]) -> None:
    marks = [Mark(x, y, "name") for x, y in places]
    heights = _heights(marks)
    for side in (False, True):
        lines = sorted(POINTS * m.y + h for m, h in zip(marks, heights, strict=True) if (m.x > MIDDLE) is side)
        assert all(above - below >= LINE - 1e-6 for below, above in itertools.pairwise(lines))
