"""What verification adds to a request with five candidates, by the rules alone and with the trained models, and the memory of these.

What it shows: time from the embedding to the last verdict (the new prompt's analysis, and five stored ones judged, the cross-encoder for
two of them at most), where nothing is served and on a hit. Twice: the candidates are the five nearest of a store of our own pairs, or
five one-word edits of the prompt, which is the dearest case: all of them are open until a model has read them. Wall time, and CPU time
of the process, which other work on the machine doesn't change. Memory is anonymous, of this process.
What it doesn't: embedding, search and SQL, other requests at the same time, the models' pages in the file cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.embedding.base import Embedding
from cache_service.embedding.onnx import OnnxEngine, load_engine
from cache_service.semantic_tier import Judging
from cache_service.verification.artefacts import load
from cache_service.verification.base import Analysis, Same, Verifier
from cache_service.verification.learned import LearnedVerifier
from cache_service.verification.rules import RulesVerifier

ROOT = Path(__file__).resolve().parent.parent
PAIRS = ROOT / "tests" / "data" / "verification_pairs.jsonl"
CANDIDATES = 5
SEED = 7
BARS = {"nothing served": 5.0, "hit": 12.0}  # milliseconds, p50
MEMORY_BAR = 150.0  # MB


@dataclass(frozen=True, slots=True)
class Case:
    """One request: what is asked, and what is stored near it."""

    operation: str
    asked: str
    stored: tuple[str, ...]


def nearest(reader: Reader, count: int, draw: random.Random) -> Iterator[Case]:
    """Prompts of our own pairs, with the five that are most like each of all others."""
    rows = _rows()
    for operation in ("images", "chat"):
        texts = sorted({row[side] for row in rows if row["operation"] == operation for side in "ab"})
        vectors = np.stack([reader.embedding(text).vector for text in texts])
        for place in draw.sample(range(len(texts)), min(count // 2, len(texts))):
            order = np.argsort(-(vectors @ vectors[place]))
            stored = [texts[other] for other in order[: CANDIDATES + 1] if other != place]
            yield Case(operation, texts[place], tuple(stored[:CANDIDATES]))


def edits(count: int, draw: random.Random) -> Iterator[Case]:
    """Half of them with the prompt's paraphrase among one-word edits, half with edits alone."""
    rows = _rows()
    same = [row for row in rows if row["same"] and min(len(row[side].split()) for side in "ab") > 3]
    vocabulary = sorted({word for row in rows for word in row["a"].split() if word.isascii() and word.isalpha()})
    for number in range(count):
        row = draw.choice(same)
        stored = [_edited(row["a"], vocabulary, draw) for _ in range(CANDIDATES)]
        if number % 2:
            stored[draw.randrange(CANDIDATES)] = row["b"]
        yield Case(row["operation"], row["a"], tuple(stored))


def _rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]


def _edited(prompt: str, vocabulary: Sequence[str], draw: random.Random) -> str:
    words = prompt.split()
    words[draw.randrange(len(words))] = draw.choice(vocabulary)
    return " ".join(words)


class Reader:
    """Prompts as the service has them: embedded once."""

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine = engine

    def embedding(self, prompt: str) -> Embedding:
        """The prompt's vector and what was seen of it."""
        read = self._engine.read(prompt)
        return Embedding(self._engine.forward([read])[0], read.pieces, read.unknown, read.cut)


def measure(verifier: Verifier, reader: Reader, requests: Sequence[Case]) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds by outcome."""
    found: dict[str, list[tuple[float, float]]] = {}
    for case in requests:
        embedded = reader.embedding(case.asked)
        stored = [verifier.analyse(prompt, reader.embedding(prompt)) for prompt in case.stored]
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = _outcome(verifier.analyse(case.asked, embedded), stored, verifier, case.operation)
        found.setdefault(outcome, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def _outcome(asked: Analysis, stored: Sequence[Analysis], verifier: Verifier, operation: str) -> str:
    verdicts = Judging(verifier, asked, operation, time.perf_counter).all(stored)
    return "hit" if any(isinstance(verdict, Same) for verdict, _ in verdicts) else "nothing served"


def anonymous_mb() -> float:
    """Anonymous memory of the process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def main() -> None:
    """Prints percentiles by verifier, candidates and outcome."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--rounds", type=int, default=400, help="requests for each verifier and kind of candidates")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    reader = Reader(load_engine(ROOT / "models"))
    draw = random.Random(SEED)
    requests = {
        "five nearest": list(nearest(reader, options.rounds, draw)),
        "five edits": list(edits(options.rounds, draw)),
    }
    rules = RulesVerifier()
    times = {("rules", kind): measure(rules, reader, asked) for kind, asked in requests.items()}
    before = anonymous_mb()
    learned = LearnedVerifier(rules, load(ROOT / "models"))
    times |= {("learned", kind): measure(learned, reader, asked) for kind, asked in requests.items()}
    memory = anonymous_mb() - before
    rows = [
        {"verifier": name, "candidates": kind, "outcome": outcome, **_row(seconds)}
        for (name, kind), found in times.items()
        for outcome, seconds in sorted(found.items())
    ]
    if options.json:
        print(json.dumps({"rows": rows, "bars_p50_ms": BARS, "memory_mb": memory, "memory_bar_mb": MEMORY_BAR}))
        return
    print(f"{options.rounds} requests each, {len(os.sched_getaffinity(0))} cores; milliseconds")
    for row in rows:
        print(
            f"{row['verifier']:8} {row['candidates']:13} {row['outcome']:15} n {row['n']:4}   p50 {row['p50']:6.2f}   "
            f"p95 {row['p95']:6.2f}   p99 {row['p99']:6.2f}   CPU p50 {row['cpu_p50']:6.2f}   bar {BARS[str(row['outcome'])]:.0f}"
        )
    print(f"memory that the trained verifier adds: {memory:.0f} MB, bar {MEMORY_BAR:.0f}")


def _row(seconds: Sequence[tuple[float, float]]) -> dict[str, float | int]:
    wall, cpu = zip(*seconds, strict=True)
    cuts = statistics.quantiles(wall, n=100) if len(wall) > 1 else [*wall] * 99
    return {
        "n": len(wall),
        "p50": cuts[49] * 1e3,
        "p95": cuts[94] * 1e3,
        "p99": cuts[98] * 1e3,
        "cpu_p50": statistics.median(cpu) * 1e3,
    }


if __name__ == "__main__":
    main()
