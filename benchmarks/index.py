"""The index: partitions of 10,000, 100,000 and a million entries, and 100,000 partitions of ten; recall, searches, adds, memory, snapshot.

Vectors are those of `--vectors`: real and generated prompts, embedded by the model that serves (`_prompts.py` makes the file). The
last of them are asked for and never stored: 8,000, and of a small partition all others, since few of them have a neighbour there.
`--first` stores and asks for others. Where more are stored than there are, variations of them follow (cosine about 0.9), and the
output says how many. Without the file they are random directions in groups of four, which flatters an index of cells.

Recall: of the five nearest entries ≥ 0.92, as comparing with every entry finds them, the share that the search returns.

Doesn't show: pages that must come from a disk (everything is in the page cache), other processors, a loop that has other work.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from _filled import variations

from cache_service.index.base import IndexPosition
from cache_service.index.cells import return_memory
from cache_service.index.faiss import FaissIndex
from cache_service.index.rows import Matrix

Times: TypeAlias = npt.NDArray[np.float64]
"""Seconds."""

DIMENSION = 384
LAYOUTS = {"10k": (1, 10_000), "100k": (1, 100_000), "200k": (1, 200_000), "1m": (1, 1_000_000), "small": (100_000, 10)}
NEAR, LIMIT = 0.92, 5
COMPARISONS = 2_200_000_000  # of questions with entries: of more questions than --questions where that takes so few
BLOCK = 4_096  # questions compared at once


def percentiles(seconds: Sequence[float]) -> str:
    """p50, p90, p99 and the longest in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return (
        "  ".join(f"p{at} {cuts[at - 1] * 1e3:.3f}" for at in (50, 90, 99)) + f"  longest {max(seconds) * 1e3:.1f} ms"
    )


def anonymous_bytes() -> int:
    """Memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def name(number: int) -> str:
    """A partition as the key makes it: SHA-256 in hex."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def nearest(stored: Sequence[Matrix], asked: Matrix) -> list[list[float]]:
    """Of each asked vector, the cosines of its nearest five ≥ 0.92 among all of the stored, largest first."""
    found: list[list[float]] = []
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        best = np.full((len(block), LIMIT), -1.0, np.float32)
        for page in stored:
            cosines = np.concatenate([best, block @ page.T], axis=1)
            best = -np.partition(-cosines, LIMIT - 1, axis=1)[:, :LIMIT]
        found += [sorted((cosine for cosine in row if cosine >= NEAR + 1e-5), reverse=True) for row in best.tolist()]
    return found


async def fill(index: FaissIndex, pages: Sequence[Matrix], each: int, adds: Times, late: Times) -> None:
    """Adds all; notes how long each add took, and how late the loop was after ten of them."""
    for number, vector in enumerate(itertools.chain.from_iterable(pages)):
        start = time.perf_counter()
        index.add(number + 1, name(number // each), vector)
        adds[number] = time.perf_counter() - start
        if number % 10 == 0:
            start = time.perf_counter()
            await asyncio.sleep(0)
            late[number // 10] = time.perf_counter() - start


async def measure(partitions: int, each: int, known: Matrix | None, searches: int, questions: int) -> None:
    """One layout, in a new folder."""
    count = partitions * each
    if known is not None and partitions == 1:
        questions = max(questions, min(COMPARISONS // count, len(known) - count))
    asked = None if known is None else np.array(known[len(known) - questions :])
    pages = list(variations(None if known is None else known[: len(known) - questions], count))
    if known is None:
        asked = np.concatenate(pages[: -(-questions // len(pages[0]))])[:questions]
    assert asked is not None
    expected = nearest(pages, asked) if partitions == 1 else []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        index = FaissIndex(Path(folder), DIMENSION)
        await index.load(epoch="bench", model_id="bench")
        adds, late = np.ones(count), np.ones(-(-count // 10))  # touched, so that they are in `before`
        gc.collect()
        return_memory()  # or what the comparing freed would be used again, and not be seen
        before = anonymous_bytes()
        began = time.perf_counter()
        await fill(index, pages, each, adds, late)
        await index.settle()
        filled = time.perf_counter() - began
        gc.collect()
        held = anonymous_bytes() - before
        adds.sort()
        late.sort()
        tables = _tables(index)
        found, wanted, took = 0, 0, []
        for number, vector in enumerate(asked):
            if number >= searches and not (expected and expected[number]):
                continue
            start = time.perf_counter()
            candidates = await index.search(name(number % partitions), vector, limit=LIMIT, floor=NEAR)
            if number < searches:
                took.append(time.perf_counter() - start)
            if expected:
                got = [candidate.similarity for candidate in candidates]
                wanted += len(expected[number])
                found += sum(cosine >= want - 1e-5 for cosine, want in zip(got, expected[number], strict=False))
        index.advance(IndexPosition("bench", 1))
        start = time.perf_counter()
        await index.save()
        saved = time.perf_counter() - start
        index.remove(1)
        index.advance(IndexPosition("bench", 2))
        start = time.perf_counter()
        await index.save()
        again = time.perf_counter() - start
        await index.aclose()
        index = FaissIndex(Path(folder), DIMENSION)
        start = time.perf_counter()
        assert await index.load(epoch="bench", model_id="bench")
        loaded = time.perf_counter() - start
        await index.aclose()
    print(f"\n{partitions:,} x {each:,} entries, filled in {filled:.1f} s")
    if known is not None and count > len(known) - questions:
        print(f"  {len(known) - questions:,} of the vectors are of prompts, the others variations of them")
    if expected:
        near = sum(map(bool, expected))
        print(
            f"  recall    {found} of {wanted} neighbours >= {NEAR} ({found / max(1, wanted):.5f}); {near} of {len(asked)} questions have some"
        )
    print(f"  search    {percentiles(took)}")
    print(
        f"  add       p50 {adds[count // 2] * 1e3:.3f}  p99 {adds[-count // 100] * 1e3:.3f}  longest {adds[-1] * 1e3:.1f} ms"
    )
    print(f"  the loop meanwhile late by p99 {late[-len(late) // 100] * 1e3:.2f}, at most {late[-1] * 1e3:.1f} ms")
    print(f"  memory    {held / count:.0f} bytes an entry; {tables / partitions:.0f} a partition in tables")
    print(
        f"  snapshot  saved in {saved:.2f} s, once more after one change in {again:.2f} s, loaded in {loaded:.2f} s",
        flush=True,
    )


def _tables(index: FaissIndex) -> int:
    """Bytes of the lists of rows and what leads to them, as they are allocated."""
    lists = index._small  # noqa: SLF001 (what this file is about)
    return sys.getsizeof(lists) + sum(-(-sys.getsizeof(part) // 16) * 16 for pair in lists.items() for part in pair)


async def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--searches", type=int, default=2_000, help="how many are timed")
    parser.add_argument("--questions", type=int, default=8_000, help="how many recall is taken of")
    parser.add_argument("--vectors", type=Path, help="an .npy of float32 vectors of prompts")
    parser.add_argument("--first", type=int, default=0, help="which of the vectors is stored first")
    parser.add_argument("--only", choices=LAYOUTS, action="append")
    options = parser.parse_args()
    known = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
    if known is not None and options.first:
        known = np.concatenate([known[options.first :], known[: options.first]])
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    for layout in options.only or [layout for layout in LAYOUTS if layout != "200k"]:
        await measure(*LAYOUTS[layout], known, options.searches, options.questions)


if __name__ == "__main__":
    asyncio.run(main())
