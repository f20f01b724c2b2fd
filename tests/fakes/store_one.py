"""Stores one entry with its picture and says so: `python -m tests.fakes.store_one URL FOLDER NAME`.

Exit status 70 if writing failed for good, as the service's own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cache_service.errors import StoreReadOnly
from cache_service.store.blobs import FileBlobStore
from cache_service.store.sql import open_store
from tests.fakes.entries import new_entry, output
from tests.fakes.storing import picture, say


async def store_one(url: str, root: Path, name: str) -> None:
    """Opens, stores, says `stored`, closes."""
    store, blobs = await open_store(url), await FileBlobStore.open(root)
    try:
        pictures = [picture(name)]
        async with blobs.ahead() as ahead:
            ahead.begin(pictures[0])
            async with blobs.writing(pictures, ahead=ahead) as (blob,):
                await store.put(new_entry(name, outputs=(output(name, blob=blob),)), "append")
        say("stored", name)
    finally:
        await store.aclose()


if __name__ == "__main__":
    try:
        asyncio.run(store_one(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    except StoreReadOnly:
        sys.exit(70)
