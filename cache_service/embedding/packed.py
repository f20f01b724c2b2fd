"""Several texts as one row of word pieces, and their vectors out of what the model makes of the row.

A batch padded to its longest text pays for the padding, and a compiler of kernels makes new ones for each shape. So the texts of one
pass stand one behind the other in a single row: a piece attends only to pieces of its own text, positions begin anew with each, and the
only dimension that changes is the row's length. Attention over the whole row is waste that grows with its square: at `PASS_PIECES` about
a tenth of a pass, less than padding cost in batches sorted by length (docs/design/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cache_service.embedding.base import Reading

Matrix: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (texts, dimension)."""
Whole: TypeAlias = npt.NDArray[np.int64]

PASS_PIECES = 256
"""Pieces in one pass, which is also the longest text: about 13 prompts of an image. Two cores in bf16, prompts/s at 128, 192, 256, 384 and
512: 805, 876, 916, 856, 791; in 32-bit floats 394, 436, 483, 445, 413."""

LANE_PIECES = 128
"""Pieces in one of several passes at once, unless a text is longer. Two lanes of one thread each in bf16, prompts/s at 64, 128, 192 and 256: 684, 803,
789, 812, where one pass on both made 492, 558, 601, 627; and a text waits for the shorter pass only half as long."""

IDS, POSITIONS, TEXTS, HIDDEN = "ids", "positions", "texts", "hidden"
"""Names of the exported graph's inputs, int64 of shape (pieces,), and of its output, float32 of shape (pieces, dimension)."""


def pack(readings: Sequence[Reading], length: int) -> tuple[Whole, Whole, Whole]:
    """Ids, positions and each piece's text by number, in a row of that length; what is left over belongs to no text."""
    ids, positions, texts = np.zeros(length, np.int64), np.zeros(length, np.int64), np.full(length, -1, np.int64)
    start = 0
    for number, reading in enumerate(readings):
        end = start + len(reading.ids)
        ids[start:end] = reading.ids
        positions[start:end] = _POSITIONS[: end - start]
        texts[start:end] = number
        start = end
    return ids, positions, texts


_POSITIONS = np.arange(PASS_PIECES)


def unpack(hidden: Matrix, readings: Sequence[Reading]) -> Matrix:
    """A unit vector for each reading: the mean over its own pieces."""
    lengths = [len(reading.ids) for reading in readings]
    starts = np.cumsum([0, *lengths[:-1]])
    sums = np.add.reduceat(hidden[: sum(lengths)], starts, axis=0)  # the mean's direction is the sum's
    unit: Matrix = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit
