"""What a call costs in tokens.

Pictures, gpt-image-2 on: with q by quality (16 … 96) and L, S the long and short edge, `s = (2qS + L) // (2L)` and
tokens = ceil(q·s·(2,000,000 + W·H) / 4,000,000); it reproduces every figure published or measured so far. Earlier models
have one figure for each of three shapes. A partial image adds 100. Text: about four characters a token.
"""

from __future__ import annotations

from collections.abc import Mapping

from cache_service.simulator.catalog import Ladder

PARTIAL_IMAGE_TOKENS = 100
CHARACTERS_PER_TOKEN = 4


def image_tokens(ladder: Ladder, quality: str, width: int, height: int) -> int:
    """Output tokens of one picture; a quality the model doesn't have counts as its finest."""
    if ladder.q is not None:
        q = _at(ladder.q, quality)
        long_edge, short_edge = max(width, height), min(width, height)
        s = (2 * q * short_edge + long_edge) // (2 * long_edge)
        return -(-q * s * (2_000_000 + width * height) // 4_000_000)
    shape = ladder.square if width == height else ladder.portrait if width < height else ladder.landscape
    return _at(shape or {}, quality)


def text_tokens(text: str) -> int:
    """Estimated tokens of a text; 0 for the empty one."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _at(figures: Mapping[str, int], quality: str) -> int:
    return figures[quality] if quality in figures else max(figures.values(), default=0)
