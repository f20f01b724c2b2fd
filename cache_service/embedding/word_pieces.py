"""What the model sees of a text: its word pieces, and what falls beside them.

BERT's tokenizer loses text in three ways, and texts that differ only there have the same vector:

- a word without pieces becomes `[UNK]` (most emoji, most Chinese characters, words over 100 characters);
- the normaliser drops characters: control and zero-width ones, variation selectors, and *every* non-spacing mark, among them
  the vowel signs of Hindi and Thai and the voicing mark that tells が from か;
- what follows the window of 256 pieces is not read.

The first two are reported as `unknown` spans, the third as `cut`. Accents (U+0300–036F) and case are dropped too but not
reported: the verifier compares them where they matter, and most people leave them out without meaning anything by it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from tokenizers import Encoding, Tokenizer

from cache_service.embedding.base import Reading
from cache_service.errors import EmbeddingError

UNKNOWN = "[UNK]"
_ACCENTS = range(0x300, 0x370)  # Combining Diacritical Marks
_MAYBE_DROPPED = re.compile(r"[^\x20-\x7e\t\n\r]")  # of ASCII, only control characters are dropped
_FIRST_WINDOW = 16_384  # characters; far more than 256 pieces of any prose
_LONGEST_WORD = (
    100  # characters a word may have before it becomes one `[UNK]`; the tokenizer's `max_input_chars_per_word`
)


class WordPieceReader:
    """Reads texts with one tokenizer, up to `max_pieces` pieces including the two special ones."""

    def __init__(self, tokenizer: Tokenizer, max_pieces: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._kept = max_pieces - 2
        self._is_dropped = lru_cache(maxsize=4096)(self._normalises_away)

    def read(self, text: str) -> Reading:
        """Raises EmbeddingError for a text that is no valid Unicode (lone surrogates)."""
        encoding = self._encode(text)
        ids, pieces = encoding.ids, encoding.tokens[1:-1]
        if len(pieces) <= self._kept and UNKNOWN not in pieces and not _MAYBE_DROPPED.search(text):
            return Reading(text, tuple(ids), tuple(pieces), (), None)
        offsets, cut = encoding.offsets[1:-1], None
        if len(pieces) > self._kept:
            cut = offsets[self._kept][0]
            ids = [*ids[: self._kept + 1], ids[-1]]
            pieces, offsets = pieces[: self._kept], offsets[: self._kept]
        without_piece = [span for piece, span in zip(pieces, offsets, strict=True) if piece == UNKNOWN]
        unknown = _merge([*without_piece, *self._dropped(text, len(text) if cut is None else cut)])
        return Reading(text, tuple(ids), tuple(pieces), unknown, cut)

    def _encode(self, text: str) -> Encoding:
        """The encoding of the text, or of a beginning of it that has the same first pieces (a chat message may have megabytes).

        Cutting the text can only change the pieces of the word that is cut, at most `_LONGEST_WORD` of them.
        """
        window = _FIRST_WINDOW
        try:
            while window < len(text):
                encoding = self._tokenizer.encode(text[:window])
                if len(encoding.ids) > self._kept + 2 + _LONGEST_WORD:
                    return encoding
                window *= 8
            return self._tokenizer.encode(text)
        except (TypeError, UnicodeError) as error:
            raise EmbeddingError("the text is not valid Unicode") from error

    def _dropped(self, text: str, end: int) -> Iterator[tuple[int, int]]:
        for match in _MAYBE_DROPPED.finditer(text, 0, end):
            if self._is_dropped(match.group()):
                yield match.span()

    def _normalises_away(self, character: str) -> bool:
        normalizer = self._tokenizer.normalizer
        seen = normalizer.normalize_str(character) if normalizer is not None else character
        parts = unicodedata.normalize("NFD", character)
        if not seen:
            return ord(parts[0]) not in _ACCENTS
        return any(
            unicodedata.category(part) == "Mn" and ord(part) not in _ACCENTS and part not in seen for part in parts[1:]
        )


def _merge(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The spans in order, without those that lie inside another; neighbours stay apart."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not merged or end > merged[-1][1]:
            merged.append((start, end))
    return tuple(merged)
