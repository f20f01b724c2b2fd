"""How two prompts become one input of the cross-encoder: word pieces of both, each told whether the other side has it.

A piece is *kept* (on both sides, in the same order), *moved* (on both sides, elsewhere) or *own* (on one side only).
The model reads that as its token type, so it need not find the differences, only judge them. Long runs of kept pieces
far from every difference are left out, because they say nothing about the pair: a hundred-word prompt with one word
changed still fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

CLS, SEP = 101, 102  # ids of BERT's uncased vocabulary
MAX_PIECES = 64  # of one pair, with the three special ones; attention's cost grows with the square
LEAST_CONTEXT = 2  # kept pieces beside a difference that are never left out

KEPT, MOVED, OWN = 0, 1, 2
TYPES = 6  # three for each side


@dataclass(frozen=True, slots=True)
class PairPieces:
    """`[CLS] first [SEP] second [SEP]` as ids and token types (side * 3 + KEPT | MOVED | OWN), equally long."""

    ids: tuple[int, ...]
    types: tuple[int, ...]


def pair_pieces(first: Sequence[int], second: Sequence[int], limit: int = MAX_PIECES) -> PairPieces | None:
    """The pair as the model reads it, at most `limit` long, or None where the differences alone are longer than that."""
    matches = _matches(first, second)
    left, right = _statuses(first, second, matches)
    dropped_left, dropped_right = _leave_out(left, right, matches, len(first) + len(second) + 3 - limit)
    ids, types = [CLS], [KEPT]
    for side, (pieces, status, dropped) in enumerate(((first, left, dropped_left), (second, right, dropped_right))):
        for position, piece in enumerate(pieces):
            if position not in dropped:
                ids.append(piece)
                types.append(side * 3 + status[position])
        ids.append(SEP)
        types.append(side * 3 + KEPT)
    return PairPieces(tuple(ids), tuple(types)) if len(ids) <= limit else None


def _matches(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    """Positions of equal pieces that stand in the same order on both sides."""
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]


def _statuses(
    first: Sequence[int], second: Sequence[int], matches: list[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """KEPT, MOVED or OWN for each piece of both sides; a piece is moved as often as the other side has it over."""
    left, right = [OWN] * len(first), [OWN] * len(second)
    for i, j in matches:
        left[i] = right[j] = KEPT
    spare_left = Counter(piece for piece, status in zip(first, left, strict=True) if status == OWN)
    spare_right = Counter(piece for piece, status in zip(second, right, strict=True) if status == OWN)
    common = spare_left & spare_right
    for pieces, status in ((first, left), (second, right)):
        over = common.copy()
        for position, piece in enumerate(pieces):
            if status[position] == OWN and over[piece] > 0:
                status[position] = MOVED
                over[piece] -= 1
    return left, right


def _leave_out(
    left: list[int], right: list[int], matches: list[tuple[int, int]], excess: int
) -> tuple[frozenset[int], frozenset[int]]:
    """The kept pieces to leave out of both sides, farthest from a difference first, until `excess` pieces are gone."""
    if excess <= 0:
        return frozenset(), frozenset()
    near_left, near_right = _distances(left), _distances(right)
    order = sorted(matches, key=lambda match: -min(near_left[match[0]], near_right[match[1]]))
    chosen = [m for m in order[: (excess + 1) // 2] if min(near_left[m[0]], near_right[m[1]]) > LEAST_CONTEXT]
    return frozenset(i for i, _ in chosen), frozenset(j for _, j in chosen)


def _distances(status: list[int]) -> list[int]:
    """For each position, how far the nearest piece is that isn't kept."""
    far = len(status) + 1
    distance = [0 if s != KEPT else far for s in status]
    for position in range(1, len(status)):
        distance[position] = min(distance[position], distance[position - 1] + 1)
    for position in range(len(status) - 2, -1, -1):
        distance[position] = min(distance[position], distance[position + 1] + 1)
    return distance
