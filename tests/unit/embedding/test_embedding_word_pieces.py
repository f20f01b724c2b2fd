"""What the model doesn't see is reported, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cache_service.embedding import word_pieces
from cache_service.embedding.base import Reading
from cache_service.embedding.export import main
from cache_service.embedding.word_pieces import WordPieceReader

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def reader() -> WordPieceReader:
    """MiniLM's tokenizer."""
    assert main(["--models-dir", str(MODELS)]) == 0
    return WordPieceReader(Tokenizer.from_file(str(MODELS / "cache" / "tokenizer.json")), 256)


def unseen(reading: Reading) -> list[str]:
    """The reported texts."""
    return [reading.text[start:end] for start, end in reading.unknown]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat 🐱 here", ["🐱"]),
        ("👩‍👩‍👧 here", ["👩‍👩‍👧"]),
        ("zero\u200bwidth", ["\u200b"]),
        ("soft\u00adhyphen", ["\u00ad"]),
        ("bell\x07 and \x00", ["\x07", "\x00"]),
        ("right \u202eto left", ["\u202e"]),
        ("\ufeffmark", ["\ufeff"]),
        ("x\U000e0041y", ["\U000e0041"]),  # a tag character, as prompts are smuggled in
        ("ガ", ["ガ"]),  # read as カ
        ("カ", []),
        ("कु", ["ु"]),  # the vowel sign u is dropped, ी is not
        ("की", []),
        ("café, cafe\u0301, Ünï, ёлка, ệ", []),
        ("a\tb\r\nc\u00a0d\u3000e", []),
        ("a" * 101, ["a" * 101]),  # too long a word
        ("typed [UNK] out", ["[UNK]"]),
        ("plain ASCII ~ text!", []),
    ],
)
def test_what_the_tokenizer_loses_is_reported(reader: WordPieceReader, text: str, expected: list[str]) -> None:
    """Words without pieces, dropped characters, marks that carry meaning; not white space, case or accents."""
    assert unseen(reader.read(text)) == expected


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_two_texts_read_alike_only_if_a_report_or_a_fold_tells_them_apart(reader: WordPieceReader, text: str) -> None:
    """Without reports, a text is made of its pieces: dropping all white space, accents and case gives the same letters."""
    reading = reader.read(text)
    if reading.unknown or reading.cut is not None:
        return
    normalizer = reader._tokenizer.normalizer
    assert normalizer is not None
    letters = "".join(normalizer.normalize_str(text).split())
    assert "".join(piece.removeprefix("##") if piece != "##" else piece for piece in reading.pieces).replace(
        "#", ""
    ) == letters.replace("#", "")


def test_text_is_cut_after_254_pieces(reader: WordPieceReader) -> None:
    """256 with the two special ones; `cut` is the first character that was not read."""
    fits = "cat " * 254
    assert reader.read(fits).cut is None
    one_more = reader.read(fits + "dog")
    assert (one_more.cut, len(one_more.ids)) == (len(fits), 256)
    longer = reader.read(fits + "  dog 🐱")
    assert longer.cut == len(fits) + 2
    assert len(longer.ids) == 256
    assert longer.ids == reader.read(fits).ids
    assert longer.unknown == ()  # what is cut is compared as a whole


@pytest.mark.parametrize("filler", ["cat ", "a" * 99 + " ", "猫", "한국어", "a" * 101 + " ", "\n", " ,", "\u200b"])
@pytest.mark.parametrize("window", [300, 1000, 4096])
def test_a_huge_text_is_read_as_if_it_were_tokenised_whole(
    reader: WordPieceReader, monkeypatch: pytest.MonkeyPatch, filler: str, window: int
) -> None:
    """Only its beginning is tokenised, wherever the beginning happens to end."""
    text = "the end is not read " + filler * (40_000 // len(filler)) + "end"
    monkeypatch.setattr(word_pieces, "_FIRST_WINDOW", len(text))
    whole = reader.read(text)
    monkeypatch.setattr(word_pieces, "_FIRST_WINDOW", window)
    assert reader.read(text) == whole


def test_a_word_cut_by_the_window_is_read_whole(reader: WordPieceReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole word is too long to have pieces; its first 25 characters alone would have 75."""
    text = "cat " * 200 + "한" * 60 + " end"
    monkeypatch.setattr(word_pieces, "_FIRST_WINDOW", 4 * 200 + 25)
    reading = reader.read(text)
    assert reading.pieces[-2:] == ("[UNK]", "end")
    assert reading.cut is None
