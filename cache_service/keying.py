"""Step 1: what a request asks for, and its key. What was asked before, byte for byte, needn't be found out again.

Taking apart and keying are pure, so the same bytes are the same question as long as the same operation, namespace and day (a strict
catalog refuses models from the day they end) are meant. A request that was refused isn't remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cache_service.bounded import Bounded
from cache_service.budget import DAY
from cache_service.cache_key.key import CacheKey
from cache_service.operations.base import Asked, Operation
from cache_service.providers import Provider
from cache_service.question import is_large, keyed

Prepare: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""(operation, body) → the body with presets made explicit. Raises InvalidRequest."""

Read: TypeAlias = Callable[[bytes], Mapping[str, Any]]
"""A request's JSON → its members. Raises InvalidRequest."""

LARGE: Final = 64 * 1024
"""Bytes. Parsing more takes a millisecond and more, so it is done in a thread; and nothing so large is remembered."""

_OBJECTS_A_BYTE: Final = 6  # bytes in memory for each of the request, measured on conversations of 0.2 to 20 KB
_OBJECTS: Final = 3000  # bytes for each request, however short


def as_sent(operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Prepares nothing."""
    return body


class Keying:
    """Takes requests apart. most: bytes of remembered ones in memory, roughly. now: Unix seconds."""

    def __init__(
        self,
        provider: Provider,
        *,
        read: Read,
        prepare: Prepare = as_sent,
        most: int = 0,
        now: Callable[[], float],
    ) -> None:
        self.known: Bounded[tuple[bytes, str, str, int], tuple[Asked, CacheKey]] = Bounded(most)
        self._provider = provider
        self._read = read
        self._prepare = prepare
        self._now = now

    async def key(
        self, operation: Operation, body: Mapping[str, Any] | bytes, namespace: str
    ) -> tuple[Asked, CacheKey]:
        """The request taken apart, and its key. body: its members, or the bytes as they came. Raises InvalidRequest."""
        if not isinstance(body, bytes):
            return await self._form(operation, body, namespace)
        if len(body) > LARGE:
            return await self._form(operation, await asyncio.to_thread(self._read, body), namespace)
        name = (hashlib.sha256(body).digest(), operation.name, namespace, int(self._now() // DAY))
        found = self.known.get(name)
        if found is None:
            found = await self._form(operation, self._read(body), namespace)
            self.known.put(name, found, _OBJECTS + _OBJECTS_A_BYTE * len(body))
        return found

    async def _form(self, operation: Operation, body: Mapping[str, Any], namespace: str) -> tuple[Asked, CacheKey]:
        def form() -> tuple[Asked, CacheKey]:
            return keyed(operation, self._prepare(operation.name, body), namespace, self._provider)

        return await asyncio.to_thread(form) if is_large(body) else form()
