"""An embedder without a model: fast, deterministic, and with vectors that a test may set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Sequence

import numpy as np

from cache_service.embedding.base import Embedding, Reading, Vector
from cache_service.errors import EmbeddingError

WINDOW = 254  # words; as many as MiniLM reads pieces
_LATIN = re.compile(r"[\x20-\x7e\t\n\r\u00a0-\u024f\u0300-\u036f\u2010-\u2027\u20ac]")


class FakeEmbedder:
    """Texts that share words are close: a text's vector is the mean of its words' random ones.

    vectors: what a test sets, by text. broken: texts that fail. asked: every text that was embedded, in order.
    Characters outside the Latin script are unknown to it, words after the 254th unread.
    """

    model_id = "fake@1"

    def __init__(self, dimension: int = 384) -> None:
        self.dimension = dimension
        self.vectors: dict[str, Vector] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self._closed = False

    def read(self, text: str) -> Reading:
        """Words are its pieces."""
        if any(0xD800 <= ord(character) < 0xE000 for character in text):
            raise EmbeddingError("the text is no Unicode")
        words = list(re.finditer(r"\w+|[^\w\s]", text))
        cut = words[WINDOW].start() if len(words) > WINDOW else None
        pieces = tuple(word.group().lower() for word in words[:WINDOW])
        unknown = tuple((at, at + 1) for at, each in enumerate(text[:cut]) if not _LATIN.match(each))
        return Reading(text, (), pieces, unknown, cut)

    async def embed(self, texts: Sequence[str | Reading]) -> list[Embedding]:
        """At once, without a thread."""
        if self._closed:
            raise EmbeddingError("the embedder is closed")
        return [self._embed(text) for text in texts]

    def begin(self, reading: Reading) -> Awaitable[Embedding]:
        """Once it is awaited."""
        return self._one(reading)

    async def _one(self, reading: Reading) -> Embedding:
        (embedding,) = await self.embed([reading])
        return embedding

    async def aclose(self) -> None:
        """Every later call fails."""
        self._closed = True

    def _embed(self, text: str | Reading) -> Embedding:
        reading = text if isinstance(text, Reading) else self.read(text)
        self.asked.append(reading.text)
        if reading.text in self.broken:
            raise EmbeddingError("the text can't be embedded")
        known = ["".join(filter(_LATIN.match, word)) for word in reading.pieces]
        vector = self.vectors.get(reading.text)
        return Embedding(self._mean(known) if vector is None else vector, reading.pieces, reading.unknown, reading.cut)

    def _mean(self, words: Sequence[str]) -> Vector:
        total = self._direction("")
        for word in words:
            total = total + 4.0 * self._direction(word)
        unit: Vector = (total / np.linalg.norm(total)).astype(np.float32)
        return unit

    def _direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        direction = np.random.default_rng(seed).standard_normal(self.dimension)
        return direction / np.linalg.norm(direction)
