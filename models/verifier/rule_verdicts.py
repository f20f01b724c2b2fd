"""What the rules say of labelled pairs: the thresholds are for what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from encoder import load_tokenizer
from pairs import Pair

from cache_service.embedding.base import Embedding
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.verification.base import Same, Unsure
from cache_service.verification.difference import route
from cache_service.verification.learned import OPEN
from cache_service.verification.rules import RulesVerifier

VETO, LEFT_OPEN, SAME = -1, 0, 1
WINDOW = 256  # pieces that the embedding model reads


def rule_verdicts(pairs: Sequence[Pair], minilm: Path) -> np.ndarray:
    """VETO, LEFT_OPEN or SAME for each pair."""
    reader = WordPieceReader(load_tokenizer(minilm), WINDOW)
    rules = RulesVerifier()
    nowhere = np.zeros(384, np.float32)  # the rules don't look at the vector
    analyses = {}
    for text in {text for pair in pairs for text in (pair.a, pair.b)}:
        read = reader.read(text)
        analyses[text] = rules.analyse(text, Embedding(nowhere, read.pieces, read.unknown, read.cut))
    found = []
    for pair in pairs:
        match rules.verify(analyses[pair.a], analyses[pair.b], operation_of(pair)):
            case Same():
                found.append(SAME)
            case Unsure(reason) if reason.startswith(OPEN):
                found.append(LEFT_OPEN)
            case _:
                found.append(VETO)
    return np.array(found)


def operation_of(pair: Pair) -> str:
    """Questions are asked in chats; everything else is drawn."""
    asked = pair.file in ("question", "question_edit") or pair.category.startswith("question_")
    return "chat" if asked or (pair.file == "synthetic" and route(pair.a, pair.b) == "question") else "images"
