"""`evaluate`: exactly the decision the service would take for prompt b when a is stored, over a file of labelled pairs.

Rows are JSON objects `{a, b, same, category?}`; a and b are image prompts, or (with the chat operation) user messages or whole
lists of chat messages. Nothing is stored and nothing is sent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cache_service.cache_key.key import CacheKey, form
from cache_service.decision import Directives
from cache_service.embedding.base import Embedder, Embedding
from cache_service.errors import ConfigurationError, EmbeddingError, InvalidRequest
from cache_service.operations.base import Asked, Operation
from cache_service.verification.base import Same, Verifier

CHUNK = 256  # pairs whose prompts are embedded together


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts and whether they ask for the same thing."""

    a: Any
    b: Any
    same: bool
    category: str = ""


@dataclass(slots=True)
class Tally:
    """Counts of one category. Rates are None where there is nothing to divide by."""

    pairs: int = 0
    same: int = 0
    hits: int = 0
    true_hits: int = 0

    @property
    def true_hit_rate(self) -> float | None:
        """Same pairs served / same pairs."""
        return self.true_hits / self.same if self.same else None

    @property
    def false_hit_rate(self) -> float | None:
        """Different pairs served / different pairs."""
        different = self.pairs - self.same
        return (self.hits - self.true_hits) / different if different else None

    def add(self, pair: Pair, *, hit: bool) -> None:
        """Counts one pair."""
        self.pairs += 1
        self.same += pair.same
        self.hits += hit
        self.true_hits += hit and pair.same

    def as_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        return {
            "pairs": self.pairs,
            "same": self.same,
            "hits": self.hits,
            "true_hit_rate": self.true_hit_rate,
            "false_hit_rate": self.false_hit_rate,
        }


@dataclass(frozen=True, slots=True)
class Served:
    """A pair that would be served, for a person to judge."""

    pair: Pair
    similarity: float
    reason: str


@dataclass(slots=True)
class Evaluation:
    """What the pairs of one file came to. gate: least cosine."""

    gate: float
    total: Tally = field(default_factory=Tally)
    by_category: dict[str, Tally] = field(default_factory=dict)
    wrong: list[Served] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The figures, without the pairs themselves."""
        return {
            **self.total.as_json(),
            "gate": self.gate,
            "by_category": {name: tally.as_json() for name, tally in sorted(self.by_category.items())},
        }

    def wrong_as_json(self) -> list[dict[str, Any]]:
        """The false hits, worst (most similar) first."""
        worst = sorted(self.wrong, key=lambda served: -served.similarity)
        return [{**asdict(served.pair), "similarity": served.similarity, "reason": served.reason} for served in worst]


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a JSON lines file, gzipped or not. Raises ConfigurationError naming the line at fault."""
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _pair(line, f"{path}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:  # gzip: cut off, a bad checksum, bad blocks
        where = f"{path}, after line {number}" if number else f"{path}"
        raise ConfigurationError(f"{where}: {error}") from error


async def evaluate(
    pairs: Iterable[Pair], operation: Operation, *, embedder: Embedder, verifier: Verifier, threshold: float
) -> Evaluation:
    """Decides every pair as the service would with a stored. threshold: least cosine."""
    result = Evaluation(threshold)
    remaining = iter(pairs)
    while chunk := list(islice(remaining, CHUNK)):
        decided = await _decide(chunk, operation, embedder, verifier, threshold)
        for pair, served in zip(chunk, decided, strict=True):
            result.total.add(pair, hit=served is not None)
            result.by_category.setdefault(pair.category, Tally()).add(pair, hit=served is not None)
            if served is not None and not pair.same:
                result.wrong.append(served)
    return result


async def _decide(
    chunk: Sequence[Pair], operation: Operation, embedder: Embedder, verifier: Verifier, threshold: float
) -> list[Served | None]:
    """What is served for each pair; embeds only where the exact tier and the partition leave the question open."""
    keyed = [(_keyed(pair.a, operation), _keyed(pair.b, operation)) for pair in chunk]
    prompts = {
        key.prompt
        for stored, asked in keyed
        if stored and asked and _comparable(stored, asked)
        for key in (stored[1], asked[1])
    }
    embeddings = await _embed(sorted(prompts), embedder)
    return await asyncio.to_thread(
        lambda: [
            _served(pair, stored, asked, embeddings, verifier, threshold)
            for pair, (stored, asked) in zip(chunk, keyed, strict=True)
        ]
    )


def _served(
    pair: Pair,
    stored: tuple[Asked, CacheKey] | None,
    asked: tuple[Asked, CacheKey] | None,
    embeddings: dict[str, Embedding],
    verifier: Verifier,
    threshold: float,
) -> Served | None:
    if stored is None or asked is None:
        return None
    if stored[1].exact == asked[1].exact:
        return Served(pair, 1.0, "equal key")
    left, right = embeddings.get(stored[1].prompt), embeddings.get(asked[1].prompt)
    if not _comparable(stored, asked) or left is None or right is None:
        return None
    similarity = float(left.vector @ right.vector)
    if similarity < Directives().threshold(threshold):
        return None
    analyses = [verifier.analyse(key.prompt, embedding) for key, embedding in ((asked[1], right), (stored[1], left))]
    verdict = verifier.verify(analyses[0], analyses[1], asked[0].operation)
    return Served(pair, similarity, verdict.reason) if isinstance(verdict, Same) else None


def _comparable(stored: tuple[Asked, CacheKey], asked: tuple[Asked, CacheKey]) -> bool:
    """Whether the semantic tier would compare them at all."""
    same_partition = stored[1].partition == asked[1].partition
    return same_partition and asked[0].semantic and stored[1].exact != asked[1].exact


async def _embed(prompts: list[str], embedder: Embedder) -> dict[str, Embedding]:
    """The prompts' embeddings; one that the model can't read is left out, as the service would go on without it."""
    try:
        return dict(zip(prompts, await embedder.embed(prompts), strict=True))
    except EmbeddingError:
        if len(prompts) <= 1:
            return {}
        middle = len(prompts) // 2
        return {**await _embed(prompts[:middle], embedder), **await _embed(prompts[middle:], embedder)}


def _keyed(prompt: Any, operation: Operation) -> tuple[Asked, CacheKey] | None:
    """The request a prompt stands for; None for one the service would refuse."""
    body: dict[str, Any]
    if operation.name == "images":
        body = {"prompt": prompt}
    else:
        body = {"messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt}
    try:
        asked = operation.parse(body)
        return asked, form(asked, namespace="default", group="evaluate")
    except (
        InvalidRequest,
        ValueError,
    ):  # ValueError: half a surrogate pair or a NaN, which the service refuses as text
        return None


def _pair(line: str, where: str) -> Pair:
    try:
        row = json.loads(line)
        pair = Pair(row["a"], row["b"], row["same"], _printable(row.get("category", "")))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{where}: expected {{a, b, same, category}}, got {line.strip()[:80]!r}") from error
    if not isinstance(pair.same, bool | int) or not all(isinstance(p, str | list) for p in (pair.a, pair.b)):
        raise ConfigurationError(f"{where}: a and b must be texts or lists of messages, same true or false")
    return Pair(pair.a, pair.b, bool(pair.same), pair.category)


def _printable(category: Any) -> str:
    """The category's text; half a surrogate pair, which no terminal or file takes, becomes a question mark."""
    return str(category).encode("utf-8", "replace").decode()
