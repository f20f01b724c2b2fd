"""Feature rows of pairs, cached in the work folder by the digest of what they are of."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from encoder import CrossEncoder, encode, load_tokenizer, score
from mined import embed
from pairs import Pair
from torch import Tensor

from cache_service.verification.difference import FEATURES, WordLikeness, features

logger = logging.getLogger("train")
LOW, HIGH = FEATURES.index("encoder_low"), FEATURES.index("encoder_high")


def plain_rows(pairs: Sequence[Pair], minilm: Path, table: Tensor, work: Path) -> np.ndarray:
    """Rows of `FEATURES` in which what other models give is unknown, shape (pairs, features)."""
    path = work / f"rows-{_digest(pairs, FEATURES)}.npy"
    if path.exists():
        return np.load(path)
    likeness = WordLikeness(table.numpy(), load_tokenizer(minilm).get_vocab())
    rows = np.stack([features(pair.a, pair.b, likeness) for pair in pairs])
    np.save(path, rows)
    logger.info("rows of %d pairs", len(rows))
    return rows


def cosines(pairs: Sequence[Pair], minilm: Path, work: Path) -> np.ndarray:
    """The embedding model's cosine of each pair."""
    path = work / f"cosines-{_digest(pairs, ())}.npy"
    if not path.exists():
        texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
        place = {text: number for number, text in enumerate(texts)}
        vectors = embed(texts, minilm)
        first, second = (vectors[[place[getattr(pair, side)] for pair in pairs]] for side in ("a", "b"))
        np.save(path, (first * second).sum(1))
    return np.load(path)


def with_encoder(
    rows: np.ndarray, pairs: Sequence[Pair], minilm: Path, model: CrossEncoder, table: Tensor, work: Path, name: str
) -> np.ndarray:
    """The rows with the cross-encoder's two logits; unknown where a pair is too long for it."""
    path = work / f"scores-{name}-{_digest(pairs, ())}.npy"
    if path.exists():
        scores = np.load(path)
    else:
        tokenizer = load_tokenizer(minilm)
        first, second = encode(tokenizer, [p.a for p in pairs]), encode(tokenizer, [p.b for p in pairs])
        scores = score(model, table, list(zip(first, second, strict=True)))
        np.save(path, scores)
        logger.info("scores of %d pairs", len(scores))
    rows = rows.copy()
    rows[:, LOW], rows[:, HIGH] = scores.min(1), scores.max(1)
    return rows


def _digest(pairs: Sequence[Pair], more: Sequence[str]) -> str:
    content = json.dumps([[pair.a, pair.b] for pair in pairs] + [list(more)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
