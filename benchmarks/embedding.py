"""Embedding: one prompt at a time, and as many as wait; the bare session beside it in the same run.

Shows what batching, tokenising and the thread cost on top of the model. Doesn't show: other processors (ratios carry over,
figures don't), a server's event loop competing for the same cores, prompts of other lengths than these.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache_service.embedding.onnx import OnnxEmbedder, load_engine

MODELS = Path(__file__).parents[1] / "models"


def percentiles(seconds: Sequence[float]) -> str:
    """p50, p90 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return "  ".join(f"p{at} {cuts[at - 1] * 1e3:.2f} ms" for at in (50, 90, 99))


async def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--reference", action="store_true", help="sentence-transformers too (needs torch)")
    options = parser.parse_args()
    lines = (MODELS / "comparison_prompts.jsonl").read_text("utf-8").splitlines()
    prompts = [prompt for prompt in map(json.loads, lines) if 20 <= len(prompt) <= 120]
    began = time.perf_counter()
    embedder = OnnxEmbedder(MODELS)
    loaded = time.perf_counter() - began
    engine = load_engine(MODELS)
    lengths = [len(engine.read(prompt).ids) for prompt in prompts]
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{len(prompts)} prompts of {np.mean(lengths):.0f} pieces (longest {max(lengths)}); loaded in {loaded:.2f} s")

    bare, reading, alone, reference = [], [], [], []
    other = None
    if options.reference:
        from cache_service.embedding.sentence_transformer import SentenceTransformerEmbedder

        other = SentenceTransformerEmbedder(MODELS)
        await other.embed(prompts[:8])
    await embedder.embed(prompts[:8])
    for number in range(options.rounds):
        prompt = prompts[number % len(prompts)]
        t0 = time.perf_counter()
        read = engine.read(prompt)
        t1 = time.perf_counter()
        engine.forward([read])
        t2 = time.perf_counter()
        await embedder.embed([prompt])
        t3 = time.perf_counter()
        reading.append(t1 - t0)
        bare.append(t2 - t1)
        alone.append(t3 - t2)
        if other is not None:
            await other.embed([prompt])
            reference.append(time.perf_counter() - t3)
    print(f"tokenise                {percentiles(reading)}")
    print(f"bare forward pass       {percentiles(bare)}")
    print(f"embed one               {percentiles(alone)}")
    if reference:
        print(f"sentence-transformers   {percentiles(reference)}")

    waits: list[float] = []

    async def client(offset: int) -> None:
        for number in range(max(1, options.rounds // 10)):
            start = time.perf_counter()
            await embedder.embed([prompts[(offset * 7 + number) % len(prompts)]])
            waits.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(client(offset) for offset in range(options.clients)))
    rate = len(waits) / (time.perf_counter() - start)
    print(f"{options.clients} clients              {percentiles(waits)}  {rate:.0f} prompts/s")
    for name, order in (("bulk", prompts), ("bulk, singles", None)):
        start = time.perf_counter()
        if order is not None:
            await embedder.embed(order)
        else:
            for prompt in prompts:
                await embedder.embed([prompt])
        print(f"{name:<23} {len(prompts) / (time.perf_counter() - start):.0f} prompts/s")
    await embedder.aclose()


if __name__ == "__main__":
    asyncio.run(main())
