"""What feedback means: which pairs are denied, when a prompt is exact-only, and how the threshold follows the evidence."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cache_service.feedback import (
    Policy,
    Standing,
    tightened,
    wrong_share,
)
from cache_service.store.entry import Feedback, Judgement, ServedHit

DAY = 86400.0
POLICY = Policy({"images": 0.01, "chat": 0.02}, strength=50, half_life=30 * DAY)


def said(
    number: int,
    verdict: Judgement,
    asked: str,
    stored: str,
    *,
    namespace: str = "n",
    at: float = 0.0,
    undone: int | None = None,
) -> Feedback:
    hit = ServedHit(namespace, "images", f"r{number}", f"key {asked}", asked, f"key {stored}", stored, 0.95, at)
    return Feedback(number, hit, verdict, "client", at, undone)


def standing(*feedback: Feedback) -> Standing:
    made = Standing(POLICY)
    made.apply(feedback)
    return made


def test_a_wrong_pair_is_denied_in_both_directions_and_nothing_else_is() -> None:
    heard = standing(said(1, "wrong", "a", "b"))
    assert heard.denial("n", "images", "a", "b")
    assert heard.denial("n", "images", "b", "a")
    assert heard.denial("n", "images", "a", "c") is None
    assert heard.denial("n", "chat", "a", "b") is None
    assert heard.denial("another", "images", "a", "b") is None


def test_the_newest_verdict_on_a_pair_counts() -> None:
    """Whoever pressed the wrong button can press the right one."""
    assert standing(said(1, "wrong", "a", "b"), said(2, "right", "b", "a")).denial("n", "images", "a", "b") is None
    assert standing(said(1, "right", "a", "b"), said(2, "wrong", "a", "b")).denial("n", "images", "a", "b")


def test_an_entry_that_was_wrong_for_two_prompts_is_exact_only() -> None:
    once = standing(said(1, "wrong", "a", "e"), said(2, "wrong", "a", "e"))
    assert not once.is_exact_only("n", "images", "e")
    twice = standing(said(1, "wrong", "a", "e"), said(2, "wrong", "b", "e"))
    assert twice.is_exact_only("n", "images", "e")
    assert twice.denial("n", "images", "anything", "e")
    assert not twice.is_exact_only("n", "images", "a")
    assert twice.denial("n", "images", "e", "anything") is None


def test_asking_wrongly_twice_is_no_strike_against_the_asked_prompt() -> None:
    """Only what was served can be wrong."""
    assert not standing(said(1, "wrong", "a", "e"), said(2, "wrong", "a", "f")).is_exact_only("n", "images", "a")


VERDICTS: st.SearchStrategy[Judgement] = st.sampled_from(("wrong", "right"))


@given(
    st.lists(st.tuples(VERDICTS, st.sampled_from("abc"), st.sampled_from("abc"), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_undoing_is_as_if_it_had_never_been_said(drawn: list[tuple[Judgement, str, str, bool]], random: object) -> None:
    """In whatever order the news arrives, and however often."""
    given_ = [said(n, verdict, a, b) for n, (verdict, a, b, _) in enumerate(drawn, 1)]
    undone = [said(n, verdict, a, b, undone=99) for n, (verdict, a, b, undo) in enumerate(drawn, 1) if undo]
    kept = [one for one, (*_, undo) in zip(given_, drawn, strict=True) if not undo]
    told = standing(*given_, *undone, *undone)
    expected = standing(*reversed(kept))
    for a in "abc":
        assert told.is_exact_only("n", "images", a) == expected.is_exact_only("n", "images", a)
        for b in "abc":
            assert told.denial("n", "images", a, b) == expected.denial("n", "images", a, b)
    assert told.trust(0.92, 0.0) == expected.trust(0.92, 0.0)
    assert told.threshold("n", "images", 0.92, 0.0) == expected.threshold("n", "images", 0.92, 0.0)


def test_without_feedback_the_threshold_is_the_operators() -> None:
    assert standing().threshold("n", "images", 0.92, 0.0) == 0.92


def test_two_wrong_hits_tighten_the_threshold_of_their_namespace_alone() -> None:
    one = standing(said(1, "wrong", "a", "b"))
    two = standing(said(1, "wrong", "a", "b"), said(2, "wrong", "c", "d"))
    assert one.threshold("n", "images", 0.92, 0.0) == 0.92
    assert two.threshold("n", "images", 0.92, 0.0) > 0.92
    assert two.threshold("another", "images", 0.92, 0.0) == 0.92
    assert two.threshold("n", "chat", 0.92, 0.0) == 0.92


def test_right_hits_are_evidence_too() -> None:
    wrong = [said(n, "wrong", f"a{n}", f"b{n}") for n in range(2)]
    right = [said(n, "right", f"a{n}", f"b{n}") for n in range(2, 60)]
    assert standing(*wrong, *right).threshold("n", "images", 0.92, 0.0) == 0.92


def test_the_threshold_relaxes_slowly() -> None:
    """Never from one moment to the next, and in the end all the way."""
    heard = standing(*(said(n, "wrong", f"a{n}", f"b{n}") for n in range(5)))
    levels = [heard.threshold("n", "images", 0.92, day * DAY) for day in range(200)]
    assert levels[0] > 0.98
    assert levels[1] > 0.98
    assert levels == sorted(levels, reverse=True)
    assert max(a - b for a, b in itertools.pairwise(levels)) < 0.005
    assert levels[-1] == 0.92


def test_saying_it_again_is_no_more_evidence() -> None:
    once = standing(said(1, "wrong", "a", "b"))
    often = standing(*(said(n, "wrong", "a", "b") for n in range(1, 50)))
    assert often.trust(0.92, 0.0) == once.trust(0.92, 0.0)


COUNTS = st.floats(0, 200)
DELTAS = st.floats(0.001, 0.2)


@given(COUNTS, COUNTS, DELTAS, st.floats(1, 500), st.floats(0, 1))
def test_the_threshold_never_falls_below_the_operators_and_more_wrong_hits_never_lower_it(
    wrong: float, right: float, delta: float, strength: float, operators: float
) -> None:
    bounds = [wrong_share(wrong + more, right, delta=delta, strength=strength) for more in (0, 1, 5)]
    assert bounds == sorted(bounds)
    thresholds = [tightened(operators, bound, delta) for bound in bounds]
    assert thresholds == sorted(thresholds)
    assert operators <= thresholds[0]
    assert thresholds[-1] <= 1
