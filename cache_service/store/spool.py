"""One file for each generation being received: what is paid survives a killed process.

A file begins with one line, `cache-service-spool 1 LENGTH SHA256`, then the header as JSON of that length, a newline, and
the answer's bytes as they arrived. Nothing is fsynced: what a process has written survives its death in the page cache, and
a power cut costs the price of the generations in flight, never anything that was acknowledged; an fsync for each piece
would cost every request milliseconds.
A file is locked as long as its generation lives, so `recover` sees only those of processes that are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import threading
from pathlib import Path

import orjson

from cache_service.errors import StoreError
from cache_service.store.base import Spooled
from cache_service.store.entry import SpoolHeader
from cache_service.store.files import locked, make_private_folder, wrapped, write_all

_MAGIC = b"cache-service-spool 1 "
_SUFFIX = ".spool"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class FileSpool:
    """A `Spool` in a folder of its own; made when the first file is opened."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def open(self, header: SpoolHeader) -> FileSpoolFile:
        """Begins the file of one generation. Raises StoreError, also where one of that id exists already."""
        return await asyncio.to_thread(_begin, self._root, header)

    async def recover(self) -> list[Spooled]:
        """The oldest generation first. Files with an unreadable header go to `set-aside` in the same folder."""
        found = await asyncio.to_thread(_left_behind, self._root)
        return sorted(found, key=lambda spooled: (spooled.header.started_at, spooled.header.generation_id))


class FileSpoolFile:
    """One generation's file, locked until it is discarded."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._turn = (
            threading.Lock()
        )  # of threads: a cancelled append still runs, and the file mustn't be closed under it
        self._torn = False

    async def append(self, piece: bytes) -> None:
        """Adds the bytes, in a thread. After a failure nothing more is added: an answer with a hole is worth nothing."""
        await asyncio.to_thread(self._append, piece)

    async def discard(self) -> None:
        """Removes the file; idempotent."""
        await asyncio.to_thread(self._discard)

    def _append(self, piece: bytes) -> None:
        with self._turn, wrapped("writing to the spool"):
            if self._descriptor is None or self._torn:
                raise StoreError("a spool file takes nothing more after a failed write or its end")
            self._torn = True
            write_all(self._descriptor, piece)
            self._torn = False

    def _discard(self) -> None:
        with self._turn, wrapped("removing a spool file"):
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                _remove(self._path, descriptor)


def _begin(root: Path, header: SpoolHeader) -> FileSpoolFile:
    with wrapped("opening a spool file"):
        make_private_folder(root)
        path = root / f"{_file_name(header.generation_id)}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            locked(descriptor)
            write_all(descriptor, _head(header))
        except BaseException:
            _remove(path, descriptor)
            raise
        return FileSpoolFile(path, descriptor)


def _head(header: SpoolHeader) -> bytes:
    try:
        text = orjson.dumps(header)
    except TypeError as exc:
        raise StoreError(f"the spool's header can't be written as JSON: {exc}") from exc
    digest = hashlib.sha256(text).hexdigest().encode()
    return b"%s%d %s\n%s\n" % (_MAGIC, len(text), digest, text)


def _remove(path: Path, descriptor: int) -> None:
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _left_behind(root: Path) -> list[Spooled]:
    found = []
    with wrapped("reading the spool"):
        for path in sorted(root.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(FileNotFoundError):  # its generation has just ended
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
                spooled = _taken_over(path, descriptor) if locked(descriptor) else None
                if spooled is None:
                    os.close(descriptor)
                else:
                    found.append(spooled)
    return found


def _taken_over(path: Path, descriptor: int) -> Spooled | None:
    """The file's content, or None after it was set aside or was gone already."""
    if not path.exists():  # discarded between opening and locking
        return None
    content = path.read_bytes()
    header, body = _split(content)
    if header is None:
        aside = path.parent / "set-aside"
        make_private_folder(aside)
        free = next(n for n in range(10**9) if not (aside / f"{path.name}.{n}").exists())
        path.rename(aside / f"{path.name}.{free}")
        return None
    return Spooled(header, body, FileSpoolFile(path, descriptor))


def _split(content: bytes) -> tuple[SpoolHeader | None, bytes]:
    line, _, rest = content.partition(b"\n")
    try:
        length, digest = line.removeprefix(_MAGIC).split(b" ")
        text, body = rest[: int(length)], rest[int(length) + 1 :]
        if not line.startswith(_MAGIC) or hashlib.sha256(text).hexdigest().encode() != digest:
            return None, b""
        return SpoolHeader(**orjson.loads(text)), body
    except (ValueError, TypeError):
        return None, b""


def _file_name(generation_id: str) -> str:
    """The id where it is a plain name, else its digest: it comes from outside this module."""
    if _PLAIN_NAME.fullmatch(generation_id):
        return generation_id
    return hashlib.sha256(generation_id.encode("utf-8", "surrogatepass")).hexdigest()
