"""How often a hit is right: bare cosine and the verifiers side by side, on every file of labelled pairs in a folder.

What it shows: for each file the share of the same pairs that are served (true hits) and of the different ones (false hits), by the very code
that serves; below, over all files, the precision, the worst category, and wrong / hits with its bound. What it doesn't: how often your
clients ask such pairs. Labels are the files' own, wrong ones included; most files hold more different pairs than a service meets.

`python benchmarks/quality.py --data DIR` reads all `*_pairs.jsonl` and `*_pairs.jsonl.gz` in DIR; without it, the project's own pairs.
Rows that name no `operation` are chats in files with "question" or "chat" in their name, image prompts elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from cache_service import bootstrap
from cache_service.calibration import LEAST_CATEGORY, at_prior, upper
from cache_service.config import Settings
from cache_service.embedding.base import Embedder, Embedding, Reading
from cache_service.errors import CacheServiceError, ConfigurationError
from cache_service.jobs import picture
from cache_service.jobs.evaluate import GATES, Evaluation, Gate, Tally
from cache_service.jobs.pairs import Decided, Pair, decide, read_pairs
from cache_service.operations.base import Operation
from cache_service.upstream.catalog import load_catalog, packaged_catalog
from cache_service.verification.base import Verifier

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ("*_pairs.jsonl", "*_pairs.jsonl.gz")
CHUNK = 256  # pairs whose prompts are embedded together
SEED = 1
COSINE = "cosine"
VERIFIERS = ("rules", "learned")


@dataclass
class Measured:
    """All pairs of all files. by_file: tallies by file, way and gate. seconds: what each verifier took, the embedding counted apart."""

    by_file: dict[str, dict[tuple[str, float], Tally]] = field(default_factory=dict)
    cosine: dict[float, Gate] = field(default_factory=lambda: {gate: Gate() for gate in GATES})
    verified: dict[str, Evaluation] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    unjudged: int = 0

    def add(self, file: str, verifier: str, decided: Decided) -> None:
        """Counts one pair as one verifier decides it; bare cosine is counted beside the first."""
        tallies = self.by_file.setdefault(file, {})
        category = f"{file}: {decided.pair.category}"
        for gate in GATES:
            tally = tallies.setdefault((verifier, gate), Tally())
            tally.add(decided.pair, hit=decided.hit(gate), candidate=decided.candidate(gate))
            if verifier == VERIFIERS[0]:
                near = decided.candidate(gate)
                for bare in (
                    tallies.setdefault((COSINE, gate), Tally()),
                    self.cosine[gate].total,
                    self.cosine[gate].by_category.setdefault(category, Tally()),
                ):
                    bare.add(decided.pair, hit=near, candidate=near)
        result = self.verified.setdefault(verifier, Evaluation(GATES[0], gates={gate: Gate() for gate in GATES}))
        pair = decided.pair
        named = Pair(pair.a, pair.b, pair.same, category)
        result.add(Decided(named, decided.operation, decided.how, decided.similarity, decided.scored))
        result.wrong.clear()  # only rates are wanted, of a hundred thousand pairs

    def gate(self, way: str, gate: float) -> Gate:
        """All files at one gate."""
        return self.cosine[gate] if way == COSINE else self.verified[way].gates[gate]


class OnceEmbedded:
    """An embedder that remembers the last chunk, so that every verifier reads the same vectors and none pays twice."""

    def __init__(self, embedder: Embedder, seconds: Counter[str]) -> None:
        self._embedder = embedder
        self._seconds = seconds
        self._known: dict[str, Embedding] = {}
        self.model_id, self.dimension = embedder.model_id, embedder.dimension

    def read(self, text: str) -> Reading:
        """The embedder's."""
        return self._embedder.read(text)

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding for each text. Raises EmbeddingError."""
        if not self._known.keys() >= set(texts):
            started = time.perf_counter()
            self._known = dict(zip(texts, await self._embedder.embed(texts), strict=True))
            self._seconds["embedding"] += time.perf_counter() - started
        return [self._known[text] for text in texts]

    async def aclose(self) -> None:
        """Frees the model."""
        await self._embedder.aclose()


def main() -> None:
    """Prints one table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=ROOT / "tests" / "data", help="folder of *_pairs.jsonl[.gz]")
    parser.add_argument("--sample", type=int, help="pairs taken of each file, by a fixed seed; all if unset")
    parser.add_argument("--plot", type=Path, help="draw true hits against false hits: .svg or .png")
    parser.add_argument("--prior", type=float, default=0.5, help="share of same candidates that is re-weighted to")
    options = parser.parse_args()
    try:
        if options.plot is not None:
            picture.check(options.plot)
        measured = asyncio.run(measure(find(options.data), options.sample))
        print("\n".join(table(measured, options.prior)))
        if options.plot is not None:
            draw(measured, options.plot)
    except CacheServiceError as error:
        sys.exit(f"quality: {error}")


def find(folder: Path) -> list[Path]:
    """The files of labelled pairs. Raises ConfigurationError if there are none."""
    found = sorted(path for pattern in PATTERNS for path in folder.glob(pattern))
    if not found:
        raise ConfigurationError(f"{folder} holds no {' or '.join(PATTERNS)}")
    return found


async def measure(files: Sequence[Path], sample: int | None) -> Measured:
    """Every pair decided by every verifier. Raises CacheServiceError."""
    measured = Measured()
    kinds = bootstrap.operations(load_catalog(packaged_catalog()))
    settings = [Settings(models_dir=ROOT / "models", verifier=name) for name in VERIFIERS]
    verifiers = {one.verifier: await bootstrap.verifier(one) for one in settings}
    embedder = OnceEmbedded(await bootstrap.embedder(settings[0]), measured.seconds)
    try:
        for path in files:
            pairs = list(read_pairs(path))
            taken = len(pairs) if sample is None else min(sample, len(pairs))
            name = path.name.partition("_pairs.")[0]
            started = time.perf_counter()
            chosen = Random(SEED).sample(pairs, taken) if taken < len(pairs) else pairs
            await _measure_file(measured, name, chosen, kinds, embedder, verifiers)
            rate = taken / (time.perf_counter() - started)
            print(f"{path.name}: {taken} of {len(pairs)} pairs, {rate:.0f}/s with all verifiers", file=sys.stderr)
    finally:
        await embedder.aclose()
    return measured


async def _measure_file(
    measured: Measured,
    name: str,
    pairs: Sequence[Pair],
    kinds: Mapping[str, Operation],
    embedder: OnceEmbedded,
    verifiers: Mapping[str, Verifier],
) -> None:
    operation = kinds["chat" if "question" in name or "chat" in name else "images"]
    judged = [pair for pair in pairs if pair.same is not None]
    measured.unjudged += len(pairs) - len(judged)
    for start in range(0, len(judged), CHUNK):
        chunk = judged[start : start + CHUNK]
        for verifier, judge in verifiers.items():
            started, embedding = time.perf_counter(), measured.seconds["embedding"]
            found = await decide(chunk, operation, others=kinds, embedder=embedder, verifier=judge, floor=min(GATES))
            spent = time.perf_counter() - started - (measured.seconds["embedding"] - embedding)
            measured.seconds[verifier] += spent
            for decided in found:
                measured.add(name, verifier, decided)


def table(measured: Measured, prior: float) -> Iterator[str]:
    """The lines of the table, and below it what else has to be said."""
    ways = [(way, gate) for way in (COSINE, *VERIFIERS) for gate in GATES]
    yield (
        "| pairs: true / false hits, % | same | different | "
        + " | ".join(f"{way} ≥ {gate}" for way, gate in ways)
        + " |"
    )
    yield "|---" * (3 + len(ways)) + "|"
    for file, tallies in measured.by_file.items():
        one = tallies[ways[0]]
        cells = " | ".join(_rates(tallies[way]) for way in ways)
        yield f"| {file} | {one.same} | {one.pairs - one.same} | {cells} |"
    gates = [measured.gate(*way) for way in ways]
    totals = [gate.total for gate in gates]
    yield f"| **all** | {totals[0].same} | {totals[0].pairs - totals[0].same} | {' | '.join(map(_rates, totals))} |"
    for name, cell in (
        ("precision, lower bound", _precision),
        ("wrong / hits, upper bound", _wrong),
        (f"the same at {prior:.0%} same", lambda gate: _weighted(gate, prior)),
        ("worst category", _worst),
    ):
        yield f"| {name} | | | {' | '.join(cell(gate) for gate in gates)} |"
    how = measured.verified[VERIFIERS[0]].how
    yield ""
    yield (
        f"Bounds are Clopper–Pearson's, one-sided, 95 %. The worst category is the one with the most false hits of those with at least "
        f"{LEAST_CATEGORY} different pairs. Decided by: {', '.join(f'{name} {count}' for name, count in how.most_common())}; "
        f"not judged {measured.unjudged}."
    )
    total = totals[0].pairs
    spent = ", ".join(f"{name} {1e3 * seconds / max(total, 1):.1f}" for name, seconds in measured.seconds.items())
    yield f"Milliseconds a pair: {spent}."


def draw(measured: Measured, path: Path) -> None:
    """All files in one picture."""
    drawn = [picture.curves(result, verifier=name) for name, result in measured.verified.items()]
    total = measured.cosine[GATES[0]].total
    title = f"{len(measured.by_file)} files, {total.same} same pairs and {total.pairs - total.same} different ones"
    chosen = [
        drawn[0][0],
        *(one[1] for one in drawn),
    ]  # bare cosine is the same for all; no gate is more in force than another
    plain = [replace(one, marks=tuple(replace(mark, chosen=False) for mark in one.marks)) for one in chosen]
    picture.draw(plain, path, title=title)


def _rates(tally: Tally) -> str:
    return f"{_percent(tally.true_hit_rate)} / {_percent(tally.false_hit_rate)}"


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}"


def _precision(gate: Gate) -> str:
    hits, wrong = gate.total.hits, gate.total.false_hits
    return f"{100 * (1 - wrong / hits):.1f}, {100 * (1 - upper(wrong, hits)):.1f}" if hits else "–"


def _wrong(gate: Gate) -> str:
    hits, wrong = gate.total.hits, gate.total.false_hits
    return f"{wrong}/{hits} = {100 * wrong / hits:.2f}, {100 * upper(wrong, hits):.2f}" if hits else "–"


def _weighted(gate: Gate, prior: float) -> str:
    total = gate.total
    different = total.candidates - total.same_candidates
    if not total.true_hits or not different:
        return "–"
    found, bound = at_prior(total.true_hits, total.same_candidates, total.false_hits, different, prior)
    return f"{100 * found:.2f}, {100 * bound:.2f}"


def _worst(gate: Gate) -> str:
    large = {name: tally for name, tally in gate.by_category.items() if tally.pairs - tally.same >= LEAST_CATEGORY}
    if not large:
        return "–"
    name, tally = max(large.items(), key=lambda item: (item[1].false_hit_rate or 0.0, item[0]))
    return f"{name} {_percent(tally.false_hit_rate)}"


if __name__ == "__main__":
    main()
