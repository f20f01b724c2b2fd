"""The embedding engines side by side in one run, and sentence-transformers beside them: one prompt, the same batches, and the same decisions.

Shows, for the engines that this machine can run: a forward pass for one prompt; batches of 32 in order of arrival, which the
embedder packs and sentence-transformers sorts and pads; the least cosine to sentence-transformers; and how many labelled pairs change
sides at the gate where one side or both come from another engine. Doesn't show: other processors (ratios carry over, figures don't), an
event loop competing for the same cores (see semantic.py), or prompts of other lengths.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cache_service.embedding import onnx, openvino
from cache_service.embedding.batching import Engine, passes
from cache_service.embedding.packed import Matrix
from cache_service.embedding.sentence_transformer import SentenceTransformerEngine

MODELS = Path(__file__).parents[1] / "models"
REFERENCE = "sentence-transformers"
BATCH = 32


def percentiles(seconds: Sequence[float]) -> str:
    """p50, p90 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return "  ".join(f"p{at} {cuts[at - 1] * 1e3:6.2f}" for at in (50, 90, 99))


def engines(threads: int, *, reference: bool) -> dict[str, Engine]:
    """Those that this machine can run, by the names of `embedder=`."""
    found: dict[str, Callable[[], Engine]] = {"onnx": lambda: onnx.load_engine(MODELS, threads=threads)}
    if openvino.is_installed():
        found["openvino"] = lambda: openvino.load_engine(MODELS, threads=threads)
    if reference:
        found[REFERENCE] = lambda: SentenceTransformerEngine(MODELS, threads=threads)
    made = {}
    for name, make in found.items():
        began = time.perf_counter()
        made[name] = engine = make()
        if isinstance(engine, openvino.OpenVinoEngine):
            engine.warm()
        print(f"{name:<22} loaded in {time.perf_counter() - began:.2f} s")
    return made


def embedded(engine: Engine, prompts: Sequence[str], *, batch: int = 0) -> Matrix:
    """Every prompt's vector: in passes of the embedder's size, or in batches of so many prompts."""
    readings = [engine.read(prompt) for prompt in prompts]
    batches = (
        [readings[start : start + batch] for start in range(0, len(readings), batch)] if batch else passes(readings)
    )
    return np.concatenate([engine.forward(one) for one in batches])


def load_prompts(data: Path | None, many: int) -> list[str]:
    """Of PartiPrompts and real prompts where a folder of data is named, else those of the export's comparison."""
    if data is None:
        lines = (MODELS / "comparison_prompts.jsonl").read_text("utf-8").splitlines()
        return [prompt for prompt in map(json.loads, lines) if 20 <= len(prompt) <= 120][:many]
    found = (data / "image_prompts.txt").read_text("utf-8").splitlines()
    with gzip.open(data / "image_prompts_real.txt.gz", "rt", encoding="utf-8") as file:
        found += file.read().splitlines()
    return found[:many]


def compare_decisions(made: dict[str, Engine], data: Path, gate: float, many: int) -> None:
    """Pairs that change sides against the reference, the second side from the reference ("mixed") or both from the engine."""
    for path in sorted(data.glob("*_pairs.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            pairs = [json.loads(line) for line, _ in zip(file, range(many), strict=False)]
        sides = {
            name: (embedded(engine, [pair["a"] for pair in pairs]), embedded(engine, [pair["b"] for pair in pairs]))
            for name, engine in made.items()
        }
        first, second = sides[REFERENCE]
        truth = (first * second).sum(1)
        for name, (one, other) in sides.items():
            if name == REFERENCE:
                continue
            for what, cosines in (("both", (one * other).sum(1)), ("mixed", (one * second).sum(1))):
                changed = (cosines >= gate) != (truth >= gate)
                furthest = float(np.abs(truth[changed] - gate).max()) if changed.any() else 0.0
                print(
                    f"{path.name:<32} {name:<9} {what:<6} {len(pairs)} pairs: {int(changed.sum())} change sides at {gate}, "
                    f"the furthest {furthest:.5f} from it; cosines differ by {float(np.abs(cosines - truth).max()):.5f} at most"
                )


def measure(made: dict[str, Engine], prompts: Sequence[str], rounds: int) -> None:
    """One prompt at a time, then batches; the engines in turn, so that a busy machine is busy for all of them."""
    usual = [prompt for prompt in prompts if 17 <= len(made["onnx"].read(prompt).ids) <= 23][:100]
    times: dict[str, list[float]] = {name: [] for name in made}
    for engine in made.values():
        for prompt in usual[:20]:
            engine.forward([engine.read(prompt)])
    for start in range(0, rounds, 25):  # stretches, since an engine's weights lie in the caches while it serves
        for name, engine in made.items():
            for number in range(start, start + 25):
                began = time.perf_counter()
                engine.forward([engine.read(usual[number % len(usual)])])
                times[name].append(time.perf_counter() - began)
    singles = {name: statistics.median(each) for name, each in times.items()}
    for name, each in times.items():
        print(f"one prompt, {name:<22} {percentiles(each)} ms" + against(singles, name, lambda one, other: other / one))
    rates = dict.fromkeys(made, 0.0)
    for _ in range(3):
        for name, engine in made.items():
            began = time.perf_counter()
            for start in range(0, 8 * BATCH, BATCH):
                embedded(engine, prompts[start : start + BATCH], batch=BATCH if name == REFERENCE else 0)
            rates[name] = max(rates[name], 8 * BATCH / (time.perf_counter() - began))
    for name, each in rates.items():
        ratio = against(rates, name, lambda one, other: one / other)
        print(f"batches of {BATCH}, {name:<22} {each:6.0f} prompts/s{ratio}")


def against(figures: dict[str, float], name: str, ratio: Callable[[float, float], float]) -> str:
    """The ratio to the reference, where there is one."""
    if REFERENCE not in figures or name == REFERENCE:
        return ""
    return f"   {ratio(figures[name], figures[REFERENCE]):.2f} x {REFERENCE}"


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0, help="of one pass; 0 takes the cores")
    parser.add_argument("--no-reference", action="store_true", help="without sentence-transformers, which needs torch")
    parser.add_argument("--data", type=Path, help="folder with image_prompts*.txt and *_pairs.jsonl.gz")
    parser.add_argument("--compare", type=int, default=0, help="prompts whose vectors are compared")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of each file whose decisions are compared")
    parser.add_argument("--gate", type=float, default=0.92)
    options = parser.parse_args()
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, threads {options.threads or 'as cores'}"
    )
    made = engines(options.threads, reference=not options.no_reference)
    prompts = load_prompts(options.data, max(options.compare, 2000))
    if options.rounds:
        measure(made, prompts, options.rounds)
    if options.compare and REFERENCE in made:
        truth = embedded(made[REFERENCE], prompts[: options.compare], batch=BATCH)
        for name, engine in made.items():
            cosines = (embedded(engine, prompts[: options.compare]) * truth).sum(1)
            print(f"cosine to {REFERENCE} on {len(truth)} prompts, {name:<22} least {cosines.min():.6f}")
    if options.pairs and options.data is not None and REFERENCE in made:
        compare_decisions(made, options.data, options.gate, options.pairs)


if __name__ == "__main__":
    main()
