"""What callers may rely on from an embedder.

An embedder turns a text into a point on the unit sphere, and says what of the text it could *not* see: words it has no
pieces for, and everything after its window. Two texts that differ only there have cosine 1.000, so the verifier compares
those parts itself (measured: two Chinese sentences that differ in cat/dog; two prompts that differ in an emoji).

Raised: `EmbeddingError`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One text's vector and what the model saw of the text.

    vector: float32, shape (dimension,), unit length.
    pieces: the word pieces that were read, without the special ones ("a", "mini", "##lm").
    unknown: half-open character spans of the text that the tokenizer mapped to `[UNK]`.
    cut: character offset from which on the text was not read, or None if all of it was.
    """

    vector: Vector
    pieces: tuple[str, ...]
    unknown: tuple[tuple[int, int], ...]
    cut: int | None


class Embedder(Protocol):
    """Turns texts into embeddings; equal texts give equal vectors within float32 rounding of one process."""

    @property
    def model_id(self) -> str:
        """Names the weights and the pooling, e.g. "all-MiniLM-L6-v2@53aa5117"; vectors of two ids are never compared."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding for each text, in order; CPU work runs in a thread. Raises EmbeddingError."""

    async def aclose(self) -> None:
        """Frees threads and the model; idempotent."""
