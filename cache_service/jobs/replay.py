"""`evaluate --replay`: a log of requests in the order they came, answered as the service would with an empty store, and nothing generated.

What it gives: how many would have been hits, and every pair of prompts it would have served, for a person to judge; `evaluate` and
`calibrate` read the judged rows. What it leaves out: time (nothing grows stale), feedback, and requests that overlap.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from cache_service.embedding.base import Embedder, Embedding
from cache_service.errors import ConfigurationError
from cache_service.index.base import VectorIndex
from cache_service.jobs.evaluate import CHUNK
from cache_service.jobs.pairs import Keyed, Pair, embed, keyed_request, read_pairs, score
from cache_service.jobs.warm import Row, read_rows
from cache_service.operations.base import Operation
from cache_service.verification.base import Analysis, Different, Same, Scored, Verifier

SERVED, REFUSED = "served", "refused"


@dataclass(frozen=True, slots=True)
class Compared:
    """Two prompts that were close enough to be compared. stored, asked: as a row of labelled pairs has them."""

    stored: Any
    asked: Any
    operation: str
    similarity: float
    scored: Scored
    times: int = 1

    @property
    def served(self) -> bool:
        """Whether the stored answer would be given."""
        return isinstance(self.scored.verdict, Same)

    def as_json(self, same: bool | None) -> dict[str, Any]:
        """A row for a person to judge, which `evaluate --pairs` reads."""
        return {
            "a": self.stored,
            "b": self.asked,
            "same": same,
            "category": SERVED if self.served else REFUSED,
            "operation": self.operation,
            "similarity": round(self.similarity, 4),
            "reason": self.scored.verdict.reason,
            "times": self.times,
        }


@dataclass(slots=True)
class Replayed:
    """What became of the requests. misses: by reason; what missed was then stored. compared: by the pair's exact keys."""

    gate: float
    requests: int = 0
    exact: int = 0
    semantic: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    partitions: set[str] = field(default_factory=set)
    compared: dict[tuple[str, str], Compared] = field(default_factory=dict)

    def pairs(self, *, refused: bool) -> list[Compared]:
        """The pairs served, and with `refused` the closest that weren't; the most similar first."""
        chosen = [pair for pair in self.compared.values() if pair.served or refused]
        return sorted(chosen, key=lambda pair: (not pair.served, -pair.similarity))

    def as_json(self) -> dict[str, Any]:
        """The figures, without the pairs."""
        answered = self.requests - self.misses["refused"]
        return {
            "requests": self.requests,
            "exact_hits": self.exact,
            "semantic_hits": self.semantic,
            "hit_rate": (self.exact + self.semantic) / answered if answered else None,
            "misses": dict(self.misses),
            "partitions": len(self.partitions),
            "pairs_served": sum(pair.served for pair in self.compared.values()),
            "pairs_refused": sum(not pair.served for pair in self.compared.values()),
            "gate": self.gate,
        }


def read_log(path: Path, *, operation: str) -> list[Row]:
    """The requests of a log, in order: every file that `warm` reads, and objects with `prompt` and `operation`. Raises ConfigurationError."""
    return [_row(row) for row in read_rows(path, operation=operation, defaults={})]


class Replay:
    """A store in memory that answers as the service would. threshold: least cosine; candidates: how many are verified at most."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        *,
        embedder: Embedder,
        verifier: Verifier,
        index: VectorIndex,
        threshold: float,
        candidates: int,
    ) -> None:
        self._operations = operations
        self._embedder = embedder
        self._verifier = verifier
        self._index = index
        self._candidates = candidates
        self._exact: set[str] = set()
        self._stored: list[tuple[Keyed, bytes]] = []  # with the analysis as JSON: an entry's number is its place
        self.result = Replayed(threshold)

    async def run(self, rows: Sequence[Row]) -> Replayed:
        """Answers the requests one after the other. Raises ConfigurationError for an unknown operation."""
        remaining = iter(rows)
        while chunk := list(islice(remaining, CHUNK)):
            keyed = [self._keyed(row) for row in chunk]
            prompts = {
                each[1].prompt for each in keyed if each and each[0].semantic and each[1].exact not in self._exact
            }
            embeddings = await embed(sorted(prompts), self._embedder)
            for each in keyed:
                await self._answer(each, embeddings)
        return self.result

    async def _answer(self, asked: Keyed | None, embeddings: Mapping[str, Embedding]) -> None:
        result = self.result
        result.requests += 1
        if asked is None:
            result.misses["refused"] += 1
            return
        key = asked[1]
        result.partitions.add(key.partition)
        if key.exact in self._exact:
            result.exact += 1
            return
        embedding = embeddings.get(key.prompt)
        if embedding is None:
            result.misses["not embedded" if asked[0].semantic else "exact-only"] += 1
            self._exact.add(key.exact)
            return
        found = await self._index.search(key.partition, embedding.vector, limit=self._candidates, floor=result.gate)
        near = [(candidate.entry_id, candidate.similarity) for candidate in found]
        analysis, judged = await asyncio.to_thread(self._judge, asked, embedding, near)
        for entry, compared in judged:
            self._count(entry, asked, compared)
        if judged and judged[-1][1].served:
            result.semantic += 1
            return
        result.misses[_why([compared for _, compared in judged])] += 1
        self._exact.add(key.exact)
        self._index.add(len(self._stored), key.partition, embedding.vector)
        self._stored.append((asked, orjson.dumps(analysis.facts)))

    def _judge(
        self, asked: Keyed, embedding: Embedding, near: Sequence[tuple[int, float]]
    ) -> tuple[Analysis, list[tuple[int, Compared]]]:
        """The candidates with the verdicts, the most similar first; ends at the first that is served."""
        analysis = self._verifier.analyse(asked[1].prompt, embedding)
        judged = []
        for entry, similarity in near:
            stored, facts = self._stored[entry]
            of_stored = Analysis(analysis.version, stored[1].prompt, orjson.loads(facts))
            scored = score(self._verifier, analysis, of_stored, asked[0].operation)
            compared = Compared(_shown(stored), _shown(asked), asked[0].operation, similarity, scored)
            judged.append((entry, compared))
            if compared.served:
                break
        return analysis, judged

    def _count(self, entry: int, asked: Keyed, compared: Compared) -> None:
        keys = (self._stored[entry][0][1].exact, asked[1].exact)
        before = self.result.compared.get(keys)
        self.result.compared[keys] = replace(before, times=before.times + 1) if before else compared

    def _keyed(self, row: Row) -> Keyed | None:
        if row.operation not in self._operations:
            raise ConfigurationError(
                f"line {row.line}: unknown operation {row.operation!r}; one of: {', '.join(self._operations)}"
            )
        return keyed_request(row.request, self._operations[row.operation])


def judgements(path: Path) -> dict[str, Pair]:
    """The pairs that a person has judged in an earlier file of them. Raises ConfigurationError where it is something else."""
    known = read_pairs(path) if path.exists() else ()
    return {_name(pair.a, pair.b): pair for pair in known if pair.same is not None}


def write(pairs: Sequence[Compared], path: Path, known: Mapping[str, Pair]) -> None:
    """One row a line with what is known already, and after them what was judged and isn't met any more. Raises ConfigurationError."""
    left = dict(known)
    rows = []
    for pair in pairs:
        judged = left.pop(_name(pair.stored, pair.asked), None)
        rows.append(pair.as_json(judged.same if judged else None))
    rows += [{name: value for name, value in asdict(pair).items() if value != ""} for pair in left.values()]
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"the pairs can't be written: {error}") from error


def _row(row: Row) -> Row:
    """The row with `operation` taken out of a request, where it is no parameter."""
    request = dict(row.request)
    operation = str(request.pop("operation", row.operation))
    if operation == "chat" and "messages" not in request and isinstance(request.get("prompt"), str):
        request["messages"] = [{"role": "user", "content": request.pop("prompt")}]
    return Row(row.line, operation, request)


def _shown(keyed: Keyed) -> Any:
    """A prompt as a row of labelled pairs has it."""
    body = keyed[0].body
    return body["messages"] if keyed[0].operation == "chat" else body["prompt"]


def _why(judged: Sequence[Compared]) -> str:
    """Why none of the candidates is served: the closest one's verdict."""
    if not judged:
        return "no candidate"
    return "different" if isinstance(judged[0].scored.verdict, Different) else "unsure"


def _name(a: Any, b: Any) -> str:
    return json.dumps([a, b], sort_keys=True)
