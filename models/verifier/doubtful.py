"""Synthetic pairs whose label "different" a person might not share; nothing is calibrated or measured on them.

The edits are blind: they may drop "realistic" from a list of quality tags, put "ocean" for "sea", or exchange what a list joins.
The cross-encoder may learn from such noise, a threshold may not.
"""

from __future__ import annotations

import re
from collections import Counter

import vocabulary as v
from mined import NO_CONTENT
from pairs import Pair
from synthetic import FILE

from cache_service.verification.difference import FUNCTION_WORDS, Words

QUALITY = NO_CONTENT | set(
    v.words(
        "realism detail details shaded fine vibrant crisp clear clean gorgeous pretty nice best award winning professional epic "
        "fashion extreme particular quality trait medium shot photo art artwork concept much degree style light shadow shadows"
    )
)
ALIKE = {frozenset(pair) for pair in v.SYNONYMS} | {frozenset(("sea", "ocean")), frozenset(("sea", "water"))}
MEDIA = tuple(spelling for row in v.MEDIA for spelling in row)


def doubtful(pair: Pair) -> bool:
    """Whether a pair's label is left out of account."""
    if pair.file != FILE or pair.same:
        return False
    a, b = (Words.of(text).lower for text in (pair.a, pair.b))
    gone, new = Counter(a) - Counter(b), Counter(b) - Counter(a)
    content = {word for word in (gone + new) if word not in FUNCTION_WORDS}
    if pair.category in ("scene_medium", "scene_drop_medium"):
        return any(not text.lower().startswith(MEDIA) for text in (pair.a, pair.b))
    if pair.category.endswith("exchange"):
        return _parts(pair.a) == _parts(pair.b)
    return (bool(content) and content <= QUALITY) or frozenset(content) in ALIKE


def _parts(text: str) -> list[str]:
    """What commas and "and" join, without articles, sorted."""
    parts = re.split(r",|\band\b|\bwith\b", re.sub(r"\b(an?|the)\b|[.!?]", "", text.lower()))
    return sorted(" ".join(part.split()) for part in parts)
