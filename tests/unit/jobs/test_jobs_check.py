"""`check --fix` on pictures: what is lost is set aside, what nobody refers to goes, and a second look finds nothing."""

from __future__ import annotations

from pathlib import Path

from cache_service.index.faiss import FaissIndex
from cache_service.jobs.check import check
from cache_service.jobs.follow import Follower
from cache_service.store.base import Stored
from cache_service.store.blobs import FileBlobStore
from cache_service.store.sql import open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output, unit


async def test_missing_and_damaged_pictures_take_their_entries_out_of_service(
    make_sqlite: MakeDatabase, tmp_path: Path
) -> None:
    store, blobs = await open_store(make_sqlite()), await FileBlobStore.open(tmp_path / "blobs")
    index = FaissIndex(tmp_path / "index", len(unit(1, 0, 0)))
    follower = Follower(store, index, embedding_model=MODEL)
    await follower.start()
    paths = {}
    for name in ("whole", "missing", "damaged"):
        async with blobs.writing([name.encode()]) as (blob,):
            made = (output(name, blob=blob),)
            assert isinstance(await store.put(new_entry(name, outputs=made), "append"), Stored)
        (paths[name],) = (tmp_path / "blobs").rglob(blob)
    async with blobs.writing([b"orphan"]):
        pass
    paths["missing"].unlink()
    paths["damaged"].write_bytes(b"DAMAGED")

    async def look(*, fix: bool) -> list[tuple[str, bool]]:
        found = await check(store, blobs, index, follower, embedding_model=MODEL, fix=fix)
        return sorted((problem.kind, problem.fixed) for problem in found)

    expected = ["damaged picture", "damaged picture", "picture that no entry refers to"]
    assert await look(fix=False) == [(kind, False) for kind in expected]
    assert await look(fix=True) == [(kind, True) for kind in expected]
    assert await look(fix=False) == []
    served = [await store.find(digest(name), embedding_model=MODEL) for name in paths]
    assert [entry.prompt for entry in served if entry is not None] == ["whole"]
    async with blobs.writing([b"damaged"]) as (blob,):  # generated anew: the same picture is whole again
        await store.put(new_entry("damaged", outputs=(output("damaged", blob=blob),)), "append")
    assert await blobs.read(blob) == b"damaged"
    assert await look(fix=False) == []
    await index.aclose()
    await store.aclose()
