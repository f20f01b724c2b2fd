"""What other thresholds would do to pairs that the operator has labelled: each is decided exactly as the service would. Nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cache_service.embedding.base import Embedder
from cache_service.jobs.pairs import Decided, Pair, decide
from cache_service.operations.base import Operation
from cache_service.verification.base import Verifier

FLOOR: Final = 0.8
"""Least cosine that is verified: no threshold is set below it."""
MOST_PAIRS: Final = 200
"""At once: some seconds of the embedder, which serves requests beside them."""


class Explorer:
    """Decides labelled pairs with the embedder and the verifier that serve."""

    def __init__(self, operations: Mapping[str, Operation], embedder: Embedder, verifier: Verifier) -> None:
        self._operations = operations
        self._embedder = embedder
        self._verifier = verifier

    async def decide(self, pairs: Sequence[Pair], operation: str) -> list[Decided]:
        """In their order. operation: of pairs that name none."""
        return await decide(
            pairs,
            self._operations[operation],
            others=self._operations,
            embedder=self._embedder,
            verifier=self._verifier,
            floor=FLOOR,
        )
