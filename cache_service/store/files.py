"""What blobs and spool need of the file system; every function blocks and is run in a thread.

An error that writing can't recover from (a failed write or fsync, a file system gone read-only) becomes `StoreReadOnly`;
a full disk or too many open files becomes `StoreError`, because it may pass.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from cache_service.errors import StoreError, StoreReadOnly

_FINAL = {errno.EIO, errno.EROFS}


@contextlib.contextmanager
def wrapped(doing: str) -> Iterator[None]:
    """Turns the operating system's errors into ours."""
    try:
        yield
    except OSError as exc:
        kind = StoreReadOnly if exc.errno in _FINAL else StoreError
        raise kind(f"{doing} failed: {exc.strerror or exc}") from exc


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte; the system may take fewer at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Makes the names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Makes the folder and those above it, for the owner only, each durable in the one above."""
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def locked(descriptor: int) -> bool:
    """Takes the file's lock, which is held until it is closed or its process ends; False if someone has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
