"""What one generation receives, in the spool. A spool that fails is told of and given up: it costs nobody an answer."""

from __future__ import annotations

import asyncio
import logging

from cache_service.errors import StoreError
from cache_service.instrumentation.events import Hook, StoreFailed
from cache_service.store.base import Spool, SpoolFile
from cache_service.store.entry import SpoolHeader

log = logging.getLogger(__name__)


class Spooling:
    """One generation's file, while there is one: none before `open`, nor after a failure."""

    def __init__(self, spool: Spool, operation: str, hook: Hook) -> None:
        self._spool = spool
        self._operation = operation
        self._hook = hook
        self._file: SpoolFile | None = None
        self._writing: asyncio.Task[None] | None = None

    @property
    def kept(self) -> bool:
        """Whether what was received is in the spool, as far as it is written."""
        return self._file is not None

    async def open(self, header: SpoolHeader) -> None:
        """Begins the file."""
        try:
            self._file = await self._spool.open(header)
        except StoreError:
            log.exception("no spool for this generation")
            self._hook(StoreFailed(self._operation, "spool"))

    def append(self, piece: bytes) -> None:
        """Begins to write it, behind what came before: the disk works while the answer is taken apart."""
        if self._file is not None:
            self._writing = asyncio.create_task(self._append(self._file, piece, self._writing))

    async def written(self) -> None:
        """Waits until everything received is in the file, or the file was given up."""
        if self._writing is not None:
            await self._writing

    async def discard(self) -> None:
        """Removes the file."""
        await self.written()
        if self._file is not None:
            await _remove(self._file)

    async def _append(self, file: SpoolFile, piece: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        if self._file is None:
            return
        try:
            await file.append(piece)
        except StoreError:
            self._hook(StoreFailed(self._operation, "spool"))
            self._file = None
            await _remove(file)


async def _remove(file: SpoolFile) -> None:
    try:
        await file.discard()
    except StoreError:
        log.exception("a spool file could not be removed; the next start looks at it again")
