"""Answers on their way out, whole, streamed or damaged: ASGI responses.

A connection that must break in the middle of an answer leaves as `BrokenOff`; the server closes it there and then.
"""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from cache_service.simulator.clock import Clock
from cache_service.simulator.faults import Fault, FaultKind

JSON = "application/json"
HUGE = 200 * 2**20
BOMB_MEGABYTES = 256
GZIP_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))  # RFC 1952, section 2.3
EMPTY_LAST_BLOCK = b"\x03\x00"  # RFC 1951, section 3.2.6: final, fixed codes, end of block
MANY_HEADERS = 10_000
PIECE = 64 * 1024
"""Bytes that are sent at once, of bodies that are made up on the way."""


class BrokenOff(ConnectionError):
    """The connection ends here, on purpose."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer of one piece. told_length: Content-Length, None for a chunked body. breaks: close before the end."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    told_length: int | None = None
    chunked: bool = False
    breaks: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        length = (
            {}
            if self.chunked
            else {"content-length": str(len(self.body) if self.told_length is None else self.told_length)}
        )
        await send(_start(self.status, {"content-type": self.media_type, **length, **self.headers}))
        await send({"type": "http.response.body", "body": self.body, "more_body": self.breaks})
        if self.breaks:
            raise BrokenOff


@dataclass(frozen=True, slots=True)
class Pieces:
    """An answer of many pieces, chunked. Raising BrokenOff in `pieces` closes the connection."""

    pieces: AsyncIterator[bytes]
    status: int = 200
    media_type: str = "text/event-stream; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        await send(_start(self.status, {"content-type": self.media_type, **self.headers}))
        async for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def to_json(value: Mapping[str, Any]) -> bytes:
    """ASCII JSON, so that lone surrogates pass through as they came."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def damaged(whole: Whole, fault: Fault | None, refusal: bytes, clock: Clock) -> Whole | Pieces:
    """The answer as the fault leaves it; as it is without one. refusal: the error body of kinds that hold one."""
    body = whole.body
    half = body[: len(body) // 2]
    match fault.kind if fault else None:
        case FaultKind.TRUNCATED_BODY:
            return replace(whole, body=half, told_length=len(body), breaks=True)
        case FaultKind.CUT_CHUNK:
            return replace(whole, body=half, chunked=True, breaks=True)
        case FaultKind.SHORT_BODY:
            return replace(whole, body=half)
        case FaultKind.EMPTY_BODY:
            return replace(whole, body=b"")
        case FaultKind.WRONG_CONTENT:
            return replace(whole, body=b"It works!", media_type="text/plain; charset=utf-8")
        case FaultKind.ERROR_IN_200 | FaultKind.STREAM_ERROR:
            return replace(whole, body=refusal)
        case FaultKind.NO_DATA:
            kept = {name: value for name, value in json.loads(body).items() if name not in ("data", "choices")}
            return replace(whole, body=to_json(kept))
        case FaultKind.MANY_HEADERS:
            count = (fault.size if fault else None) or MANY_HEADERS
            return replace(whole, headers={**whole.headers, **{f"x-filler-{n}": "x" * 20 for n in range(count)}})
        case FaultKind.HUGE_BODY:
            return Pieces(
                _spaces(body, (fault.size if fault else None) or HUGE), media_type=JSON, headers=whole.headers
            )
        case FaultKind.GZIP_BOMB:
            packed = {**whole.headers, "content-encoding": "gzip"}
            return Pieces(_bomb((fault.size if fault else None) or BOMB_MEGABYTES), media_type=JSON, headers=packed)
        case FaultKind.DRIP:
            return Pieces(_drip(body, clock), media_type=whole.media_type, headers=whole.headers)
        case _:
            return whole


async def damaged_stream(
    events: AsyncIterator[bytes], fault: Fault | None, refusal: bytes, clock: Clock
) -> AsyncIterator[bytes]:
    """The stream's events as the fault leaves them.

    The last event is the one that completes the stream: `[DONE]`, or a picture's `completed`.
    """
    kind = fault.kind if fault else None
    sent, held = 0, b""
    async for event in events:
        if held:  # one event behind, so that the last one can be left out
            sent += 1
            if kind is FaultKind.DRIP:
                async for byte in _drip(held, clock):
                    yield byte
            else:
                yield held
        held = event
        if sent and kind is FaultKind.STREAM_ERROR:
            yield b"data: " + refusal + b"\n\n"
            return
        if sent and kind in (FaultKind.TRUNCATED_BODY, FaultKind.CUT_CHUNK, FaultKind.SHORT_BODY):
            break
    if kind is FaultKind.STREAM_CUT:
        return
    if kind is FaultKind.STREAM_ERROR:
        yield b"data: " + refusal + b"\n\n"
    elif kind in (FaultKind.TRUNCATED_BODY, FaultKind.CUT_CHUNK, FaultKind.SHORT_BODY):
        yield held[: len(held) // 2]
        raise BrokenOff
    else:
        yield held


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _drip(body: bytes, clock: Clock) -> AsyncIterator[bytes]:
    for index in range(len(body)):
        await clock.sleep(1.0)
        yield body[index : index + 1]


async def _spaces(body: bytes, size: int) -> AsyncIterator[bytes]:
    """The body with white space before it, `size` bytes in all: valid JSON, if someone reads it all."""
    left = max(0, size - len(body))
    while left > 0:
        piece = min(PIECE, left)
        left -= piece
        yield b" " * piece
    yield body


async def _bomb(megabytes: int) -> AsyncIterator[bytes]:
    """A valid gzip file of a few hundred kilobytes at most: one flushed, hence repeatable, compressed megabyte of spaces."""
    spaces = b" " * 2**20
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    repeated = deflate.compress(spaces) + deflate.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    yield GZIP_HEADER
    for _ in range(megabytes):
        checksum = zlib.crc32(spaces, checksum)
        yield repeated
        await asyncio.sleep(0)
    yield EMPTY_LAST_BLOCK + struct.pack("<LL", checksum, megabytes * 2**20 % 2**32)
