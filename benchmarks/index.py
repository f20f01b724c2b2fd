"""The index: one partition of 10,000 and of 100,000 entries, and 100,000 partitions of ten; searches, adds, snapshot, memory.

Vectors are random directions of MiniLM's dimension with near neighbours planted, which is harmless here, where every search
is exact: recall is 1 by construction. Doesn't show: pages that must come from a disk (everything is in the page cache),
searches beside many changes, other processors.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache_service.index.base import IndexPosition
from cache_service.index.faiss import FaissIndex
from cache_service.index.rows import Matrix

DIMENSION = 384


def percentiles(seconds: Sequence[float]) -> str:
    """p50, p90 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return "  ".join(f"p{at} {cuts[at - 1] * 1e3:.3f} ms" for at in (50, 90, 99))


def directions(count: int, seed: int) -> Matrix:
    """Unit vectors in groups of four that are above 0.92 to each other."""
    random = np.random.default_rng(seed)
    centres = np.repeat(random.standard_normal((-(-count // 4), DIMENSION), np.float32), 4, axis=0)[:count]
    made = centres + 0.2 * random.standard_normal((count, DIMENSION), np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def anonymous_bytes() -> int:
    """Memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def name(number: int) -> str:
    """A partition as the key makes it: SHA-256 in hex."""
    return hashlib.sha256(str(number).encode()).hexdigest()


async def measure(partitions: int, each: int, searches: int) -> None:
    """One layout, in a new folder."""
    stored = directions(min(partitions * each, 100_000), seed=1)
    with tempfile.TemporaryDirectory() as folder:
        index = FaissIndex(Path(folder), DIMENSION)
        await index.load(epoch="bench", model_id="bench")
        gc.collect()
        before = anonymous_bytes()
        adds = []
        for entry_id in range(partitions * each):
            vector = stored[entry_id % len(stored)]
            start = time.perf_counter()
            index.add(entry_id, name(entry_id // each), vector)
            adds.append(time.perf_counter() - start)
        start = time.perf_counter()
        await index.search(name(0), stored[0], limit=5, floor=0.92)
        first = time.perf_counter() - start
        took, found = [], 0
        random = np.random.default_rng(2)
        for _ in range(searches):
            entry_id = int(random.integers(partitions * each))
            start = time.perf_counter()
            candidates = await index.search(name(entry_id // each), stored[entry_id % len(stored)], limit=5, floor=0.92)
            took.append(time.perf_counter() - start)
            found += any(candidate.entry_id == entry_id for candidate in candidates)
        gc.collect()
        held = anonymous_bytes() - before
        lists = index._small  # noqa: SLF001 (what this file is about)
        objects = (
            -(-sys.getsizeof(part) // 16) * 16 for pair in lists.items() for part in pair
        )  # as they are allocated
        tables = sys.getsizeof(lists) + sum(objects)
        index.advance(IndexPosition("bench", 1))
        start = time.perf_counter()
        await index.save()
        saved = time.perf_counter() - start
        await index.aclose()
        again = FaissIndex(Path(folder), DIMENSION)
        start = time.perf_counter()
        assert await again.load(epoch="bench", model_id="bench")
        loaded = time.perf_counter() - start
        await again.aclose()
    print(f"\n{partitions:,} x {each:,} entries; {searches} searches, the entry itself found in {found}")
    print(f"  search    {percentiles(took)}  (the first, which builds what is missing: {first * 1e3:.1f} ms)")
    print(f"  add       {percentiles(adds)}")
    print(
        f"  memory    {held / (partitions * each):.0f} bytes an entry in all; {tables / partitions:.0f} a partition in tables"
    )
    print(f"  snapshot  saved in {saved:.2f} s, loaded in {loaded:.2f} s")


async def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--searches", type=int, default=2_000)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    for partitions, each in ((1, 10_000), (1, 100_000), (100_000, 10)):
        await measure(partitions, each, options.searches)


if __name__ == "__main__":
    asyncio.run(main())
