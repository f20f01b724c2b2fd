"""Features are the same from both ends, and routes are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.verification.difference import FEATURES, WordLikeness, features, route

LIKENESS = WordLikeness(np.eye(4, dtype=np.float16), {"red": 0, "blue": 1, "car": 2, "dog": 3})
TEXT = st.lists(
    st.sampled_from(["a", "red", "blue", "car", "dog", "is", "not", "3", "three", ",", "Paris", "who"]), max_size=12
).map(" ".join)


def row(first: str, second: str) -> dict[str, float]:
    """The features by name."""
    return dict(zip(FEATURES, features(first, second, LIKENESS).tolist(), strict=True))


@given(TEXT, TEXT)
def test_features_and_route_are_symmetric(first: str, second: str) -> None:
    """Which of the two was stored can't change a verdict."""
    np.testing.assert_array_equal(features(first, second, LIKENESS), features(second, first, LIKENESS))
    assert route(first, second) == route(second, first)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("a red car and a dog", "a blue car and a dog", "edit"),
        ("a cat, oil painting, moody, 4k", "a cat sleeping on a big bed, moody, 4k, oil painting", "tags"),
        ("who hired the new teacher in Paris", "in Paris, by whom was the new teacher hired", "order"),
        ("write a poem about the sea at night", "at night the sea, a poem", "question"),
        ("a cat on a red dog", "a dog on a red cat", "order"),
        ("who hired the teacher", "who did the teacher hire", "question"),
        ("a man riding a horse", "the horse that is ridden by a man", "caption"),
    ],
)
def test_routes(first: str, second: str, kind: str) -> None:
    """Each kind of pair has a threshold of its own."""
    assert route(first, second) == kind


def test_what_features_say() -> None:
    """Numbers in words and digits are one; swapped attributes break bindings; a negation counts."""
    assert row("three dogs", "3 dogs")["numbers"] == 0
    assert row("three dogs", "4 dogs")["numbers"] == 2
    assert row("a red car and a blue dog", "a blue car and a red dog")["bindings_broken"] == 4
    assert row("a red car and a blue dog", "a dog that is blue and a car that is red")["bindings_broken"] == 0
    assert row("a dog that isn't red", "a dog that is red")["negation"] == 1
    assert row("a cat left of a dog", "a dog right of a cat")["converse"] == 1
    assert row("I like Paris", "I like Rome")["names_low"] == 1
