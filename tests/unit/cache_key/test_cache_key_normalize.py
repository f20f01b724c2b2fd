"""Normalising a prompt never changes what is asked for."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.cache_key.normalize import normalise, prompt_digest

TEXT = st.text(
    alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n\"'“”„«»‘’`「」ab"), max_size=60
)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("  a  red\tcube \n", "a red cube"),
        ('a sign that says "HELLO   WORLD"  in red', 'a sign that says "HELLO   WORLD" in red'),
        ("don't  do  what can't  be done", "don't do what can't be done"),
        ("a poster 'two  spaces'  here", "a poster 'two  spaces' here"),
        ('12" record  on  a table', '12" record on a table'),
        ("“a  b”  c", "“a  b” c"),
        ("a　b", "a b"),  # ideographic space
        ("NASA  logo", "NASA logo"),
    ],
)
def test_white_space_is_one_space_outside_quotes_only(given_text: str, expected: str) -> None:
    assert normalise(given_text, verbatim=False) == expected


def test_chat_messages_keep_their_white_space() -> None:
    assert normalise("if x:\n    y  = 1\n", verbatim=True) == "if x:\n    y  = 1\n"


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert normalise("cafe\u0301", verbatim=False) == normalise("café", verbatim=False)


def test_case_stays() -> None:
    assert normalise("NASA", verbatim=False) != normalise("nasa", verbatim=False)


@given(TEXT, st.booleans())
def test_normalising_twice_is_normalising_once(text: str, verbatim: bool) -> None:
    once = normalise(text, verbatim=verbatim)
    assert normalise(once, verbatim=verbatim) == once


@given(TEXT)
def test_only_white_space_and_composition_ever_change(text: str) -> None:
    def letters(value: str) -> str:
        return "".join(unicodedata.normalize("NFC", value).split())

    assert letters(normalise(text, verbatim=False)) == letters(text)


def test_a_hostile_prompt_of_opening_quotes_takes_linear_time() -> None:
    normalise("“" * 32_000, verbatim=False)
    normalise("'a " * 10_000, verbatim=False)


def test_a_purge_by_prompt_disregards_white_space() -> None:
    assert prompt_digest("a  red cube\n") == prompt_digest("a red cube")
    assert prompt_digest("a red cube") != prompt_digest("a blue cube")
