"""An attribute that has moved to another thing is found, however it is said; one that stays with its thing never counts as moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.verification.attributes import ATTRIBUTES, moved_attribute

NOUNS = ("cube", "sphere", "dog", "hunter", "table", "lamp", "wizard", "bridge")
SAID = ("a {a} {n}", "a {n} that is {a}", "the {n} which is {a}", "one {a} {n}")
TYPES = ("red", "wooden", "big", "round", "wet", "leather")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a soft toy and a hunter", "a toy and a soft hunter"),
        ("a car made of wood and a picture frame made of metal", "a metallic car and a wooden picture frame"),
        ("a bear that is pink, one truck, and a golden handbag", "a pink handbag, a golden bear and a truck"),
        ("a bench with a hat that is blue", "a blue bench with a hat"),
        ("several birds stand in a white puddle", "in a puddle a number of white birds are standing"),
        ("a square slice of pie on a round plate", "a square plate with a round slice of pie"),
        ("the dirty farmer loves a violet penguin", "a dirty penguin is being loved by a purple farmer"),
    ],
)
def test_what_was_said_of_one_thing_is_not_said_of_another(one: str, other: str) -> None:
    """Both ways round."""
    assert moved_attribute(one, other)
    assert moved_attribute(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a soft toy and a hunter", "a hunter and a toy that is soft"),
        ("a triangular slice of pie", "a slice of pie that is triangular"),
        ("a red, white and blue fire hydrant", "a fire hydrant that is red, white and blue"),
        ("a large dog stands by a tree", "a dog that is huge is standing by a tree"),
        ("a cat", "a black cat"),
        ("", ""),
        ("red", "red"),
    ],
)
def test_the_same_thing_said_otherwise_has_not_moved(one: str, other: str) -> None:
    """Both ways round."""
    assert moved_attribute(one, other) is None
    assert moved_attribute(other, one) is None


@given(st.data())
def test_exchanged_attributes_are_found_in_any_wording(data: st.DataObject) -> None:
    """And kept ones never are."""
    first, second = data.draw(st.lists(st.sampled_from(NOUNS), min_size=2, max_size=2, unique=True))
    one, two = data.draw(st.lists(st.sampled_from(TYPES), min_size=2, max_size=2, unique=True))

    def said(*things: tuple[str, str]) -> str:
        return " and ".join(
            data.draw(st.sampled_from(SAID)).format(a=a, n=n) for a, n in data.draw(st.permutations(things))
        )

    asked = said((one, first), (two, second))
    assert moved_attribute(asked, said((two, first), (one, second)))
    assert moved_attribute(asked, said((one, first), (two, second))) is None


@given(
    st.text(max_size=80),
    st.lists(st.sampled_from([*ATTRIBUTES, *NOUNS, "that", "is", "made", "of", "and", ","])).map(" ".join),
)
def test_any_text_is_read(one: str, other: str) -> None:
    """No text raises, and a text against itself has moved nothing."""
    moved_attribute(one, other)
    assert moved_attribute(one, one) is None
    assert moved_attribute(other, other) is None
