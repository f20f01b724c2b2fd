"""What stands behind a label or describes a thing may not go to another one; whole things and plain tags may stand anywhere."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.embedding.base import Embedding
from cache_service.verification.base import Same, Verdict
from cache_service.verification.owners import Part, by_unit, described, exchanged, labelled
from cache_service.verification.rules import RulesVerifier

VERIFIER = RulesVerifier()
LABELS = ("roof", "Dora", "her coat", "his coat", "window 2", "evening", "on the left")
TEXTS = ("straw", "a heron", "long sleeves", "reading", "very old", "snow on a hill")
WITH_ARTICLES = ("a miller", "two mermaids", "the harbour", "my pony")
BARE = ("miller", "mermaid", "harbour town", "pony")
DESCRIPTIONS = (
    "yawning",
    "carrying a basket",
    "painted with flowers",
    "made of glass",
    "with a lantern",
    "not moving",
    "awake",
    "wet and hairy",
    "tiny",
)
TAGS = ("oil painting", "soft light", "by Jan Maas", "trending on artstation")


def chosen(texts: tuple[str, ...], count: int) -> st.SearchStrategy[list[str]]:
    """So many different ones, in any order."""
    return st.lists(st.sampled_from(texts), min_size=count, max_size=count, unique=True)


def verdict(asked: str, stored: str, operation: str = "images") -> Verdict:
    """Whether the stored prompt may answer the asked one."""
    one, other = (
        VERIFIER.analyse(prompt, Embedding(np.zeros(1, np.float32), (), (), None)) for prompt in (asked, stored)
    )
    return VERIFIER.verify(one, other, operation)


@given(
    labels=chosen(LABELS, 2), texts=chosen(TEXTS, 2), mark=st.sampled_from([", ", "; ", ". ", "\n"]), chat=st.booleans()
)
def test_what_two_labels_own_is_not_exchanged(labels: list[str], texts: list[str], mark: str, *, chat: bool) -> None:
    """Whatever parts the two, and in questions too."""
    one, other = labels
    this, that = texts
    said = f"{one}: {this}{mark}{other}: {that}"
    assert not isinstance(verdict(said, f"{one}: {that}{mark}{other}: {this}", "chat" if chat else "images"), Same)


@given(things=chosen(WITH_ARTICLES, 3) | chosen(BARE, 3), said=chosen(DESCRIPTIONS, 3), tag=st.sampled_from(TAGS))
def test_what_is_said_of_things_is_not_exchanged(things: list[str], said: list[str], tag: str) -> None:
    """Among two, or by three in turn; a tag that moves at the same time doesn't hide it."""
    first, *rest = (", ".join(each) for each in zip(things, said, strict=True))
    for others in list(permutations(said))[1:]:
        moved = ", ".join(", ".join(each) for each in zip(things, others, strict=True))
        assert not isinstance(verdict(", ".join((first, *rest, tag)), f"{tag}, {moved}"), Same)


@given(things=chosen(BARE, 3), said=chosen(DESCRIPTIONS, 3), data=st.data())
def test_things_may_take_what_is_said_of_them_along(things: list[str], said: list[str], data: st.DataObject) -> None:
    """Whole things in any order are the same picture."""
    described_things = [", ".join(each) for each in zip(things, said, strict=True)]
    others = data.draw(st.permutations(described_things))
    assert isinstance(verdict(", ".join(described_things), ", ".join(others)), Same)


@given(description=chosen(DESCRIPTIONS[:-1], 3), data=st.data())
def test_tags_of_one_thing_may_stand_anywhere(description: list[str], data: st.DataObject) -> None:
    """Most prompts are of this kind. (A lone size stays where it is.)"""
    tags = [*description, *TAGS]
    assert isinstance(
        verdict(f"a mermaid, {', '.join(tags)}", f"a mermaid, {', '.join(data.draw(st.permutations(tags)))}"), Same
    )


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("Dach: Stroh, Boden: Holz", "Dach: Holz, Boden: Stroh"),
        ("un roi, assis, une reine, debout", "un roi, debout, une reine, assis"),
        ("un uomo, con barba, una donna, con un cane", "una donna, con barba, un uomo, con un cane"),
    ],
)
def test_nothing_is_exchanged_in_other_languages(asked: str, stored: str) -> None:
    """Where it isn't known what describes, every segment may be said of the one before it."""
    assert not isinstance(verdict(asked, stored), Same)


@given(
    beings=chosen(("dwarf", "old elf", "wooden teapot", "squire"), 2),
    said=chosen(("grumpy", "sly", "intact", "naive"), 2),
)
def test_lone_words_behind_beings_are_not_exchanged(beings: list[str], said: list[str]) -> None:
    """Whatever the word, and whichever is named first; a tag of the whole picture may stand anywhere."""
    (one, other), (this, that) = beings, said
    prompt = f"{one}, {this}, {other}, {that}, digital art"
    assert not isinstance(verdict(prompt, f"digital art, {other}, {this}, {one}, {that}"), Same)
    assert isinstance(verdict(prompt, f"digital art, {other}, {that}, {one}, {this}"), Same)


@pytest.mark.parametrize(
    "prompt",
    [
        "un roi, {0}, une reine, {1}, un prince, {2}",
        "ein Koch, {0}, eine Magd, {1}, mein Vater, {2}",
        "una torre, {0}, un muro, {1}, el puente, {2}",
    ],
)
def test_three_in_a_circle_are_no_hit_in_languages_with_articles(prompt: str) -> None:
    """Each thing has taken what was said of the one before."""
    said = ("grandissimo", "brunoblu", "altero")
    assert not isinstance(verdict(prompt.format(*said), prompt.format(*said[1:], said[0])), Same)


TIED = (("he opens a door", "he finds a map"), ("it is asleep", "it snores"))


@pytest.mark.parametrize("told", TIED)
def test_what_is_told_with_pronouns_keeps_its_order(told: tuple[str, str]) -> None:
    """What one does first; and of whom, where it may be several."""
    first, then = told
    assert isinstance(verdict(f"a tall fox, {first}, {then}, mist", f"mist, a tall fox, {first}, {then}"), Same)
    assert not isinstance(verdict(f"a tall fox, {first}, {then}, mist", f"a tall fox, {then}, {first}, mist"), Same)
    assert not isinstance(verdict(f"an old man, a black dog, {first}", f"an old man, {first}, a black dog"), Same)


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("portrait of a sailor, black and white, film grain", "portrait of a sailor, film grain, black and white"),
        ("a sailor, teal and orange, 35mm film, fog", "a sailor, fog, 35mm film, orange and teal"),
        ("a city on a hill, golden hour, a sea in the background", "a city on a hill, a sea in the background, golden hour"),
        ("a witch, red cape, a low angle shot, an oil painting", "a witch, an oil painting, a low angle shot, red cape"),
        ("a white cat, a black dog, dusk", "dusk, a black dog, a white cat"),
        ("a wolf, tiny, with a hat, a lamb", "a wolf, with a hat, tiny, a lamb"),
    ],
)  # fmt: skip
def test_what_is_said_of_the_picture_ties_nothing(asked: str, stored: str) -> None:
    """Only things can own what stands behind them."""
    assert isinstance(verdict(asked, stored), Same)


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("cube, red, steel ball", "cube, steel ball, red"),
        ("a wolf, long fur, a lamb", "a wolf, a lamb, long fur"),
        ("an old tower, with a flag, a new tower", "an old tower, a new tower, with a flag"),
    ],
)
def test_what_describes_stays_behind_its_thing(asked: str, stored: str) -> None:
    """Where there are several things."""
    assert not isinstance(verdict(asked, stored), Same)


def test_segments_in_other_languages_may_change_places() -> None:
    """Two tags that change places are no exchange."""
    assert isinstance(verdict("ein Schloss, Nebel, Mondlicht, Stille", "ein Schloss, Mondlicht, Nebel, Stille"), Same)


def parts(*texts: str) -> list[Part]:
    """Segments with the marks behind them: "walls:"."""
    return [Part(text.rstrip(":;,").split(), text[len(text.rstrip(":;,")) :], text.rstrip(":;,")) for text in texts]


def test_a_label_owns_all_up_to_the_next() -> None:
    """What stands before the first belongs to none."""
    owned = labelled(parts("comic,", "the walls:", "brick,", "moss,", "floor:", "marble"))
    assert owned == [["comic", ""], ["brick", "walls"], ["moss", "walls"], ["marble", "floor"]]


@pytest.mark.parametrize("prompt", [("elf ::", "forest"), ("a long way to say it:", "elf"), ("elf,", "forest:")])
def test_not_every_colon_labels(prompt: tuple[str, ...]) -> None:
    """Two colons part, a long text is none, and behind the last one there is nothing."""
    assert labelled(parts(*prompt)) == []


def test_units_are_parted_by_semicolons() -> None:
    """Each segment goes with the first of its own."""
    assert by_unit(parts("scene one,", "a ball;", "scene two,", "a duel")) == [
        ["a ball", "scene one"],
        ["a duel", "scene two"],
    ]
    assert by_unit(parts("scene one,", "a ball,", "a duel;", "scene two")) == []


def test_one_described_thing_owns_nothing() -> None:
    """There is nobody to exchange with."""
    assert described(parts("mermaid,", "smiling,", "tiny")) == []


def test_what_is_given_away_and_not_returned_is_no_exchange() -> None:
    """A tag that has come to stand behind another one."""
    assert exchanged([["tiny", "elf"], ["sad", "orc"]], [["tiny", "orc"], ["sad", "orc"]]) is None
    assert (
        exchanged([["tiny", "elf"], ["sad", "orc"]], [["tiny", "orc"], ["sad", "elf"]]) == "what is said of elf and orc"
    )
