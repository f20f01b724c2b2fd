"""HTTP to one OpenAI-compatible base URL, by httpx's requests and answers. Says what came; what it means is judged elsewhere.

What can't happen here: a key sent to another host (redirects aren't followed, proxies from the environment aren't used), an
answer that fills the memory (counted after decompression, which is bounded step by step), a cookie of one key sent with
another, a driver's exception beyond this file.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import httpx

from cache_service.errors import ConfigurationError
from cache_service.upstream.connections import Connections
from cache_service.upstream.retry import FaultKind

CONNECT_TIMEOUT = 10.0
"""Seconds to connect; what follows may take until the deadline (an image takes up to two minutes)."""
MOST_HEADERS = 200
"""A real answer has about 30. Their size is bounded by h11 (100 KiB)."""
DECODED_STEP = 256 * 1024
"""Bytes that decompression may produce at once: a gzip bomb is met before it unfolds (1 KiB holds up to 1 MiB)."""
MOST_UNFOLDING = 200
UNFOLDING_FREE = 1024 * 1024
"""No answer may be more than so many times as large as what came over the wire, beyond its first MiB. JSON of base64 shrinks to
about three quarters and text to a tenth; deflate can do 1,032 times (zlib.net/zlib_tech.html), which only a bomb does."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An HTTP answer whose head has come. headers: names in lower case. pieces: decoded, to be read once."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class CallFailed(Exception):
    """No complete answer came; `kind` says how."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Transport(Protocol):
    """Makes one HTTP call."""

    def open(
        self, method: str, path: str, body: bytes | None, secret: str | None, *, within: float
    ) -> AbstractAsyncContextManager[Answer]:
        """Calls, each step within that many seconds; leaving the block ends the call.

        Raises CallFailed, also while the pieces are read.
        """

    async def aclose(self) -> None:
        """Closes connections; idempotent."""


KIND_OF_ERROR: Mapping[type[Exception], FaultKind] = {
    # the request can't have arrived
    httpx.ConnectError: FaultKind.NOT_SENT,
    httpx.ConnectTimeout: FaultKind.NOT_SENT,
    httpx.PoolTimeout: FaultKind.NOT_SENT,
    httpx.ProxyError: FaultKind.NOT_SENT,
    # it may have, and the answer broke off
    httpx.ReadError: FaultKind.BROKEN,
    httpx.WriteError: FaultKind.BROKEN,
    httpx.CloseError: FaultKind.BROKEN,
    httpx.RemoteProtocolError: FaultKind.BROKEN,
    httpx.DecodingError: FaultKind.BROKEN,
    # nothing came in time
    httpx.ReadTimeout: FaultKind.TIMEOUT,
    httpx.WriteTimeout: FaultKind.TIMEOUT,
    # repeating can't help
    httpx.LocalProtocolError: FaultKind.PERMANENT,
    httpx.UnsupportedProtocol: FaultKind.PERMANENT,
    httpx.InvalidURL: FaultKind.PERMANENT,
    httpx.TooManyRedirects: FaultKind.REDIRECT,
}


class OpenAITransport:
    """Calls below one base URL (it holds the version: `https://…/v1`)."""

    def __init__(self, base_url: str, *, max_answer_bytes: int, headers: Mapping[str, str] | None = None) -> None:
        """headers: sent with every call, beside or in place of our own. Raises ConfigurationError where the base URL isn't one."""
        self._base_url = _checked(base_url)
        self._max_answer_bytes = max_answer_bytes
        self._connections = Connections()
        self._headers = {
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "user-agent": f"cache-service/{version('cache-service')}",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: bytes | None, secret: str | None, *, within: float
    ) -> AsyncIterator[Answer]:
        """Calls; leaving the block ends the call. Raises CallFailed, also while the pieces are read."""
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        if secret is not None:
            headers = {**headers, "authorization": f"Bearer {secret}"}
        limits = httpx.Timeout(within, connect=min(CONNECT_TIMEOUT, within))
        response: httpx.Response | None = None
        pieces: AsyncGenerator[bytes] | None = None
        try:
            with _mapped_errors():
                # without httpx's client: what it adds (redirects, cookies, proxies) must not happen here
                request = httpx.Request(
                    method,
                    self._base_url + path,
                    headers=headers,
                    content=body,
                    extensions={"timeout": limits.as_dict()},
                )
                response = await self._connections.handle_async_request(request)
            if len(response.headers.raw) > MOST_HEADERS:
                raise CallFailed(FaultKind.BROKEN, "the upstream's answer has too many headers")
            pieces = self._pieces(response)
            yield Answer(response.status_code, _lower(response.headers), pieces)
        finally:
            if pieces is not None:
                await pieces.aclose()
            if response is not None:
                await response.aclose()

    async def aclose(self) -> None:
        """Closes connections; idempotent."""
        await self._connections.aclose()

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        room, allowed = self._max_answer_bytes, UNFOLDING_FREE
        decoder = _Decoder(response.headers.get("content-encoding", "identity"))
        with _mapped_errors():
            async for raw in response.aiter_raw():
                allowed += len(raw) * MOST_UNFOLDING
                for piece in decoder.decode(raw):
                    room -= len(piece)
                    allowed -= len(piece)
                    if allowed < 0:
                        raise CallFailed(
                            FaultKind.ANSWER_TOO_LARGE,
                            f"the upstream's answer unfolds to over {MOST_UNFOLDING} times its size",
                        )
                    if room < 0:
                        raise CallFailed(
                            FaultKind.ANSWER_TOO_LARGE, f"the upstream's answer exceeds {self._max_answer_bytes} bytes"
                        )
                    yield piece
            decoder.end()


class _Decoder:
    """Undoes `Content-Encoding` in bounded steps. None was asked for, but proxies compress on their own."""

    def __init__(self, encoding: str) -> None:
        self._inflate = None
        match encoding.strip().lower():
            case "identity" | "":
                pass
            case "gzip" | "x-gzip":
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            case "deflate":
                self._inflate = zlib.decompressobj()
            case _:
                raise CallFailed(FaultKind.BROKEN, "the upstream's answer has a content encoding that wasn't asked for")

    def decode(self, raw: bytes) -> Iterator[bytes]:
        """The next bytes, in pieces of at most DECODED_STEP where they were compressed."""
        if self._inflate is None:
            yield raw
            return
        while raw and not self._inflate.eof:
            piece = self._inflate.decompress(raw, DECODED_STEP)
            raw = self._inflate.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> None:
        """No more comes. Raises CallFailed where the compressed data isn't complete."""
        if self._inflate is not None and not self._inflate.eof:
            raise CallFailed(FaultKind.BROKEN, "the upstream's compressed answer broke off")


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"the upstream's base URL can't be read: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or not 0 < (url.port or 80) < 65_536:
        raise ConfigurationError("the upstream's base URL must be http://HOST[:PORT]/PATH or https://…")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError(
            "the upstream's base URL may hold no user name, query or fragment; keys have a setting"
        )
    return base_url.rstrip("/")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Turns every driver's error into CallFailed, by the table; the text never repeats the request."""
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        kind = next((KIND_OF_ERROR[cls] for cls in type(error).__mro__ if cls in KIND_OF_ERROR), FaultKind.BROKEN)
        raise CallFailed(kind, f"the call to the upstream failed: {type(error).__name__}") from error
    except zlib.error as error:
        raise CallFailed(FaultKind.BROKEN, "the upstream's compressed answer is damaged") from error


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
