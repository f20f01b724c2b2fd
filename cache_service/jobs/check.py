"""`check`: does what is stored agree with itself? SQL with itself, pictures with SQL and their digests, the index with SQL."""

from __future__ import annotations

from cache_service.errors import StoreCorrupt
from cache_service.index.base import VectorIndex
from cache_service.jobs.follow import PAGE, Follower
from cache_service.store.base import BlobStore, EntryStore, Problem


async def check(
    store: EntryStore, blobs: BlobStore, index: VectorIndex, follower: Follower, *, embedding_model: str, fix: bool
) -> list[Problem]:
    """Everything found, mended where it can be if `fix`. No server may be writing while it mends. Raises StoreError."""
    problems = await store.check(fix=fix)
    problems += await _check_blobs(store, blobs, fix=fix)
    await follower.catch_up()
    return problems + await _check_index(store, index, follower, embedding_model=embedding_model, fix=fix)


async def _check_blobs(store: EntryStore, blobs: BlobStore, *, fix: bool) -> list[Problem]:
    referenced = {digest async for digest in store.referenced_blobs()}
    problems = []
    for digest in sorted(referenced):
        try:
            await blobs.read(digest)
        except StoreCorrupt as error:
            holders = await store.holding(digest)
            if (
                fix
            ):  # its entries are generated anew as soon as they are asked for; the same picture is then written again
                await store.quarantine(holders)
                await blobs.collect([digest])
            if holders:
                problems.append(Problem("damaged picture", str(error), fixed=fix))
    orphans = sorted(set(await blobs.all()) - referenced)
    if orphans and fix:
        await blobs.collect(orphans, unreferenced=store.unreferenced)
    return problems + [Problem("picture that no entry refers to", digest, fixed=fix) for digest in orphans]


async def _check_index(
    store: EntryStore, index: VectorIndex, follower: Follower, *, embedding_model: str, fix: bool
) -> list[Problem]:
    expected: dict[int, str] = {}
    last = 0
    while rows := await store.scan_vectors(embedding_model=embedding_model, after_id=last, limit=PAGE):
        expected |= {row.entry_id: row.partition for row in rows}
        last = rows[-1].entry_id
    found = set(index.entry_ids())
    problems = [Problem("entry missing in the index", str(entry), fix) for entry in sorted(expected.keys() - found)]
    problems += [Problem("entry only in the index", str(entry), fix) for entry in sorted(found - expected.keys())]
    problems += [
        Problem("entry in another partition of the index", str(entry), fix)
        for entry in sorted(found & expected.keys())
        if index.partition_of(entry) != expected[entry]
    ]
    if problems and fix:
        index.clear()
        await follower.catch_up()
        await follower.save()
    return problems
