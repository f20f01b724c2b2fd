"""What is kept of single words: enough to save work, never a long text."""

from __future__ import annotations

from cache_service.verification.remembered import remembered


def test_a_word_is_looked_up_once_and_a_long_one_is_not_kept() -> None:
    """Nobody's text fills the memory: what is over 30 letters long is worked out each time."""
    asked: list[str] = []

    @remembered
    def length(word: str) -> int:
        asked.append(word)
        return len(word)

    assert [length(word) for word in ("cube", "cube", "x" * 31, "x" * 31)] == [4, 4, 31, 31]
    assert asked == ["cube", "x" * 31, "x" * 31]
