"""Two things that stand otherwise to each other are no hit, whichever of them is named first; the same place said the other way round is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.embedding.base import Embedding
from cache_service.verification.base import Different
from cache_service.verification.facts import gather
from cache_service.verification.places import another_place
from cache_service.verification.rules import RulesVerifier

THINGS = (
    "a toy car",
    "the teddy bear",
    "two people",
    "a wooden chair",
    "a bowl of fruit",
    "a red cube",
    "a blue sphere",
    "a bus",
)
# What is said of the first thing, and which place that is with the two exchanged.
PLACES = {
    "in front of": "behind",
    "behind": "in front of",
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
    "next to": "next to",
    "near": "near",
}
ALIKE = frozenset(("next to", "near"))
two_things = st.lists(st.sampled_from(THINGS), min_size=2, max_size=2, unique=True)
places = st.sampled_from(sorted(PLACES))


def parts(prompt: str) -> list[str]:
    """What `another_place` reads."""
    segments = gather(prompt, Embedding(np.zeros(1, np.float32), (), (), None))["segments"]
    return [part for segment in segments for part in segment]


@given(things=two_things, one=places, other=places, named_first=st.booleans())
def test_another_place_is_found_whichever_thing_is_named_first(
    things: list[str], one: str, other: str, named_first: bool
) -> None:
    """And the same place never counts as another."""
    first, second = things
    said = f"{first} {one} {second}"
    met = f"{first} {other} {second}" if named_first else f"{second} {PLACES[other]} {first}"
    same = one == other or {one, other} <= ALIKE
    assert (another_place(parts(said), parts(met)) is None) == same
    assert (another_place(parts(met), parts(said)) is None) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a bird in a tree", "a bird on a tree"),
        ("a lamp on a desk", "a lamp above a desk"),
        (
            "two birds walking on a sidewalk next to patches of grass",
            "two birds walking next to patches of grass on a sidewalk",
        ),
        ("a cat on a sofa and a cat near the sofa", "a cat near the sofa and a cat on a sofa"),
        ("a cat on a sofa", "a dog near a table"),
        ("a cat", "a cat on a sofa"),
    ],
)
def test_what_may_be_said_for_it_or_can_not_be_told_is_left_open(one: str, other: str) -> None:
    """Both ways round."""
    assert another_place(parts(one), parts(other)) is None
    assert another_place(parts(other), parts(one)) is None


def test_the_reason_names_both() -> None:
    """For the operator who looks at a miss."""
    rules = RulesVerifier()
    seen = Embedding(np.zeros(1, np.float32), (), (), None)
    asked, stored = (
        rules.analyse(prompt, seen)
        for prompt in ("a toy car in front of a teddy bear", "a teddy bear to the right of a toy car")
    )
    assert rules.verify(asked, stored, "images") == Different("place front / left of teddy bear and toy car")


@given(things=two_things, place=places, other=places)
def test_what_stands_by_it_stands_by_the_thing(things: list[str], place: str, other: str) -> None:
    """A house with a tree in front of it is a tree in front of a house, and no house in front of a tree."""
    first, second = things
    said = parts(f"{first} with {second} {place} it")
    same = place == other or {place, other} <= ALIKE
    assert (another_place(said, parts(f"{second} {other} {first}")) is None) == same
    if place not in ALIKE:
        assert another_place(said, parts(f"{first} {place} {second}")) is not None
