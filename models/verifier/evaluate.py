"""Measures the trained verifier on held-back pairs, side by side with bare cosine: the table of CARD.md.

`python models/verifier/evaluate.py --data DIR --work DIR` after `train.py`. It runs the very code that serves, with its
own analyses; only prompts' vectors are made in batches. For each file and category: hits among pairs that are the same
(true) and among pairs that aren't (false), at both search floors.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from random import Random

import numpy as np
from doubtful import doubtful
from encoder import load_tokenizer
from mined import FILE as MINED
from mined import embed
from pairs import MEASURE, Pair, read_pairs
from rule_verdicts import operation_of
from synthetic import FILE as SYNTHETIC
from train import installed_minilm

from cache_service.embedding.base import Embedding
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.verification.artefacts import load
from cache_service.verification.base import Different, Same, Verdict
from cache_service.verification.learned import LearnedVerifier
from cache_service.verification.rules import RulesVerifier

FLOORS = (0.92, 0.85)
MEASURED = 10_000  # pairs of a file that only measures
ENCODER_ALONE = 2.0  # logit of the lower order


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each way of deciding says of one pair."""

    pair: Pair
    cosine: float
    rules: Verdict
    verdict: Verdict
    encoder: float


def main() -> None:
    """Prints the tables in Markdown and writes each pair's outcome to the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("data/verifier"))
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--each", type=int, default=1, help="measure every n-th pair only")
    parser.add_argument(
        "--write-pairs", type=Path, help="only write the pairs to this folder, for benchmarks/quality.py"
    )
    arguments = parser.parse_args()
    with gzip.open(arguments.work / "pairs.json.gz", "rt", encoding="utf-8") as file:
        pairs = [pair for row in json.load(file)["test"][0] if not doubtful(pair := Pair(*row))]
    for name in MEASURE:
        found = read_pairs(arguments.data, [name])
        Random(1).shuffle(found)
        pairs += found[:MEASURED]
    if arguments.write_pairs:
        write_pairs(pairs, arguments.write_pairs)
        return
    outcomes = judge(Random(1).sample(pairs, len(pairs) // arguments.each), arguments.models_dir)
    write(outcomes, arguments.work / "outcomes.jsonl")
    print(table(outcomes, by_category=False))
    print(table(outcomes, by_category=True))
    print(reasons(outcomes))


def write_pairs(pairs: Sequence[Pair], folder: Path) -> None:
    """The real pairs among them as `{file}_pairs.jsonl.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = defaultdict(list)
    for pair in pairs:
        files[pair.file].append({"a": pair.a, "b": pair.b, "same": pair.same, "category": pair.category})
    for name, rows in files.items():
        if name not in (SYNTHETIC, MINED):
            with gzip.open(folder / f"{name}_pairs.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def judge(pairs: Sequence[Pair], models_dir: Path) -> list[Outcome]:
    """Every pair's outcome."""
    minilm = installed_minilm()
    reader = WordPieceReader(load_tokenizer(minilm), 256)
    artefacts = load(models_dir)
    rules = RulesVerifier()
    verifier = LearnedVerifier(rules, artefacts)
    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
    vectors = embed(texts, minilm).astype(np.float32)
    analyses = {}
    for text, vector in zip(texts, vectors, strict=True):
        read = reader.read(text)
        embedding = Embedding(vector, read.pieces, read.unknown, read.cut)
        analyses[text] = (rules.analyse(text, embedding), verifier.analyse(text, embedding), vector)
    outcomes = []
    for pair in pairs:
        (rule_a, a, vector_a), (rule_b, b, vector_b) = analyses[pair.a], analyses[pair.b]
        cosine = float(vector_a @ vector_b)
        if cosine < min(FLOORS):
            continue
        operation = operation_of(pair)
        pieces = a.facts["pieces"], b.facts["pieces"]
        found = artefacts.encoder.logits(*pieces) if None not in pieces else None
        outcomes.append(
            Outcome(
                pair,
                cosine,
                rules.verify(rule_a, rule_b, operation),
                verifier.verify(a, b, operation),
                min(found) if found else -99.0,
            )
        )
    return [*outcomes, *(Outcome(p, 0.0, Different(""), Different(""), -99.0) for p in pairs if _below(p, analyses))]


def _below(pair: Pair, analyses: dict) -> bool:
    return float(analyses[pair.a][2] @ analyses[pair.b][2]) < min(FLOORS)


def table(outcomes: Sequence[Outcome], *, by_category: bool) -> str:
    """Markdown: true / false hit rates in per cent, per file or per file and category."""
    groups = defaultdict(list)
    for outcome in outcomes:
        pair = outcome.pair
        groups[(pair.file, pair.category) if by_category else (pair.file,)].append(outcome)
    ways = ("bare cosine", "rules", "encoder alone", "all together")
    lines = [
        "| pairs | same | different | " + " | ".join(f"{way}, ≥ {floor}" for floor in FLOORS for way in ways) + " |",
        "|---" * (3 + len(FLOORS) * len(ways)) + "|",
    ]
    for key in sorted(groups):
        found = groups[key]
        cells = [
            f"{_rate(found, way, floor, True)} / {_rate(found, way, floor, False)}" for floor in FLOORS for way in ways
        ]
        same = sum(o.pair.same for o in found)
        lines.append(f"| {': '.join(key)} | {same} | {len(found) - same} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rate(outcomes: Sequence[Outcome], way: str, floor: float, same: bool) -> str:
    those = [outcome for outcome in outcomes if outcome.pair.same == same]
    if not those:
        return "–"
    hits = sum(outcome.cosine >= floor and served(outcome, way) for outcome in those)
    return f"{100 * hits / len(those):.1f}"


def served(outcome: Outcome, way: str) -> bool:
    """Whether a way of deciding serves the pair once it is over the floor."""
    match way:
        case "bare cosine":
            return True
        case "rules":
            return isinstance(outcome.rules, Same)
        case "encoder alone":
            return outcome.encoder >= ENCODER_ALONE
        case _:
            return isinstance(outcome.verdict, Same)


def reasons(outcomes: Sequence[Outcome]) -> str:
    """How often each of the rules' reasons meets pairs that are the same: what the vetoes cost."""
    counts = Counter()
    for outcome in outcomes:
        if outcome.cosine >= min(FLOORS):
            kind = " ".join(outcome.rules.reason.split()[:2])
            counts[(type(outcome.rules).__name__, kind, outcome.pair.same)] += 1
    lines = ["| rules say | same pairs | different pairs |", "|---|---|---|"]
    for name, kind in sorted({key[:2] for key in counts}, key=lambda k: -counts[(*k, True)])[:40]:
        lines.append(f"| {name}: {kind} | {counts[(name, kind, True)]} | {counts[(name, kind, False)]} |")
    return "\n".join(lines) + "\n"


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for outcome in outcomes:
            row = [astuple(outcome.pair), outcome.cosine, type(outcome.rules).__name__, outcome.rules.reason]
            row += [type(outcome.verdict).__name__, outcome.verdict.reason, outcome.encoder]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
