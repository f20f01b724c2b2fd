"""Both ends of HTTP for the comparison, as thin as they can be: an upstream that answers at once, and clients that keep a connection each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

from _peers_servers import KEY
from _peers_workload import Phase, answer

TIMEOUT = 60.0  # seconds for one answer


class Refused(Exception):
    """An answer that is none."""


class _Upstream(asyncio.Protocol):
    """Speaks as much of HTTP/1.1 as clients of an API need. Every prompt has one answer."""

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while True:
            head, found, rest = self._held.partition(b"\r\n\r\n")
            length = _length(head)
            if not found or len(rest) < length:
                return
            body, self._held = rest[:length], rest[length:]
            status, content = (b"200 OK", completion(body)) if head.startswith(b"POST") else (b"404 Not Found", b"{}")
            self._transport.write(
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(content), content)
            )


def completion(body: bytes) -> bytes:
    """What the upstream says to a chat request."""
    asked = json.loads(body)
    message = {"role": "assistant", "content": answer(asked["messages"][-1]["content"]), "refusal": None}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_795_000_000,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 300, "total_tokens": 320},
        }
    ).encode()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@contextlib.asynccontextmanager
async def upstream(port: int = 0) -> AsyncIterator[str]:
    """Its base URL, on a free port unless one is named."""
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", port)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def port_of(url: str) -> int:
    """As in `http://127.0.0.1:4000/v1`."""
    return urlsplit(url).port or 80


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def post(self, path: str, body: bytes) -> bytes:
        """The answer's body. Raises Refused for any status but 200."""
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), KEY.encode(), len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head.lower():
            content = b""
            while size := int(await self._reader.readline(), 16):
                content += await self._reader.readexactly(size)
                await self._reader.readline()
            await self._reader.readline()
        else:
            content = await self._reader.readexactly(_length(head))
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise Refused(f"{path}: {head[:100]!r} {content[:300]!r}")
        return content

    def close(self) -> None:
        """At once."""
        self._writer.close()


async def timed(
    kind: str,
    clients: int,
    seconds: float,
    work: Iterator[tuple[str, str, bytes]],
    path: str,
    port: int,
    text: Callable[[bytes], str | None],
) -> Phase:
    """Clients take turns at the work, (prompt whose answer is right, what is asked, body), until the time is up. text: the answer's, looked at afterwards."""
    connections = [await Connection(port).open() for _ in range(clients)]
    for connection in connections:
        await connection.post(path, next(work)[2])
    spent: list[tuple[float, str, str, bytes]] = []

    async def client(connection: Connection, until: float) -> None:
        while (began := time.perf_counter()) < until and (one := next(work, None)) is not None:
            content = await connection.post(path, one[2])
            spent.append((time.perf_counter() - began, one[0], one[1], content))

    started = time.perf_counter()
    await asyncio.wait_for(
        asyncio.gather(*(client(connection, started + seconds) for connection in connections)), seconds + TIMEOUT
    )
    elapsed = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return Phase.of(
        kind, clients, elapsed, [(one, right, asked, text(content)) for one, right, asked, content in spent]
    )
