"""Labelled pairs: reading them, and deciding each exactly as the service would, with prompt b asked when a is stored.

Rows are JSON objects `{a, b, same, category?, group?, operation?}`; a and b are image prompts, or (with the chat operation) user messages or
whole lists of chat messages. `same` is null where nobody has judged the pair yet. Nothing is stored and nothing is sent.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from cache_service.cache_key.key import CacheKey, form
from cache_service.embedding.base import Embedder, Embedding
from cache_service.errors import ConfigurationError, EmbeddingError, InvalidRequest
from cache_service.operations.base import Asked, Operation
from cache_service.verification.base import Analysis, Same, Scored, ScoringVerifier, Verifier

Keyed: TypeAlias = tuple[Asked, CacheKey]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts and whether they ask for the same thing; `same` is None where nobody has said.

    operation: the row's own, or "". group: pairs made from one text or picture share it; "" stands alone.
    """

    a: Any
    b: Any
    same: bool | None
    category: str = ""
    operation: str = ""
    group: str = ""


class How(StrEnum):
    """By what a pair was decided."""

    EQUAL_KEY = "equal key"
    COMPARED = "compared"
    OTHER_PARTITION = "other partition"
    EXACT_ONLY = "exact-only"
    REFUSED = "refused"
    NOT_EMBEDDED = "not embedded"


@dataclass(frozen=True, slots=True)
class Decided:
    """A pair and what the service would do. similarity: cosine, 1 for equal keys, 0 where nothing was compared.

    scored: the verifier's word; None where it wasn't asked, which is also below the floor. operation: its name.
    """

    pair: Pair
    operation: str
    how: How
    similarity: float = 0.0
    scored: Scored | None = None

    def candidate(self, gate: float) -> bool:
        """Whether it would be found at all. gate: least cosine."""
        return self.how is How.EQUAL_KEY or (self.how is How.COMPARED and self.similarity >= gate)

    def hit(self, gate: float) -> bool:
        """Whether b is answered with what a made."""
        verified = self.scored is not None and isinstance(self.scored.verdict, Same)
        return self.candidate(gate) and (verified or self.how is How.EQUAL_KEY)

    @property
    def reason(self) -> str:
        """Why it is served, or isn't."""
        return self.how.value if self.scored is None else self.scored.verdict.reason


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


def digest(path: Path) -> str:
    """SHA-256 of a file, hex. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error


async def decide(
    pairs: Sequence[Pair],
    operation: Operation,
    *,
    others: Mapping[str, Operation],
    embedder: Embedder,
    verifier: Verifier,
    floor: float,
) -> list[Decided]:
    """Decides pairs whose prompts are embedded together. others: operations that rows may name. floor: least cosine that is verified.

    Embeds only where the exact tier and the partition leave the question open. Raises ConfigurationError for an unknown operation.
    """
    kinds = [_kind(pair, operation, others) for pair in pairs]
    keyed = [(keyed_prompt(pair.a, kind), keyed_prompt(pair.b, kind)) for pair, kind in zip(pairs, kinds, strict=True)]
    open_ones = [how_decided(stored, asked) is How.COMPARED for stored, asked in keyed]
    prompts = {
        each[1].prompt
        for sides, is_open in zip(keyed, open_ones, strict=True)
        if is_open
        for each in sides
        if each is not None
    }
    embeddings = await embed(sorted(prompts), embedder)

    def work() -> list[Decided]:
        judge = Judge(verifier, embeddings, floor)
        return [
            judge.decided(pair, kind.name, stored, asked)
            for pair, kind, (stored, asked) in zip(pairs, kinds, keyed, strict=True)
        ]

    return await asyncio.to_thread(work)


class Judge:
    """Compares prompts whose embeddings are known; each prompt is analysed once."""

    def __init__(self, verifier: Verifier, embeddings: Mapping[str, Embedding], floor: float) -> None:
        self._verifier = verifier
        self._embeddings = embeddings
        self._floor = floor
        self._analyses: dict[str, Analysis] = {}

    def decided(self, pair: Pair, operation: str, stored: Keyed | None, asked: Keyed | None) -> Decided:
        """What the service would do."""
        how = how_decided(stored, asked)
        if stored is None or asked is None or how is not How.COMPARED:
            return Decided(pair, operation, how, float(how is How.EQUAL_KEY))
        left, right = self._embeddings.get(stored[1].prompt), self._embeddings.get(asked[1].prompt)
        if left is None or right is None:
            return Decided(pair, operation, How.NOT_EMBEDDED)
        similarity = float(left.vector @ right.vector)
        if similarity < self._floor:
            return Decided(pair, operation, how, similarity)
        scored = score(self._verifier, self._analysis(asked), self._analysis(stored), operation)
        return Decided(pair, operation, how, similarity, scored)

    def _analysis(self, keyed: Keyed) -> Analysis:
        prompt = keyed[1].prompt
        if prompt not in self._analyses:
            self._analyses[prompt] = self._verifier.analyse(prompt, self._embeddings[prompt])
        return self._analyses[prompt]


def score(verifier: Verifier, asked: Analysis, stored: Analysis, operation: str) -> Scored:
    """The verdict with its score: 1 or 0 from a verifier that has no thresholds."""
    if isinstance(verifier, ScoringVerifier):
        return verifier.score(asked, stored, operation)
    verdict = verifier.verify(asked, stored, operation)
    return Scored(verdict, float(isinstance(verdict, Same)), "")


def how_decided(stored: Keyed | None, asked: Keyed | None) -> How:
    """By what a pair is decided; COMPARED leaves it to the semantic tier."""
    if stored is None or asked is None:
        return How.REFUSED
    if stored[1].exact == asked[1].exact:
        return How.EQUAL_KEY
    if stored[0].semantic != asked[0].semantic or not asked[0].semantic:
        return How.EXACT_ONLY
    return How.COMPARED if stored[1].partition == asked[1].partition else How.OTHER_PARTITION


async def embed(prompts: list[str], embedder: Embedder) -> dict[str, Embedding]:
    """The prompts' embeddings; one that the model can't read is left out, as the service would go on without it."""
    if not prompts:
        return {}
    try:
        return dict(zip(prompts, await embedder.embed(prompts), strict=True))
    except EmbeddingError:
        if len(prompts) == 1:
            return {}
        middle = len(prompts) // 2
        return {**await embed(prompts[:middle], embedder), **await embed(prompts[middle:], embedder)}


def keyed_prompt(prompt: Any, operation: Operation) -> Keyed | None:
    """The request a prompt stands for; None for one the service would refuse."""
    if operation.name == "images":
        return keyed_request({"prompt": prompt}, operation)
    return keyed_request(
        {"messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt}, operation
    )


def keyed_request(body: Mapping[str, Any], operation: Operation) -> Keyed | None:
    """A request and its key; None for one the service would refuse."""
    try:
        asked = operation.parse(body)
        return asked, form(asked, namespace="default", group="evaluate")
    except (
        InvalidRequest,
        ValueError,
    ):  # ValueError: half a surrogate pair or a NaN, which the service refuses as text
        return None


def _kind(pair: Pair, operation: Operation, others: Mapping[str, Operation]) -> Operation:
    if not pair.operation or pair.operation == operation.name:
        return operation
    try:
        return others[pair.operation]
    except KeyError:
        raise ConfigurationError(
            f"unknown operation {pair.operation!r} of a pair; one of: {', '.join(others) or operation.name}"
        ) from None


def _pair(line: str, where: str) -> Pair:
    try:
        row = json.loads(line)
        texts = (_printable(row.get(name)) for name in ("category", "operation", "group"))
        pair = Pair(row["a"], row["b"], row["same"], *texts)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{where}: expected {{a, b, same, category}}, got {line.strip()[:80]!r}") from error
    judged = pair.same is None or isinstance(pair.same, bool | int)
    if not judged or not all(isinstance(p, str | list) for p in (pair.a, pair.b)):
        raise ConfigurationError(
            f"{where}: a and b must be texts or lists of messages, same true, false or null (not judged yet)"
        )
    same = None if pair.same is None else bool(pair.same)
    return replace(pair, same=same)


def _printable(value: Any) -> str:
    """Its text, "" for null; half a surrogate pair, which no terminal or file takes, becomes a question mark."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
