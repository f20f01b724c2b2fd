"""Connections to an upstream: one for each call under way, used again, closed when nobody needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore
import httpx
import pytest

from cache_service.upstream import connections
from cache_service.upstream.connections import ERRORS, GATHERED, KEPT_FOR, Connections, _Gathered
from tests.fakes.http_server import ScriptedServer, answer, hang, raw, scripted_server


@asynccontextmanager
async def client_of(server: ScriptedServer) -> AsyncIterator[tuple[httpx.AsyncClient, Connections]]:
    transport = Connections()
    async with httpx.AsyncClient(transport=transport, base_url=server.url, timeout=30.0) as client:
        yield client, transport
    await server.idle.wait()


async def at_once(client: httpx.AsyncClient, calls: int) -> None:
    """So many calls under way at the same time."""
    async with asyncio.timeout(30):
        opened = [await client.send(client.build_request("GET", "/models"), stream=True) for _ in range(calls)]
        for response in opened:
            await response.aread()
            await response.aclose()


async def test_calls_after_each_other_share_a_connection() -> None:
    async with scripted_server(answer({})) as server, client_of(server) as (client, _):
        for _ in range(5):
            await client.get("/models")
        assert server.open_connections == 1


async def test_calls_at_once_have_one_each_and_those_are_used_again() -> None:
    async with scripted_server(answer({})) as server, client_of(server) as (client, _):
        await at_once(client, 6)
        assert server.open_connections == 6
        await at_once(client, 6)
        await client.get("/models")
        assert server.open_connections == 6


async def test_what_nobody_used_for_a_while_is_closed_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server(answer({})) as server, client_of(server) as (client, transport):
        await at_once(client, 6)
        later = time.monotonic() + KEPT_FOR + 1
        monkeypatch.setattr(connections.time, "monotonic", lambda: later)
        await client.get("/models")
        assert len(transport._idle) == 1
        assert not transport._busy


async def test_a_call_that_failed_or_was_given_up_leaves_nothing_behind() -> None:
    scripts = (raw(b"", close=True), answer({}), hang(), answer({}))
    async with scripted_server(*scripts) as server, client_of(server) as (client, transport):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/models")
        await client.get("/models")
        server.called.clear()
        given_up = asyncio.create_task(client.get("/models"))
        await server.called.wait()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await client.get("/models")).status_code == 200
        assert (len(transport._busy), len(transport._idle)) == (0, 1)


async def test_closing_ends_calls_that_are_under_way() -> None:
    async with scripted_server(hang()) as server, client_of(server) as (client, transport):
        under_way = asyncio.create_task(client.get("/models"))
        await server.called.wait()
        await transport.aclose()
        with pytest.raises(httpx.HTTPError):
            await under_way
        await transport.aclose()


async def test_a_connection_that_the_other_side_closed_is_not_used_again() -> None:
    whole = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", close=True)
    async with scripted_server(whole, answer({})) as server, client_of(server) as (client, transport):
        assert (await client.get("/models")).text == "{}"
        await server.idle.wait()
        assert (await client.get("/models")).status_code == 200
        assert (len(transport._busy), len(transport._idle)) == (0, 1)


class Pieces(httpcore.AsyncNetworkStream):
    """What was sent, piece by piece."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Notes it."""
        self.sent.append(buffer)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """An answer."""
        return b"answer"


async def test_a_request_is_sent_as_one_piece_and_a_large_one_as_it_comes() -> None:
    """Before anybody reads, whatever ended it."""
    pieces = Pieces()
    stream = _Gathered(pieces)
    for part in (b"head", b"body", b""):
        await stream.write(part)
    assert pieces.sent == [b"headbody"]
    large = b"x" * GATHERED
    for part in (b"head", large, b"rest"):
        await stream.write(part)
    assert await stream.read(9) == b"answer"
    assert pieces.sent[1:] == [b"head", large, b"rest"]


def test_every_error_of_a_connection_has_a_name_in_httpx() -> None:
    """Else it would get past the table of what a failed call means."""
    ours_to_avoid = {httpcore.ConnectionNotAvailable}  # two calls on one connection
    raised = {one for one in vars(httpcore).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert raised - ours_to_avoid == set(ERRORS)
    assert all(theirs.__name__ == ours.__name__ for theirs, ours in ERRORS.items())
