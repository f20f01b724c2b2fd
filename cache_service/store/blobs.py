"""Pictures as files named by the SHA-256 of their bytes, in 256 folders by the first digits: `ab/abcd…`.

A picture is durable before it is named: temporary file, fsync (`ahead`), rename, fsync of the folder. The folders are made before the first picture.
A process that is killed leaves at most temporary files, which the next one to open the store removes; those of a
process that still lives are locked and stay.

A file `collection` is locked shared while blobs are deleted, and exclusively by a backup, of whatever process: what can't be deleted then
is deleted with the next collection.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from cache_service.errors import StoreCorrupt, StoreError, StoreReadOnly
from cache_service.store.ahead import TEMPORARY, FilesAhead, Unnamed
from cache_service.store.base import Ahead
from cache_service.store.files import locked, make_private_folder, sync_folder, wrapped

COLLECTED_AT_ONCE = 64
"""Blobs deleted while no writer may begin: some milliseconds."""

FOLDERS = tuple(f"{number:02x}" for number in range(256))
"""By the first digits of a digest."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COLLECTION = "collection"


class FileBlobStore:
    """A `BlobStore` in a folder. `open` makes one."""

    def __init__(self, root: Path, *, spare_younger_than: float, clock: Callable[[], float]) -> None:
        self._root = root
        self._spare = spare_younger_than
        self._clock = clock
        self._pinned: Counter[str] = Counter()
        self._gate = asyncio.Lock()  # held while pins are set, and while unpinned blobs are deleted
        self._failed: StoreReadOnly | None = None
        self._postponed: set[str] = set()

    @classmethod
    async def open(
        cls, root: Path, *, spare_younger_than: float = 0.0, clock: Callable[[], float] = time.time
    ) -> FileBlobStore:
        """Opens or makes the folder, and removes what a killed process left half written.

        spare_younger_than: seconds in which a blob that was written or found again isn't collected: for a folder that
        several processes share, which can't see each other's pins.
        """
        await asyncio.to_thread(_prepare, root)
        return cls(root, spare_younger_than=spare_younger_than, clock=clock)

    @property
    def failed(self) -> str | None:
        """What was said when a write failed for good."""
        return None if self._failed is None else str(self._failed)

    @contextlib.asynccontextmanager
    async def writing(
        self, pictures: Sequence[bytes], *, digests: Sequence[str] | None = None, ahead: Ahead | None = None
    ) -> AsyncIterator[list[str]]:
        """Writes the pictures that aren't there, or names them where they were written ahead, in a thread; touches the others."""
        if digests is None:
            digests = await asyncio.to_thread(lambda: [hashlib.sha256(picture).hexdigest() for picture in pictures])
        async with self._gate:
            self._pinned.update(digests)
        try:
            for digest, picture in dict(zip(digests, pictures, strict=True)).items():
                await self._write(digest, picture, ahead)
            yield list(digests)
        finally:
            self._pinned.subtract(digests)
            for digest in set(digests):
                if self._pinned[digest] <= 0:
                    del self._pinned[digest]

    async def read(self, sha256: str) -> bytes:
        """The bytes, checked against the digest. Raises StoreCorrupt, or StoreError if the file can't be read now."""
        return await asyncio.to_thread(read_blob, self._root, sha256)

    async def collect(
        self,
        blobs: Iterable[str],
        *,
        unreferenced: Callable[[Collection[str]], Awaitable[set[str]]] | None = None,
    ) -> int:
        """Deletes a few at a time. With `unreferenced` a store that commits meanwhile is seen: its pins ended before."""
        rest = list(dict.fromkeys(blobs))
        if unreferenced is not None:  # what was postponed may be in use again
            rest, self._postponed = list(dict.fromkeys([*rest, *sorted(self._postponed)])), set()
        deleted = 0
        while rest:
            page, rest = rest[:COLLECTED_AT_ONCE], rest[COLLECTED_AT_ONCE:]
            async with self._gate:
                free = {digest for digest in page if digest not in self._pinned and _DIGEST.fullmatch(digest)}
                if unreferenced is not None and free:
                    free &= await unreferenced(free)
                younger = self._clock() - self._spare if self._spare else None
                paths = [self._path(digest) for digest in sorted(free)]
                gone = await asyncio.to_thread(_delete, self._root, paths, younger)
                if gone is None:
                    self._postponed |= free
                else:
                    deleted += gone
        return deleted

    async def all(self) -> list[str]:
        """Reads the folders, in a thread."""
        return await asyncio.to_thread(stored_blobs, self._root)

    @contextlib.asynccontextmanager
    async def ahead(self) -> AsyncIterator[Ahead]:
        """Writes in threads."""
        ahead = FilesAhead(self._root, failed=lambda: self._failed is not None)
        try:
            yield ahead
        finally:
            if ahead:
                with contextlib.suppress(StoreError), self._noting_what_is_final():
                    await asyncio.to_thread(_discard, ahead)

    async def _write(self, digest: str, picture: bytes, ahead: Ahead | None) -> None:
        if self._failed is not None:
            raise StoreReadOnly(str(self._failed))
        with self._noting_what_is_final():
            await asyncio.to_thread(keep, self._root, digest, picture, ahead if isinstance(ahead, FilesAhead) else None)

    @contextlib.contextmanager
    def _noting_what_is_final(self) -> Iterator[None]:
        """After a failed fsync the page cache may claim what the disk doesn't have."""
        try:
            yield
        except StoreReadOnly as exc:
            self._failed = exc
            raise

    def _path(self, digest: str) -> Path:
        return _path(self._root, digest)


@contextlib.contextmanager
def collection_paused(root: Path) -> Iterator[None]:
    """Until the block ends nobody deletes blobs, in whatever process; waits for those who are deleting. Blocks."""
    with wrapped("pausing the collection of pictures"):
        make_private_folder(root)
        descriptor = os.open(root / _COLLECTION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


def _path(root: Path, digest: str) -> Path:
    return root / digest[:2] / digest


def _prepare(root: Path) -> None:
    with wrapped("opening the folder of pictures"):
        make_folders(root)
        for path in root.glob(f"*{TEMPORARY}"):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR)
                try:
                    if locked(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


def make_folders(root: Path) -> None:
    """The folder of pictures and those in it, all durable."""
    make_private_folder(root)
    there = {path.name for path in root.iterdir()}
    for name in FOLDERS:
        if name not in there:
            (root / name).mkdir(mode=0o700, exist_ok=True)
    sync_folder(root)


def keep(root: Path, digest: str, picture: bytes, ahead: FilesAhead | None = None) -> None:
    """Makes the file durable under its name, unless it is there already with as many bytes. ahead: where it may be written already."""
    path = _path(root, digest)
    with wrapped("storing a picture"):
        there = _touched(path, len(picture))
        if not there:
            begun = None if ahead is None else ahead.take(picture)
            (begun or Unnamed(root, picture)).name(path)
        try:
            sync_folder(path.parent)
        except OSError:
            if not there:  # one that was there may be another entry's, which was told that it is stored
                path.unlink(missing_ok=True)  # or it would be found again, and never be durable
            raise


def _touched(path: Path, size: int) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _discard(ahead: FilesAhead) -> None:
    with wrapped("writing a picture"):
        ahead.discard()


def read_blob(root: Path, digest: str) -> bytes:
    """The bytes, checked against the digest. Raises StoreCorrupt, or StoreError if the file can't be read now."""
    if not _DIGEST.fullmatch(digest):
        raise StoreCorrupt(f"no digest of a picture: {digest[:80]!r}")
    try:
        with wrapped("reading a picture"):
            picture = _path(root, digest).read_bytes()
    except Exception as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise StoreCorrupt(f"the picture {digest} is missing") from exc.__cause__
        raise
    if hashlib.sha256(picture).hexdigest() != digest:
        raise StoreCorrupt(f"the picture {digest} isn't what was written")
    return picture


def _delete(root: Path, paths: list[Path], younger_than: float | None) -> int | None:
    """How many went; None where a backup is being made."""
    deleted = 0
    with wrapped("deleting pictures"):
        descriptor = os.open(root / _COLLECTION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    if younger_than is not None and path.stat().st_mtime > younger_than:
                        continue
                    path.unlink()
                    deleted += 1
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)
    return deleted


def stored_blobs(root: Path) -> list[str]:
    """Every stored digest."""
    with wrapped("listing the pictures"):
        return [path.name for path in root.glob("??/*") if _DIGEST.fullmatch(path.name)]
