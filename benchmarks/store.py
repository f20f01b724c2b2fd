"""What a store costs beside what the machine asks for it: a picture against the bare system calls, small answers against bare SQLite.

Picture: steps 7 and 8 of a miss (`Generator.run`: spool, take the answer apart, check that the picture is whole, blob, one durable
transaction, index) with an upstream in memory that answers at once, beside write + fsync + rename + fsync of the folder + one durable
commit of a row. Small answers: `put` with its payment, one after another and so many at once, beside durable commits of plain
sqlite3: one row of the same bytes, one by one and in groups of 64; and beside the very rows that a store writes, in groups of 64, without
the full-text index, which learns behind the stores: what it takes meanwhile is in our figures. All in turn in one run, so that a busy
machine is busy for all of them.

What it doesn't show: what is done once the answer is out (the spool's file goes), steps 1 to 6 (`latency.py`), HTTP, another file system or
disk, PostgreSQL, a database of a million entries.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from PIL import Image

from cache_service.budget import Budgets, Limits
from cache_service.generation import Generator, Job, Outcome, Produced
from cache_service.index.faiss import FaissIndex
from cache_service.jobs.follow import Follower
from cache_service.jobs.ledger import Ledger
from cache_service.lifetime import Lifetimes
from cache_service.operations.images import Images
from cache_service.providers import Provider
from cache_service.single_flight import Generation
from cache_service.store.blobs import FileBlobStore
from cache_service.store.entry import Kind, NewEntry, Output, Payment, StoredVector
from cache_service.store.migrations import migrate
from cache_service.store.spool import FileSpool
from cache_service.store.sql import SqlEntryStore, open_store
from cache_service.upstream.base import Call, PoolUse, Reply

MODEL = "mini@1"
PICTURE_BYTES = 1_500_000
GROUP = 64
PROMPT = "a photograph of a red cube on a blue sphere in a white room with soft morning light"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0")
CHECKPOINT_EVERY = 100  # commits, as the store does it

random = np.random.default_rng(7)


def digest(text: str) -> str:
    """A key."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_entry(name: str, operation: str = "chat") -> NewEntry:
    """An entry as a chat answer of 1 KB makes it, with its vector."""
    vector = random.standard_normal(384).astype(np.float32)
    prompt = f"{PROMPT} {name}"
    answer = {"id": name, "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 1000}}]}
    return NewEntry(
        exact_key=digest(name), key_version=1, partition=digest("partition"), namespace="default", operation=operation,
        model="gpt-6-luna", prompt=prompt, prompt_digest=digest(prompt),
        request={"model": "gpt-6-luna", "messages": [{"role": "user", "content": prompt}]}, envelope={},
        made={"provider": "primary"}, outputs=(Output(answer, 1_700_000_000, {"prompt_tokens": 20}),),
        vector=StoredVector(MODEL, vector / np.linalg.norm(vector), "1", {"prompt": prompt, "facts": {}}),
        created_at=time.time(), expires_at=None, began=0, client="bench", group="memory",
    )  # fmt: skip


def payment(name: str) -> Payment:
    """What it cost."""
    return Payment(name, time.time(), Kind("chat", "bench", "gpt-6-luna", group="memory"), "paid", 0.001)


def pictures(count: int) -> Iterator[bytes]:
    """PNGs of about `PICTURE_BYTES` that no compression makes smaller."""
    side = int((PICTURE_BYTES / 3) ** 0.5)
    for _ in range(count):
        out = io.BytesIO()
        pixels = random.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        yield out.getvalue()


class Bare:
    """The system calls and commits alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "pictures").mkdir(parents=True)
        self._database = sqlite3.connect(folder / "bare.db", isolation_level=None)
        for pragma in PRAGMAS:
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, key TEXT UNIQUE, row BLOB)")
        self._commits = 0

    def commit(self, rows: list[tuple[str, bytes]]) -> None:
        """One durable transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO one (key, row) VALUES (?, ?)", rows)
        self._database.execute("COMMIT")
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY == 0:
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def picture(self, name: str, picture: bytes) -> None:
        """Durable under its name, and a row that says so."""
        folder = self._folder / "pictures"
        descriptor = os.open(folder / "writing", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, picture)
        os.fsync(descriptor)
        os.close(descriptor)
        (folder / "writing").rename(folder / name)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)
        self.commit([(name, b"x" * 200)])


class AtOnce:
    """An upstream in memory that answers what it is given."""

    group = "memory"
    simulated = False

    def __init__(self) -> None:
        self.body = b""

    @contextlib.asynccontextmanager
    async def send(self, _call: Call) -> AsyncIterator[Reply]:
        """One piece."""

        async def pieces() -> AsyncIterator[bytes]:
            yield self.body

        yield Reply(200, {"content-type": "application/json"}, pieces(), "key", usage=lambda: {"output_tokens": 100})

    def pools(self) -> list[PoolUse]:
        """None."""
        return []

    async def aclose(self) -> None:
        """Nothing to close."""


@dataclass
class Ours:
    """The real store, files and index, with an upstream in memory."""

    store: SqlEntryStore
    generator: Generator
    upstream: AtOnce
    operation: Images
    steps: dict[str, list[float]] = field(default_factory=dict)
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def picture(self, name: str) -> None:
        """A miss from step 7 on."""
        body = {"model": "gpt-image-2", "size": "1024x1024", "prompt": f"{PROMPT} {name}"}
        asked = self.operation.parse(body)
        draft = new_entry(name, "images")
        job = Job(
            self.operation, asked, Provider("primary", self.upstream), 1, 1, "append", True, time.monotonic() + 60
        )
        generation: Generation[Outcome] = Generation(draft, n=1, analysis=None)
        outcome = await self.generator.run(job, generation)
        assert isinstance(outcome, Produced), outcome
        assert outcome.entry is not None, outcome.why_not
        for step, seconds in generation.steps.items():
            self.steps.setdefault(step, []).append(seconds)
        self.afterwards += generation.afterwards

    async def put(self, new: NewEntry, paid: Payment) -> None:
        """A small answer."""
        await self.store.put(new, "keep", payment=paid)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Ours]:
    """Everything a store goes through."""
    url = f"sqlite:///{folder}/cache.db"
    await migrate(url)
    store = await open_store(url)
    index = FaissIndex(folder / "index", 384)
    follower = Follower(store, index, embedding_model=MODEL)
    await follower.start()
    ledger = Ledger(
        store, Budgets(Limits()), price=lambda *_: 0.04, estimate=lambda *_: 0.04, hook=lambda event: None
    )  # fmt: skip
    generator = Generator(
        store=store, blobs=await FileBlobStore.open(folder / "blobs"), spool=FileSpool(folder / "spool"),
        follower=follower, lifetimes=Lifetimes(), ledger=ledger, hook=lambda event: None, embedding_model=MODEL,
    )  # fmt: skip
    try:
        yield Ours(store, generator, AtOnce(), Images(lambda *_: 100))
    finally:
        await index.aclose()
        await store.aclose()


async def measure_pictures(bare: Bare, ours: Ours, rounds: int) -> dict[str, float]:
    """p50 in milliseconds of both, in turn."""
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for number, picture in enumerate(pictures(rounds)):
        ours.upstream.body = json.dumps(
            {"created": 1_700_000_000, "data": [{"b64_json": base64.b64encode(picture).decode()}],
             "usage": {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}}
        ).encode()  # fmt: skip
        started = time.perf_counter()
        bare.picture(f"picture {number}", picture)
        between = time.perf_counter()
        await ours.picture(f"picture {number}")
        times["bare"].append(between - started)
        times["ours"].append(time.perf_counter() - between)
        while ours.afterwards:
            await ours.afterwards.pop()()
    found = {name: statistics.median(seconds) * 1e3 for name, seconds in times.items()}
    return found | {step: statistics.median(seconds) * 1e3 for step, seconds in ours.steps.items()}


async def measure_small(bare: Bare, same: SameRows, ours: Ours, rounds: int, each: int) -> dict[str, float]:
    """Answers a second, medians of the rounds."""
    rates: dict[str, list[float]] = {}

    def count(name: str, answers: int, seconds: float) -> None:
        rates.setdefault(name, []).append(answers / seconds)

    row = bytes(3500)  # the prompt, the request, 1 KB of answer, a vector of 1.5 KB
    for number in range(rounds):
        names = [f"{number} {place}" for place in range(each)]
        with timed() as seconds:
            for name in names:
                bare.commit([(digest(name), row)])
        count("sqlite one by one", each, seconds[0])
        with timed() as seconds:
            for start in range(0, each, GROUP):
                bare.commit([(digest(f"group {name}"), row) for name in names[start : start + GROUP]])
        count("sqlite in groups", each, seconds[0])
        with timed() as seconds:
            for start in range(0, each, GROUP):
                same.commit([f"same {name}" for name in names[start : start + GROUP]])
        count("sqlite, our rows, in groups", each, seconds[0])
        answers = [(new_entry(name), payment(name)) for name in names]
        with timed() as seconds:
            for new, paid in answers:
                await ours.put(new, paid)
        count("ours one by one", each, seconds[0])
        for at_once in (GROUP, 4 * GROUP):
            numbered = [f"{at_once} {name}" for name in names]
            turns = iter([(new_entry(name), payment(name)) for name in numbered])

            async def client(turns: Iterator[tuple[NewEntry, Payment]] = turns) -> None:
                for new, paid in turns:
                    await ours.put(new, paid)

            with timed() as seconds:
                await asyncio.gather(*(client() for _ in range(at_once)))
            count(f"ours, {at_once} at once", each, seconds[0])
    return {name: statistics.median(values) for name, values in rates.items()}


class SameRows:
    """The rows that one store writes, with their indexes and triggers, by plain sqlite3: what the schema itself costs."""

    def __init__(self, database: Path) -> None:
        self._database = sqlite3.connect(database, isolation_level=None)
        for pragma in (*PRAGMAS, "foreign_keys=ON"):
            self._database.execute(f"PRAGMA {pragma}")
        self._rows: dict[str, tuple[str, list[tuple[Any, ...]]]] = {}
        self._last, self._commits = 1, 0

    def learn(self, entry_id: int) -> None:
        """Takes the rows of a stored entry as the pattern."""
        for table, key in (("entries", "id"), ("outputs", "entry_id"), ("vectors", "entry_id"), ("worth", "entry_id"),
                           ("changes", "entry_id"), ("payments", None)):  # fmt: skip
            where = f"WHERE {key} = {entry_id}" if key else "LIMIT 1"
            cursor = self._database.execute(f"SELECT * FROM {table} {where}")  # noqa: S608  names of our own
            columns = [column[0] for column in cursor.description]
            (row,) = cursor.fetchall()
            statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
            self._rows[table] = statement, [tuple(zip(columns, row, strict=True))]
        self._last = 10**9

    def commit(self, names: list[str]) -> None:
        """One durable transaction with so many entries."""
        first, self._last = self._last + 1, self._last + len(names)
        self._database.execute("BEGIN IMMEDIATE")
        for table, (statement, ((*pattern,),)) in self._rows.items():
            rows = []
            for entry_id, name in enumerate(names, first):
                new = dict(pattern)
                if table == "entries":
                    new |= {"id": entry_id, "exact_key": digest(name)}
                elif table == "changes":
                    new |= {"number": entry_id, "entry_id": entry_id}
                elif table == "payments":
                    new["id"] = name
                else:
                    new["entry_id"] = entry_id
                    if "id" in new:
                        new["id"] = entry_id
                rows.append(tuple(new.values()))
            self._database.executemany(statement, rows)
        self._database.execute("COMMIT")
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY == 0:
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds that the block took, once it has ended."""
    seconds = [0.0]
    started = time.perf_counter()
    yield seconds
    seconds[0] = time.perf_counter() - started


async def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=1024, help="small answers of one kind in one round")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where to write, to try another disk; a temporary folder if unset")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bare = Bare(folder / "bare")
        async with opened(folder) as ours:
            for name in ("first", "second"):
                await ours.put(new_entry(name), payment(name))
            same_database = folder / "same.db"
            await migrate(f"sqlite:///{same_database}")
            other = await open_store(f"sqlite:///{same_database}")
            await other.put(new_entry("pattern"), "keep", payment=payment("pattern"))
            await other.aclose()
            same = SameRows(same_database)
            same.learn(1)
            picture = await measure_pictures(bare, ours, options.pictures)
            small = await measure_small(bare, same, ours, options.rounds, options.each)
    ratios = {
        "picture": picture["ours"] / picture["bare"],
        "one by one": small["ours one by one"] / small["sqlite one by one"],
        "in groups": small[f"ours, {GROUP} at once"] / small["sqlite in groups"],
        "in groups, against the same rows": small[f"ours, {GROUP} at once"] / small["sqlite, our rows, in groups"],
    }
    if options.json:
        print(json.dumps({"ratios": ratios, "picture_ms": picture, "small_per_second": small}))
        return
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, SQLite {sqlite3.sqlite_version}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"{options.pictures} pictures of {PICTURE_BYTES / 1e6:.1f} MB, p50 in milliseconds")
    for name, milliseconds in picture.items():
        print(f"  {name:28} {milliseconds:8.2f}")
    print(f"{options.rounds} rounds of {options.each} small answers, answers a second")
    for name, rate in small.items():
        print(f"  {name:28} {rate:8.0f}")
    for name, ratio in ratios.items():
        print(f"ratio, {name:36} {ratio:6.2f}")


if __name__ == "__main__":
    uvloop.run(main())  # as the server
