"""What callers may rely on from any `Upstream`: run over the real caller on a real socket, and over the fake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest

from cache_service.errors import CapacityExceeded, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from cache_service.upstream.base import Call, Cost, Upstream
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import OpenAITransport
from tests.fakes.http_server import Script, answer, chunked, hang, head, raw, scripted_server
from tests.fakes.upstream import FakeUpstream, Planned

SECRET = "canary-8"
Made: TypeAlias = Callable[[Planned], Awaitable[Upstream]]


def _script(planned: Planned) -> Script:
    """The same answer from a real server."""
    streams = planned.headers.get("content-type", "").startswith("text/event-stream")
    if planned.unreachable:
        return raw(b"", close=True)
    if planned.hang:
        return hang((head(transfer_encoding="chunked") if planned.pieces else b"") + _chunks(planned.pieces))
    if streams or planned.cut:
        return chunked(*planned.pieces, end=not planned.cut, status=planned.status, **planned.headers)
    return answer(b"".join(planned.pieces), planned.status, **planned.headers)


def _chunks(pieces: tuple[bytes, ...]) -> bytes:
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)


@pytest.fixture(params=["http", "fake"])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    """Makes an upstream that answers every call as planned."""
    async with AsyncExitStack() as stack:

        async def make(planned: Planned) -> Upstream:
            if request.param == "fake":
                return FakeUpstream([planned])
            server = await stack.enter_async_context(scripted_server(_script(planned)))
            transport = OpenAITransport(server.url, max_answer_bytes=1_000_000)
            pools = [PoolConfig("default", (NamedKey("key-1", SECRET),))]
            caller = UpstreamCaller(transport, pools, group="test", random=lambda: 0.0)
            stack.push_async_callback(caller.aclose)
            return caller

        yield make


def call(seconds: float = 10.0, *, stream: bool = False) -> Call:
    return Call("/images/generations", b"{}", time.monotonic() + seconds, Cost(1, 1, 0), "model", stream=stream)


async def read(upstream: Upstream, asked: Call) -> list[bytes]:
    async with upstream.send(asked) as reply:
        return [piece async for piece in reply.pieces]


def in_flight(upstream: Upstream) -> int:
    return sum(use.in_flight for use in upstream.pools())


EVENTS = (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n")
STREAM = {"content-type": "text/event-stream"}


async def test_a_whole_body_is_one_piece(made: Made) -> None:
    upstream = await made(
        Planned((b'{"data": []}',), headers={"content-type": "application/json", "x-request-id": "r"})
    )
    async with upstream.send(call()) as reply:
        assert (reply.status, reply.request_id, reply.attempts) == (200, "r", 1)
        assert reply.headers["content-type"] == "application/json"
        assert all(name == name.lower() for name in reply.headers)
        assert [piece async for piece in reply.pieces] == [b'{"data": []}']


async def test_a_body_that_comes_in_pieces_is_one_piece_where_no_stream_was_asked_for(made: Made) -> None:
    assert await read(await made(Planned(EVENTS, headers=STREAM)), call()) == [b"".join(EVENTS)]


async def test_a_stream_is_all_its_pieces_in_order(made: Made) -> None:
    assert b"".join(await read(await made(Planned(EVENTS, headers=STREAM)), call(stream=True))) == b"".join(EVENTS)


@pytest.mark.parametrize(("status", "transient"), [(400, False), (422, False), (429, True), (500, True), (503, True)])
async def test_an_error_answer_is_a_refusal_with_status_and_body(made: Made, status: int, transient: bool) -> None:
    body = b'{"error": {"message": "no", "code": null}}'
    upstream = await made(Planned((body,), status))
    with pytest.raises((UpstreamRefused, CapacityExceeded)) as refused:
        await read(upstream, call(0.5) if status == 429 else call())
    assert in_flight(upstream) == 0
    if isinstance(refused.value, UpstreamRefused):
        assert (refused.value.status, refused.value.transient, refused.value.body) == (status, transient, body)
        assert refused.value.headers["content-type"] == "application/json"
    else:
        assert status == 429  # waited for the pool until the deadline


@pytest.mark.parametrize("stream", [False, True])
async def test_no_connection_is_unreachable(made: Made, stream: bool) -> None:
    upstream = await made(Planned(unreachable=True))
    with pytest.raises(UpstreamUnreachable):
        await read(upstream, call(stream=stream))
    assert in_flight(upstream) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_is_unreachable_never_a_short_one(made: Made, stream: bool) -> None:
    upstream = await made(Planned(EVENTS[:1], headers=STREAM, cut=True))
    with pytest.raises(UpstreamUnreachable):
        await read(upstream, call(stream=stream))
    assert in_flight(upstream) == 0


@pytest.mark.parametrize("pieces", [(), EVENTS[:1]], ids=["nothing", "a-piece"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_does_not_end_ends_at_the_deadline(
    made: Made, stream: bool, pieces: tuple[bytes, ...]
) -> None:
    upstream = await made(Planned(pieces, hang=True))
    with pytest.raises(UpstreamTimeout):
        await read(upstream, call(0.2, stream=stream))
    assert in_flight(upstream) == 0


async def test_leaving_the_block_ends_the_call(made: Made) -> None:
    upstream = await made(Planned(EVENTS[:1], hang=True))
    async with upstream.send(call(stream=True)) as reply:
        assert await anext(reply.pieces) == EVENTS[0]
        assert in_flight(upstream) == 1
    assert in_flight(upstream) == 0


async def test_an_error_of_the_caller_ends_the_call_and_stays_itself(made: Made) -> None:
    upstream = await made(Planned(EVENTS, headers=STREAM))
    with pytest.raises(LookupError):
        async with upstream.send(call(stream=True)):
            raise LookupError
    assert in_flight(upstream) == 0


async def test_a_cancelled_call_gives_its_slot_back(made: Made) -> None:
    upstream = await made(Planned(EVENTS[:1], hang=True))
    begun = asyncio.Event()

    async def reads() -> None:
        async with upstream.send(call(stream=True)) as reply:
            async for _ in reply.pieces:
                begun.set()

    task = asyncio.ensure_future(reads())
    await begun.wait()
    assert in_flight(upstream) == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert in_flight(upstream) == 0


async def test_a_deadline_that_is_past_is_refused_without_a_call(made: Made) -> None:
    upstream = await made(Planned())
    with pytest.raises(CapacityExceeded) as refused:
        await read(upstream, call(-1.0))
    assert refused.value.retry_after is not None


async def test_keys_are_spoken_of_by_name(made: Made) -> None:
    upstream = await made(Planned())
    async with upstream.send(call()) as reply:
        assert reply.key_name == "key-1"
    (use,) = upstream.pools()
    assert (use.name, use.keys, use.healthy) == ("default", ("key-1",), True)
    assert set(use.limits) >= {"requests", "images", "tokens"}
    assert SECRET not in repr(use)


async def test_it_says_who_answers(made: Made) -> None:
    upstream = await made(Planned())
    assert upstream.group
    assert upstream.simulated is False


async def test_closing_twice_is_no_error(made: Made) -> None:
    upstream = await made(Planned())
    await upstream.aclose()
    await upstream.aclose()
