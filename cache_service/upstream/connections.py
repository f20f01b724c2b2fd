"""httpx's connections without its pool, which looks at every idle one, with a system call each, whenever a call begins or ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import httpcore
import httpx

KEPT_FOR = 5.0
"""Seconds that a connection stays open while nobody calls (httpx's own figure); some servers and proxies close theirs after so many."""

GATHERED = 64 * 1024
"""Bytes of a request that are sent as one piece: its head and a body as prompts have it. Each piece is a system call, and wakes the other side."""

ERRORS: Mapping[type[Exception], type[httpx.TransportError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        *("TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
        *("NetworkError", "ConnectError", "ReadError", "WriteError"),
        *("ProtocolError", "LocalProtocolError", "RemoteProtocolError", "ProxyError", "UnsupportedProtocol"),
    )
}  # fmt: skip
"""What a connection raises, and the same in httpx's words."""


class Connections(httpx.AsyncBaseTransport):
    """As many connections as there are calls at once: how many there may be is the limit pools' business, which count them.

    Each is one of httpcore's, below httpx; what was used last is used next. A call costs the same whether one is under way or 256.
    """

    def __init__(self) -> None:
        self._trusted = httpx.create_ssl_context(trust_env=False)
        self._busy: set[httpcore.AsyncHTTPConnection] = set()
        self._idle: deque[tuple[float, httpcore.AsyncHTTPConnection]] = deque()  # since when; the longest first

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Lends a connection until the answer is closed. Raises httpx's errors."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore.Request(
            request.method,
            url,
            headers=request.headers.raw,
            content=cast("httpx.AsyncByteStream", request.stream),
            extensions=request.extensions,
        )
        connection = await self._take(url.origin)
        self._busy.add(connection)
        try:
            await self._close_old()
            with _in_httpx_words():
                answer = await connection.handle_async_request(asked)
        except BaseException:
            self._give_back(connection)
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Lent(answer.stream, lambda: self._give_back(connection)),
            extensions=dict(answer.extensions),
        )

    async def aclose(self) -> None:
        """Closes all, also those under a call; idempotent."""
        every = [*self._busy, *(connection for _, connection in self._idle)]
        self._busy.clear()
        self._idle.clear()
        for connection in every:
            await connection.aclose()

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """The idle one that was used last and that the other side hasn't closed, or a new one."""
        while self._idle:
            connection = self._idle.pop()[1]
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(origin, self._trusted, network_backend=_Gathers())

    def _give_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        if connection in self._busy:  # once, and not after all were closed
            self._busy.remove(connection)
            if not connection.is_closed():
                self._idle.append((time.monotonic(), connection))

    async def _close_old(self) -> None:
        while self._idle and time.monotonic() - self._idle[0][0] > KEPT_FOR:
            await self._idle.popleft()[1].aclose()


class _Lent(httpx.AsyncByteStream):
    """An answer's bytes; says when it is closed."""

    def __init__(self, stream: Any, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._closed = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_httpx_words():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        try:
            with _in_httpx_words():
                await self._stream.aclose()
        finally:
            self._closed()


class _Gathers(httpcore.AnyIOBackend):
    """Connects as httpcore does; what is written is gathered."""

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Gathered(await super().connect_tcp(*args, **options))


class _Gathered(httpcore.AsyncNetworkStream):
    """Sends what was written when it is `GATHERED` or when nothing is written, which is how httpcore ends a request."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's interface
        await self.write(b"", timeout)
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if buffer and len(self._held) + len(buffer) <= GATHERED:
            self._held += buffer
            return
        held, self._held = self._held, b""
        for piece in (held, buffer):
            if piece:
                await self._stream.write(piece, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Gathered(await self._stream.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _in_httpx_words() -> Iterator[None]:
    try:
        yield
    except tuple(ERRORS) as error:
        raise next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)(str(error)) from error
