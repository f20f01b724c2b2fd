"""What each eviction policy saves, and how long an eviction holds others up: `python benchmarks/eviction.py [--entries N]`.

Part 1 replays a trace of requests against a cache bounded in bytes, with the very rules that serve (`store/eviction.py`): Zipf
popularity (exponent 0.9), prices and sizes mixed as those of image models are (0.006 to 0.19 USD, 30 KB to 3 MB, independent of
popularity), once with popularity as it is and once with a tenth of the prompts replaced each day. Beside them one that
knows the future and drops what saves least for its place until it is asked for again ("clairvoyant", after Belady 1966; with mixed
prices and sizes the true optimum is NP-hard, so this is a mark and no proof).

Part 2 stores entries in SQLite with a vector each, evicts a fiftieth of them in the service's own batches, and measures how long
a batch holds the writer and how long the event loop was late meanwhile.

What it doesn't show: prompts are drawn independently, real ones come in bursts; prices that go with popularity would help `cost`
less; the disk under part 2 is this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.jobs.evict import BATCH
from cache_service.store.engine import Database
from cache_service.store.entry import NewEntry, Output, StoredVector
from cache_service.store.eviction import (
    POLICIES,
    Bound,
    Bounds,
    Excess,
    PolicyName,
    Ranking,
    Worth,
    asked,
    made,
    ranking_for,
)
from cache_service.store.migrations import migrate
from cache_service.store.rows import entry_values, output_values, vector_values
from cache_service.store.sql import open_store
from cache_service.store.tables import counter, entries, outputs, vectors, worth

PROMPTS = 20_000
REQUESTS = 200_000
DAYS = 28
ZIPF = 0.9
BOUND = 0.1  # of the bytes of all prompts
KINDS = [
    (0.006, 30_000),
    (0.011, 300_000),
    (0.042, 1_200_000),
    (0.063, 1_800_000),
    (0.167, 2_000_000),
    (0.19, 3_000_000),
]
"""USD and bytes of a picture, as image models charge by quality and size."""
CHURN = 0.1  # share of the prompts that a day replaces, in the moving trace


@dataclass(frozen=True)
class Asked:
    """One request of the trace."""

    at: float
    prompt: int


@dataclass(frozen=True)
class Trace:
    """Requests in order, and of each prompt its price and size."""

    requests: Sequence[Asked]
    usd: dict[int, float]
    size: dict[int, int]


def trace(*, churn: float, seed: int) -> Trace:
    """A Zipf trace; with churn, some ranks get a new prompt each day."""
    draw = random.Random(seed)
    ranks = list(range(PROMPTS))
    draw.shuffle(ranks)
    fresh = itertools.count(PROMPTS)
    weights = [1 / (rank + 1) ** ZIPF for rank in range(PROMPTS)]
    usd: dict[int, float] = {}
    size: dict[int, int] = {}
    requests = []
    for day in range(DAYS):
        if day:
            for rank in draw.sample(range(PROMPTS), int(churn * PROMPTS)):
                ranks[rank] = next(fresh)
        drawn = draw.choices(range(PROMPTS), weights, k=REQUESTS // DAYS)
        for number, rank in enumerate(drawn):
            prompt = ranks[rank]
            if prompt not in usd:
                usd[prompt], typical = draw.choice(KINDS)
                size[prompt] = int(typical * draw.uniform(0.7, 1.3))
            requests.append(Asked(86400.0 * (day + number / len(drawn)), prompt))
    return Trace(requests, usd, size)


def saved_by_policy(trace_: Trace, policy: PolicyName, bound: int) -> tuple[float, float]:
    """USD and share of requests that hit, by the service's own rule."""
    ranking = ranking_for(policy, Bounds(Bound(blob_bytes=bound)))
    worths: dict[int, Worth] = {}
    heap: list[tuple[float, int, int]] = []
    stamp: dict[int, int] = {}
    numbers = itertools.count()
    held, saved, hits, floor = 0, 0.0, 0, 0.0
    for request in trace_.requests:
        prompt = request.prompt
        if prompt in worths:
            saved += trace_.usd[prompt]
            hits += 1
            worths[prompt] = asked(worths[prompt], 1, request.at)
        else:
            while held + trace_.size[prompt] > bound:
                priority, number, going = heapq.heappop(heap)
                if stamp.get(going) == number:
                    held -= trace_.size[going]
                    floor = priority if ranking.ages else 0.0
                    del stamp[going], worths[going]
            held += trace_.size[prompt]
            worths[prompt] = made(request.at, trace_.size[prompt], trace_.usd[prompt])
        stamp[prompt] = next(numbers)
        heapq.heappush(heap, (floor + ranking.value(worths[prompt]), stamp[prompt], prompt))
    return saved, hits / len(trace_.requests)


def saved_by_foresight(trace_: Trace, bound: int) -> tuple[float, float]:
    """The same by one that knows when each prompt is asked for next."""
    last = len(trace_.requests)
    following: list[int | None] = [None] * last
    seen: dict[int, int] = {}
    for number in range(last - 1, -1, -1):
        following[number] = seen.get(trace_.requests[number].prompt)
        seen[trace_.requests[number].prompt] = number
    by_time: dict[int, int] = {}
    held, saved, hits = 0, 0.0, 0
    for number, request in enumerate(trace_.requests):
        prompt, next_use = request.prompt, following[number]
        if prompt in by_time:
            saved += trace_.usd[prompt]
            hits += 1
            held -= trace_.size[prompt]
            del by_time[prompt]
        if next_use is None:
            continue  # nobody asks again: not kept
        by_time[prompt] = next_use
        held += trace_.size[prompt]
        if held > bound:
            going = sorted(by_time, key=lambda p: trace_.usd[p] / trace_.size[p] / (by_time[p] - number + 1))
            for each in going:  # a twentieth more than it must, so that it sorts seldom
                if held <= 0.95 * bound:
                    break
                held -= trace_.size[each]
                del by_time[each]
    return saved, hits / last


def part_1() -> None:
    """Prints what each saves."""
    for name, churn in (("popularity as it is", 0.0), (f"{CHURN:.0%} of the prompts replaced a day", CHURN)):
        replayed = trace(churn=churn, seed=7)
        # prompts are first asked for at each one's own time; what is paid for those nobody can save
        paid = sum(replayed.usd[request.prompt] for request in replayed.requests)
        once = sum(replayed.usd[prompt] for prompt in {request.prompt for request in replayed.requests})
        bound = int(BOUND * sum(size for _, size in KINDS) / len(KINDS) * PROMPTS)
        print(
            f"\n{name}: {len(replayed.requests):,} requests, {paid:,.0f} USD without a cache, of which {paid - once:,.0f} could be saved"
        )
        print(f"bound {bound / 1e9:.1f} GB, a tenth of the bytes of {PROMPTS:,} prompts")
        results: dict[str, tuple[float, float]] = {}
        for policy in POLICIES:
            results[policy] = saved_by_policy(replayed, policy, bound)
        results["clairvoyant"] = saved_by_foresight(replayed, bound)
        for policy, (usd, rate) in results.items():
            against = usd / results["lru"][0]
            print(f"  {policy:12} saves {usd:8,.0f} USD  ({against:.2f} of LRU), hits {rate:.1%}")


async def part_2(count: int, folder: Path) -> None:
    """Prints how long evicting holds others up."""
    url = f"sqlite:///{folder}/cache.db"
    await migrate(url)
    ranking = ranking_for("cost", Bounds(Bound(count)))
    await fill(url, ranking, count)
    store = await open_store(url, ranking=ranking)
    for name, measured in (("held()", store.held), ("rank(), nothing to do", store.rank)):
        started = time.perf_counter()
        await measured()  # type: ignore[operator]
        print(f"  {name:24} {(time.perf_counter() - started) * 1e3:8.1f} ms (in a reader, holds nobody up)")
    late: list[float] = []
    waited: list[float] = []
    ended = asyncio.Event()

    async def heartbeat() -> None:
        while not ended.is_set():
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - started - 0.001)

    async def another() -> None:
        number = itertools.count(10**9)
        while not ended.is_set():
            started = time.perf_counter()
            await store.put(entry(next(number)), "append")
            waited.append(time.perf_counter() - started)
            await asyncio.sleep(0.005)

    beside = [asyncio.create_task(heartbeat()), asyncio.create_task(another())]
    batches = []
    for _ in range(count // 50 // BATCH):
        started = time.perf_counter()
        await store.evict(Excess(None, BATCH, 0), limit=BATCH, now=time.time())
        batches.append(time.perf_counter() - started)
    ended.set()
    await asyncio.gather(*beside)
    for name, values in (("a batch of 20", batches), ("a store beside it", waited), ("the loop, late by", late)):
        p50, p99, most = np.percentile(values, [50, 99, 100]) * 1e3
        print(f"  {name:24} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   longest {most:6.1f} ms   ({len(values)} times)")
    await store.aclose()


async def fill(url: str, ranking: Ranking, count: int) -> None:
    """Writes the rows that as many stores would, a page in a transaction."""
    database = Database(url)
    for start in range(0, count, 2000):
        numbers = range(start, min(start + 2000, count))

        async def page(connection: AsyncConnection, numbers: range = numbers) -> None:
            new = {number + 1: entry(number) for number in numbers}
            its = {
                number: made(each.created_at, each.outputs[0].size, each.outputs[0].usd) for number, each in new.items()
            }
            rows: dict[sa.Table, list[dict[str, Any]]] = {
                entries: [{"id": number, **entry_values(each)} for number, each in new.items()],
                outputs: [output_values(number, 0, each.outputs[0]) for number, each in new.items()],
                vectors: [vector_values(number, each.vector) for number, each in new.items() if each.vector],
                worth: [
                    {
                        "entry_id": number, "namespace": new[number].namespace, "blob_bytes": each.blob_bytes, "usd": each.usd,
                        "hits": 0, "last_used": each.last_used, "priority": ranking.value(each),
                    }
                    for number, each in its.items()
                ],
            }  # fmt: skip
            for table, values in rows.items():
                await connection.execute(sa.insert(table), values)

        await database.write(page)
    await database.write(lambda c: c.execute(sa.update(counter).values(ranking=ranking.rule)))
    await database.aclose()


def entry(number: int) -> NewEntry:
    """An image's entry as it is in real life: a prompt, a vector, an analysis, one picture."""
    draw = np.random.default_rng(number)
    vector = draw.standard_normal(384).astype(np.float32)
    name = f"{number:064x}"
    usd = float(draw.choice([0.01, 0.04, 0.19]))
    return NewEntry(
        exact_key=name, key_version=1, partition=f"{number % 500:064x}", namespace=f"tenant-{number % 20}",
        operation="images", model="painter", prompt=f"a picture of number {number} " * 4, prompt_digest=name,
        request={"prompt": f"number {number}", "size": "1024x1024"}, envelope={}, made={"model": "painter"},
        outputs=(Output(item={}, created=1, usage={"total_tokens": 300}, blob=name, size=1_200_000, media_type="image/png", usd=usd),),
        vector=StoredVector("mini@1", vector / np.linalg.norm(vector), "1", {"prompt": "a picture", "facts": {"n": 1}}),
        created_at=1.8e9 + number, expires_at=None, began=0,
    )  # fmt: skip


def main() -> None:
    """Both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--part", type=int, choices=[1, 2])
    arguments = parser.parse_args()
    if arguments.part != 2:
        part_1()
    if arguments.part != 1:
        print(f"\n{arguments.entries:,} entries in SQLite")
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(part_2(arguments.entries, Path(folder)))


if __name__ == "__main__":
    main()
