"""What callers may rely on from an embedder.

An embedder turns a text into a point on the unit sphere, and says what of the text it could *not* see: words it has no
pieces for, and everything after its window. Two texts that differ only there have cosine 1.000, so the verifier compares
those parts itself (measured: two Chinese sentences that differ in cat/dog; two prompts that differ in an emoji).

Raised: `EmbeddingError`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]


class Seen(Protocol):
    """What the model saw of a text."""

    @property
    def unknown(self) -> tuple[tuple[int, int], ...]:
        """Half-open character spans that the tokenizer mapped to `[UNK]` or dropped."""

    @property
    def cut(self) -> int | None:
        """Character offset from which on the text was not read, or None if all of it was."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the model reads it, before it is embedded: what is `Seen` of it.

    ids: of the word pieces, with the special ones; only the embedder that read it can make sense of them.
    pieces: the same without the special ones ("a", "mini", "##lm").
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    unknown: tuple[tuple[int, int], ...]
    cut: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One text's vector and what was `Seen` of the text.

    vector: float32, shape (dimension,), unit length. pieces: as in `Reading`.
    """

    vector: Vector
    pieces: tuple[str, ...]
    unknown: tuple[tuple[int, int], ...]
    cut: int | None


class Embedder(Protocol):
    """Turns texts into embeddings; equal texts give equal vectors within the rounding of the engine (cosine ≥ 0.9999)."""

    @property
    def model_id(self) -> str:
        """Names the weights and the pooling, e.g. "all-MiniLM-L6-v2@53aa5117"; vectors of two ids are never compared."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    def read(self, text: str) -> Reading:
        """What `embed` may be given in place of the text, so that others can look at it meanwhile. CPU work of 0.02 ms, of a megabyte's
        text 10 ms. Raises EmbeddingError.
        """

    async def embed(self, texts: Sequence[str | Reading]) -> list[Embedding]:
        """One embedding for each text, in order; CPU work runs in a thread. Raises EmbeddingError."""

    def begin(self, reading: Reading) -> Awaitable[Embedding]:
        """One text's, begun before anybody waits for it. Raises EmbeddingError, at once or where it is awaited."""

    async def aclose(self) -> None:
        """Frees threads and the model; idempotent."""
