"""What is found out about a single word, kept: a prompt has few words that nobody had before."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

T = TypeVar("T")

_WORDS = 8_192
_LONG_WORD = 30  # letters; longer ones aren't remembered, so that nobody's text fills the memory


def remembered(of_word: Callable[[str], T]) -> Callable[[str], T]:
    """A pure function of one word that remembers the last 8,192 words it was asked for; its results are shared and must not be changed."""
    short = lru_cache(maxsize=_WORDS)(of_word)

    @wraps(of_word)
    def remembering(word: str) -> T:
        return short(word) if len(word) <= _LONG_WORD else of_word(word)

    return remembering
