"""A small HTTP server on a real socket that does exactly as told, also what no proper server does.

Each request is answered by the next script of the list (the last one again and again): an async function that writes raw
bytes. What came is recorded.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Script: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers by `scripts`; `url` is its base URL."""

    scripts: Sequence[Script]
    received: list[Received] = field(default_factory=list)
    open_connections: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request has come."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no connection is open."""
    url: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_connections += 1
        self.idle.clear()
        try:
            while (request := await _read_request(reader)) is not None:
                script = self.scripts[min(len(self.received), len(self.scripts) - 1)]
                self.received.append(request)
                self.called.set()
                await _until_client_leaves(script(writer), reader)
                if writer.is_closing():
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            if not self.open_connections:
                self.idle.set()
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def scripted_server(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    """Runs a server for the block, on a free port of the loopback."""
    scripted = ScriptedServer(scripts)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield scripted
    finally:
        server.close()
        await scripted.stop()
        await server.wait_closed()


def answer(body: bytes | Mapping[str, Any], status: int = 200, **headers: str) -> Script:
    """A proper answer; `retry_after_ms="534"` becomes the header `retry-after-ms`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(_head(status, fields) + content)


def chunked(*pieces: bytes, end: bool = True, status: int = 200, **headers: str) -> Script:
    """A chunked answer whose chunks leave one by one; without `end` the connection closes in the middle."""

    async def script(writer: asyncio.StreamWriter) -> None:
        fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked"} | headers
        writer.write(_head(status, fields))
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return script


def raw(content: bytes, *, close: bool = False, reset: bool = False) -> Script:
    """Exactly these bytes; then the connection stays, closes (FIN) or breaks (RST)."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        if reset:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif close:
            writer.close()

    return script


def hang(after: bytes = b"") -> Script:
    """Sends these bytes and nothing more, for ever."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        await asyncio.Event().wait()

    return script


def head(status: int = 200, **headers: str) -> bytes:
    """The bytes of an answer's head."""
    return _head(status, {name.replace("_", "-"): value for name, value in headers.items()})


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def _until_client_leaves(answering: Awaitable[None], reader: asyncio.StreamReader) -> None:
    """Answers; a client that closes the connection meanwhile ends it."""
    script = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(reader.read(1))  # clients here send nothing before they have their answer
    try:
        await asyncio.wait({script, gone}, return_when=asyncio.FIRST_COMPLETED)
        if script.done():
            script.result()
    finally:
        for task in (script, gone):
            task.cancel()
        await asyncio.gather(script, gone, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        top = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = top.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)
