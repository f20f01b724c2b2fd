"""A process to be killed: stores and purges as fast as it can, and says on its standard output what was acknowledged.

`python -m tests.fakes.storing URL FOLDER` reads one line for each round, forks (imports are slow, a fork isn't), and prints
`pid N`; its child prints `stored NAME`, `purging NAME`, `purged NAME` until it is killed; then comes `dead`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from cache_service.store.base import Stored
from cache_service.store.blobs import FileBlobStore
from cache_service.store.entry import PurgePredicate
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.entries import digest, new_entry, output


def picture(name: str) -> bytes:
    """The picture stored with the entry of that name."""
    return name.encode() * 1000


def say(*words: str) -> None:
    """One write for each line: a killed process leaves no half of one."""
    os.write(1, f"{'|'.join(words)}\n".encode())


async def store_for_ever(url: str, root: Path, round_: str) -> None:
    """Three tasks side by side."""
    store, blobs = await open_store(url), await FileBlobStore.open(root)
    await asyncio.gather(*[_work(store, blobs, f"{round_} {task}") for task in range(3)])


async def _work(store: SqlEntryStore, blobs: FileBlobStore, prefix: str) -> None:
    for i in range(10**6):
        name = f"{prefix} {i}"
        async with blobs.writing([picture(name)]) as (blob,):
            began = (await store.position()).number
            outcome = await store.put(new_entry(name, began=began, outputs=(output(name, blob=blob),)), "append")
            assert isinstance(outcome, Stored)
            say("stored", name)
        if i % 5 == 4:
            say("purging", name)
            purged = await store.purge(PurgePredicate(key=digest(name)))
            await blobs.collect(purged.orphaned_blobs, unreferenced=store.unreferenced)
            say("purged", name)


def main(url: str, root: Path) -> None:
    """One child for each line read."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(store_for_ever(url, root, line.strip()))
            os._exit(1)
        say("pid", str(pid))
        os.waitpid(pid, 0)
        say("dead", "")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
