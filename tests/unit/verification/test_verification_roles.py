"""Two things that have exchanged their roles are found though the sentence is worded otherwise; the same roles never count as exchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.verification.roles import exchanged_roles

BEINGS = ("dog", "farmer", "robot", "nurse", "panda", "sailor")
PLACES = ("table", "boat", "garden", "lawn", "box", "basket")
DONE = (("carrying", "a ladder"), ("eating", "soup"), ("pulling", "a sledge"), ("reading", "a letter"))
TOGETHER = ("while", "as")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a kind of cheese is on a tray along with grapes in a bowl", "cheese in a bowl and grapes on a tray"),
        ("with a mill in the background, a goat is positioned in a meadow", "a mill stands in a meadow with a goat in the background"),
        ("people walk down a pier while a person sits on a crate", "people sit on a crate as a person walks down a pier"),
        ("some kids are watching a boy playing a harp", "some kids are playing a harp while a boy looks on"),
        ("a ferry is unloading cars next to a truck", "a truck unloads cars adjacent to a ferry"),
        ("a tram is positioned ahead of a truck", "a truck is driving in front of the tram"),
        ("a lamp above a mirror", "the mirror hangs over a lamp"),
        ("a baker who carries a cat and a nurse", "a cat who carries a baker near a nurse"),
    ],
)  # fmt: skip
def test_exchanged_roles_are_found(one: str, other: str) -> None:
    """Both ways round."""
    assert exchanged_roles(one, other)
    assert exchanged_roles(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a man carries a ladder near a barn", "a ladder is carried by a man close to a barn"),
        ("two girls are holding a bear near a crowd", "the bear is being held by a couple of girls near a crowd"),
        ("a bench under a tree", "the tree stands above the bench"),
        ("a truck in front of a bus", "a bus that is behind a truck"),
        ("a man and a woman sit on a bench in a park", "in a park, a woman and a man are sitting on a bench"),
        ("a boy and a dog playing with a kite on the beach", "a dog and a boy are playing on the beach with a kite"),
        ("a bike pulled by several dogs carries a child", "several dogs are pulling a bike that carries a child"),
        ("a boy runs ahead of a girl", "a girl runs behind a boy"),
        ("a man riding a horse", "a horse ridden by a man"),
        ("a man is on a beach holding a kite", "a man holding a kite on a beach"),
        ("a nurse with a lamp stands next to a bed", "a bed next to a nurse with a lamp"),
        ("a man flying through the air while riding a board", "a man while riding a board is flying through the air"),
        ("", "a cat on a mat"),
        ("carrying", "on on"),
    ],
)
def test_the_same_roles_in_other_words_are_no_exchange(one: str, other: str) -> None:
    """Passives, inverses, lists and places said first."""
    assert exchanged_roles(one, other) is None
    assert exchanged_roles(other, one) is None


two_beings = st.lists(st.sampled_from(BEINGS), min_size=2, max_size=2, unique=True)
two_places = st.lists(st.sampled_from(PLACES), min_size=2, max_size=2, unique=True)
two_deeds = st.lists(st.sampled_from(DONE), min_size=2, max_size=2, unique=True)


@given(beings=two_beings, places=two_places, joint=st.sampled_from(TOGETHER), turned=st.booleans())
def test_who_is_where_may_be_said_in_any_order_but_not_exchanged(
    beings: list[str], places: list[str], joint: str, *, turned: bool
) -> None:
    """Both scenes, either first."""
    (one, other), (here, there) = beings, places
    said = f"a {one} sits on a {here} {joint} a {other} stands in a {there}"
    kept, exchanged = (
        f"the {first} is in a {place} and the {second} rests on a {rest}"
        for first, second, place, rest in ((other, one, there, here), (one, other, there, here))
    )
    if turned:
        said = f"a {other} stands in a {there} {joint} a {one} sits on a {here}"
    assert exchanged_roles(said, kept) is None
    assert exchanged_roles(said, exchanged)


@given(beings=two_beings, deeds=two_deeds, joint=st.sampled_from(TOGETHER))
def test_who_does_what_may_be_said_in_any_order_but_not_exchanged(
    beings: list[str], deeds: list[tuple[str, str]], joint: str
) -> None:
    """Two at once, and one alone beside a bystander."""
    (one, other), ((verb, what), (does, thing)) = beings, deeds
    said = f"a {one} is {verb} {what} {joint} a {other} is {does} {thing}"
    assert exchanged_roles(said, f"a {other} {does} {thing} {joint} a {one} is {verb} {what}") is None
    assert exchanged_roles(said, f"a {one} {does} {thing} {joint} a {other} is {verb} {what}")
    alone = f"a {one} is {verb} {what} next to a {other}"
    assert exchanged_roles(alone, f"a {one} {verb} {what} near a {other}") is None
    assert exchanged_roles(alone, f"a {other} is {verb} {what} close to a {one}")


WORDS = (
    *BEINGS,
    *PLACES,
    "is",
    "being",
    "eats",
    "by",
    "with",
    "in",
    "on",
    "and",
    "while",
    "who",
    "of",
    ",",
    "the",
    "carrying",
    "under",
)


@given(st.text(max_size=80), st.lists(st.sampled_from(WORDS), max_size=80))
def test_any_text_is_read_and_the_order_of_the_two_is_nothing(text: str, words: list[str]) -> None:
    """No text raises, none has exchanged roles with itself, and whether some are doesn't hang on which prompt is asked first."""
    said, shuffled = " ".join(words), " ".join(words[::2] + words[1::2])
    for one in (text, said):
        assert exchanged_roles(one, one) is None
        assert (exchanged_roles(one, shuffled) is None) == (exchanged_roles(shuffled, one) is None)


def test_long_texts_are_left_to_others() -> None:
    """The work stays small whatever is sent."""
    long = " ".join(f"a dog{'s' * number} on a mat" for number in range(400))
    assert exchanged_roles(long, long.replace("dog", "cat")) is None


def test_a_passive_of_nobody_is_no_objection() -> None:
    """Who does it may be a thing that only one of the texts has."""
    assert (
        exchanged_roles(
            "all the men are inside a hall; some are seated", "all the folks are inside a hall; some are seated"
        )
        is None
    )
    assert (
        exchanged_roles("folk walk while a man is seen waiting", "people walk while a fellow is seen waiting") is None
    )
