"""Pictures that are made durable before anybody knows whether they are to be kept: without a name, which is all that is left to give them then.

The disk works while the picture is hashed and looked at. What is killed meanwhile leaves a temporary file, as any write of a picture does.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from cache_service.store.files import locked, write_all

TEMPORARY: Final = ".writing"
"""How the names of files end that have none yet."""

_WRITING: Final = ThreadPoolExecutor(8, thread_name_prefix="pictures")


class Unnamed:
    """A durable file, locked as long as this process means to name it. Every method blocks and raises OSError."""

    def __init__(self, root: Path, picture: bytes) -> None:
        self._path = root / f"{secrets.token_hex(8)}{TEMPORARY}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            locked(self._descriptor)
            write_all(self._descriptor, picture)
            os.fsync(self._descriptor)
        except BaseException:
            self.discard()
            raise

    def name(self, path: Path) -> None:
        """Moves it to its place; the name isn't durable yet."""
        try:
            self._path.rename(path)
        except BaseException:
            self.discard()
            raise
        os.close(self._descriptor)

    def discard(self) -> None:
        """Removes it, as far as that is possible."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class FilesAhead:
    """An `Ahead` in a folder. failed: whether nothing may be written any more."""

    def __init__(self, root: Path, *, failed: Callable[[], bool]) -> None:
        self._root = root
        self._failed = failed
        self._begun: list[tuple[bytes, Future[Unnamed]]] = []

    def __len__(self) -> int:
        """How many were begun and not taken."""
        return len(self._begun)

    def begin(self, picture: bytes) -> None:
        """Hands it to a thread."""
        if not self._failed():
            self._begun.append((picture, _WRITING.submit(Unnamed, self._root, picture)))

    def take(self, picture: bytes) -> Unnamed | None:
        """The file of these very bytes, once it is durable; None if it wasn't begun. Blocks; raises OSError."""
        for place, (begun, writing) in enumerate(self._begun):
            if begun is picture:
                del self._begun[place]
                return writing.result()
        return None

    def discard(self) -> None:
        """Removes what nobody has taken. Blocks; raises OSError where one couldn't even be written."""
        error: OSError | None = None
        while self._begun:
            _, writing = self._begun.pop()
            try:
                writing.result().discard()
            except OSError as exc:
                error = exc
        if error is not None:
            raise error
