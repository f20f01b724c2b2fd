"""One call from the queue to its bill, in virtual time over a scripted transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cache_service.errors import (
    CapacityExceeded,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.instrumentation.events import Event, MaybePaidTwice, UpstreamCalled
from cache_service.upstream.base import Call, Cost, Urgency
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import KeyPools, NamedKey, PoolConfig, Wanted
from cache_service.upstream.memory import CapacityQueue
from cache_service.upstream.openai import Answer, CallFailed
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import FaultKind
from tests.fakes.virtual_time import run_virtual, virtual_now

TPM_TEXT = (
    "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29446, Requested 821. Please try again in 534ms."
)
UNLIMITED = Limits()


@dataclass
class Made:
    """One answer of the scripted transport."""

    body: bytes = b'{"data": [], "usage": {"total_tokens": 100}}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    pieces: tuple[bytes, ...] | None = None
    seconds: float = 0.0
    between: float = 0.0
    fails: FaultKind | None = None
    cut: bool = False


def error(status: int, code: str | None = None, message: str = "no", **headers: str) -> Made:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Made(json.dumps({"error": {"message": message, "code": code}}).encode(), status, named)


@dataclass
class Scripted:
    """A transport that answers by script and notes who called when."""

    script: Callable[[str | None], Made]
    calls: list[tuple[float, str | None]] = field(default_factory=list)
    in_flight: int = 0
    closed: bool = False

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: bytes | None, secret: str | None, *, within: float
    ) -> AsyncIterator[Answer]:
        self.calls.append((virtual_now(), secret))
        made = self.script(secret)
        self.in_flight += 1
        try:
            await asyncio.sleep(made.seconds)
            if made.fails is not None:
                raise CallFailed(made.fails, "failed")
            yield Answer(made.status, made.headers, self._pieces(made))
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.closed = True

    async def _pieces(self, made: Made) -> AsyncGenerator[bytes]:
        for piece in made.pieces if made.pieces is not None else (made.body,):
            yield piece
            if made.between:
                await asyncio.sleep(made.between)
        if made.cut:
            raise CallFailed(FaultKind.BROKEN, "cut")

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]


def in_order(*answers: Made) -> Scripted:
    left = list(answers)
    return Scripted(lambda _: left.pop(0) if len(left) > 1 else left[0])


def by_key(answers: Mapping[str | None, Made]) -> Scripted:
    return Scripted(lambda secret: answers[secret])


def pool(name: str, *keys: str, limits: Limits = UNLIMITED, max_in_flight: int = 64) -> PoolConfig:
    named = tuple(NamedKey(f"{name}/key-{number}", key) for number, key in enumerate(keys or ("k",), 1))
    return PoolConfig(name, named, limits, max_in_flight)


def caller(transport: Scripted, *pools: PoolConfig, draw: float = 0.5, **options: Any) -> UpstreamCaller:
    return UpstreamCaller(
        transport,
        pools or (pool("default"),),
        group="test",
        clock=virtual_now,
        wall_clock=lambda: 1_800_000_000.0 + virtual_now(),
        random=lambda: draw,
        **options,
    )


def image(deadline: float = 600.0, **options: Any) -> Call:
    options.setdefault("cost", Cost(1, 1, 821))
    return Call("/images/generations", b"{}", deadline, model=options.pop("model", "gpt-image-2"), **options)


async def body_of(upstream: UpstreamCaller, call: Call) -> bytes:
    async with upstream.send(call) as reply:
        return b"".join([piece async for piece in reply.pieces])


def settled(upstream: UpstreamCaller, transport: Scripted) -> bool:
    """Whether nothing is left behind: no slot taken, no connection open, nobody queued."""
    return not (any(use.in_flight for use in upstream.pools()) or transport.in_flight or upstream.queued)


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test in virtual time."""

    def run() -> None:
        run_virtual(test())  # type: ignore[arg-type]

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# --- what comes back -------------------------------------------------------------------------------------------------


@virtual
async def test_an_answer_is_whole_and_says_who_paid() -> None:
    transport = in_order(Made(headers={"content-type": "application/json", "x-request-id": "r1", "set-cookie": "s", "openai-organization": "o"}))  # fmt: skip
    upstream = caller(transport)
    async with upstream.send(image()) as reply:
        assert settled(upstream, transport)  # the slot doesn't wait for the reader
        assert [piece async for piece in reply.pieces] == [Made().body]
        assert (reply.status, reply.key_name, reply.request_id, reply.attempts) == (200, "default/key-1", "r1", 1)
        assert dict(reply.headers) == {"content-type": "application/json", "x-request-id": "r1"}


@virtual
async def test_a_stream_is_handed_on_piece_by_piece_and_settled_at_its_end() -> None:
    pieces = (b'data: {"choices": []}\n\n', b'data: {"usage": {"total_tokens": 40}}\n\n', b"data: [DONE]\n\n")
    transport = in_order(Made(pieces=pieces, between=5.0))
    upstream = caller(transport, pool("a", limits=Limits(tokens=1_000)))
    arrived = []
    async with upstream.send(image(stream=True)) as reply:
        async for piece in reply.pieces:
            arrived.append((virtual_now(), piece))
            assert not settled(upstream, transport)
        assert upstream.pools()[0].in_flight == 0
    assert arrived == [(0.0, pieces[0]), (5.0, pieces[1]), (10.0, pieces[2])]
    assert settled(upstream, transport)
    assert upstream.pools()[0].used["tokens"] == pytest.approx(40, abs=1)


@virtual
async def test_usage_settles_what_was_reserved() -> None:
    upstream = caller(in_order(Made()), pool("a", limits=Limits(tokens=1_000)))
    await body_of(upstream, image())
    assert upstream.pools()[0].used["tokens"] == pytest.approx(100, abs=1)


@virtual
async def test_an_answer_that_is_not_understood_passes_through() -> None:
    """What a complete result is, the operation knows."""
    for made in (
        Made(b""),
        Made(b"<html>"),
        Made(b'{"no": "data"}'),
        Made(b"{}", 201),
        Made(b'{"data": [1], "error": {}}'),
    ):
        assert await body_of(caller(in_order(made)), image()) == made.body


# --- refusals --------------------------------------------------------------------------------------------------------


@virtual
async def test_a_permanent_refusal_is_the_answer() -> None:
    transport = in_order(error(400, "moderation_blocked", x_request_id="r", set_cookie="s", retry_after="3"))
    upstream = caller(transport)
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(upstream, image())
    assert (refused.value.status, refused.value.code, refused.value.transient) == (400, "moderation_blocked", False)
    assert json.loads(refused.value.body)["error"]["code"] == "moderation_blocked"
    assert dict(refused.value.headers) == {"x-request-id": "r", "retry-after": "3"}
    assert len(transport.calls) == 1
    assert settled(upstream, transport)


@virtual
async def test_a_429_is_waited_for_exactly_as_told() -> None:
    for headers, wait in (
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "1", "retry_after_ms": "534"}, 0.534),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "Fri, 15 Jan 2027 08:00:00 GMT"}, 30.0),
    ):
        start = virtual_now()
        transport = in_order(error(429, "rate_limit_exceeded", **headers), Made())
        upstream = caller(transport)
        async with upstream.send(image(deadline=start + 600)) as reply:
            assert reply.attempts == 2
            assert reply.queued == pytest.approx(wait)
        assert transport.times == pytest.approx([start, start + wait])
        assert settled(upstream, transport)


@virtual
async def test_a_429_without_headers_is_waited_for_as_its_text_says() -> None:
    transport = in_order(error(429, "rate_limit_exceeded", TPM_TEXT), Made())
    await body_of(caller(transport), image())
    assert transport.times == pytest.approx([0.0, 0.534])


@virtual
async def test_refusals_for_the_rate_cost_no_attempt() -> None:
    refusals = [error(429, "rate_limit_exceeded", retry_after="2")] * 10
    transport = in_order(*refusals, Made())
    await body_of(caller(transport, max_attempts=1), image())
    assert transport.times == pytest.approx([2.0 * number for number in range(11)])


@virtual
async def test_attempts_are_left_after_refusals_for_the_rate() -> None:
    refusal = error(429, "rate_limit_exceeded", retry_after="2")
    transport = in_order(refusal, refusal, error(503), Made())
    await body_of(caller(transport, max_attempts=2), image())
    assert len(transport.calls) == 4


@virtual
async def test_a_429_goes_to_another_pool_at_once() -> None:
    transport = by_key({"a": error(429, "rate_limit_exceeded", retry_after="60"), "b": Made()})
    upstream = caller(transport, pool("pa", "a"), pool("pb", "b"))
    async with upstream.send(image()) as reply:
        assert reply.key_name == "pb/key-1"
    assert transport.calls == [(0.0, "a"), (0.0, "b")]
    await body_of(upstream, image())
    assert transport.calls[2:] == [(0.0, "b")]


@virtual
async def test_a_told_wait_beyond_the_deadline_is_refused_at_once() -> None:
    transport = in_order(error(429, "rate_limit_exceeded", retry_after="700"))
    upstream = caller(transport)
    with pytest.raises(CapacityExceeded) as refused:
        await body_of(upstream, image())
    assert virtual_now() == 0.0
    assert refused.value.retry_after == pytest.approx(700)
    assert settled(upstream, transport)


@virtual
async def test_one_revoked_key_of_five_leaves_four() -> None:
    transport = by_key({"k1": error(401, "invalid_api_key"), **{f"k{n}": Made() for n in range(2, 6)}})
    upstream = caller(transport, pool("p", "k1", "k2", "k3", "k4", "k5"))
    for _ in range(20):
        await body_of(upstream, image())
    assert [secret for _, secret in transport.calls].count("k1") == 1
    assert settled(upstream, transport)


@virtual
async def test_when_the_only_key_is_revoked_the_upstreams_answer_is_repeated_without_calling() -> None:
    transport = in_order(error(401, "invalid_api_key", "Incorrect API key provided: k. See …"))
    upstream = caller(transport)
    for _ in range(3):
        with pytest.raises(UpstreamRefused) as refused:
            await body_of(upstream, image())
        assert refused.value.status == 401
        assert refused.value.transient
        assert b"provided: ***" in refused.value.body
    assert len(transport.calls) == 1
    assert refused.value.retry_after == pytest.approx(300)


@virtual
async def test_four_pools_out_of_quota_leave_the_fifth() -> None:
    gone = error(429, "insufficient_quota")
    transport = by_key({**{f"k{n}": gone for n in range(1, 5)}, "k5": Made()})
    upstream = caller(transport, *(pool(f"p{n}", f"k{n}") for n in range(1, 6)))
    for _ in range(10):
        await body_of(upstream, image())
    assert len(transport.calls) == 4 + 10


@virtual
async def test_a_model_one_project_may_not_use_is_asked_of_the_next() -> None:
    transport = by_key({"a": error(404, "model_not_found"), "b": error(403, None)})
    upstream = caller(transport, pool("pa", "a"), pool("pb", "b"))
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(upstream, image())
    assert refused.value.status == 403
    assert [secret for _, secret in transport.calls] == ["a", "b"]


@virtual
async def test_a_call_too_large_for_a_pool_says_so() -> None:
    text = "Request too large on tokens per min (TPM): Limit 30000, Requested 36278."
    transport = by_key({"a": error(429, "rate_limit_exceeded", text), "b": Made()})
    await body_of(caller(transport, pool("pa", "a"), pool("pb", "b")), image())
    alone = in_order(error(429, "rate_limit_exceeded", text))
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(caller(alone), image())
    assert refused.value.status == 429
    assert len(alone.calls) == 1


@virtual
async def test_a_200_with_only_an_error_is_the_error_it_names() -> None:
    inside = error(200, "rate_limit_exceeded", retry_after="3")
    transport = in_order(inside, Made())
    await body_of(caller(transport), image())
    assert transport.times == pytest.approx([0.0, 3.0])
    for stream in (False, True):
        blocked = in_order(error(200, "moderation_blocked"))
        with pytest.raises(UpstreamRefused) as refused:
            await body_of(caller(blocked), image(stream=stream))
        assert (refused.value.status, refused.value.transient) == (400, False)


@virtual
async def test_a_stream_that_begins_with_an_error_is_not_handed_on() -> None:
    event = b'event: error\ndata: {"error": {"code": "server_error", "message": "no"}}\n\n'
    transport = in_order(Made(pieces=(event,)), Made(pieces=(b"data: {}\n\n",)))
    assert await body_of(caller(transport), image(stream=True)) == b"data: {}\n\n"


# --- repeats ---------------------------------------------------------------------------------------------------------


@virtual
async def test_an_overloaded_upstream_is_asked_again_after_a_drawn_back_off() -> None:
    transport = in_order(error(503), error(503), Made())
    await body_of(caller(transport, draw=0.5), image())
    assert transport.times == pytest.approx([0.0, 0.25, 0.75])


@virtual
async def test_attempts_end_with_the_last_fault() -> None:
    transport = in_order(error(500), error(502), error(503, "server_is_overloaded", retry_after="1"))
    upstream = caller(transport)
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(upstream, image())
    assert (refused.value.status, refused.value.transient, refused.value.retry_after) == (503, True, 1.0)
    assert len(transport.calls) == 3
    assert settled(upstream, transport)


@virtual
async def test_no_repeat_begins_that_cannot_end_before_the_deadline() -> None:
    transport = in_order(error(503, retry_after="30"))
    with pytest.raises(UpstreamRefused):
        await body_of(caller(transport), image(deadline=20.0))
    assert virtual_now() == 0.0
    assert len(transport.calls) == 1


@virtual
async def test_an_outage_is_not_met_with_three_times_the_load() -> None:
    """Repeats have a budget: ten at once, then a tenth of the traffic."""
    transport = in_order(error(503))
    upstream = caller(transport, max_attempts=3)
    for _ in range(200):
        with pytest.raises(UpstreamRefused):
            await body_of(upstream, image(deadline=virtual_now() + 60))
    assert len(transport.calls) <= 200 * 1.1 + 10 + virtual_now() * 0.1 + 1


@virtual
async def test_a_broken_answer_is_asked_for_again() -> None:
    for kind in (FaultKind.BROKEN, FaultKind.NOT_SENT):
        transport = in_order(Made(fails=kind), Made(cut=True), Made())
        upstream = caller(transport)
        assert await body_of(upstream, image(deadline=virtual_now() + 600)) == Made().body
        assert len(transport.calls) == 3
        assert settled(upstream, transport)


@virtual
async def test_an_upstream_that_stays_unreachable_is_said_to_be() -> None:
    transport = in_order(Made(fails=FaultKind.NOT_SENT))
    upstream = caller(transport)
    with pytest.raises(UpstreamUnreachable):
        await body_of(upstream, image())
    assert settled(upstream, transport)


@virtual
async def test_an_answer_that_is_too_large_is_not_asked_for_again() -> None:
    transport = in_order(Made(fails=FaultKind.ANSWER_TOO_LARGE))
    with pytest.raises(UpstreamUnreachable):
        await body_of(caller(transport), image())
    assert len(transport.calls) == 1


@virtual
async def test_a_hung_call_ends_at_the_deadline() -> None:
    for stream in (False, True):
        start = virtual_now()
        transport = in_order(Made(seconds=10_000))
        upstream = caller(transport)
        with pytest.raises(UpstreamTimeout):
            await body_of(upstream, image(deadline=start + 180, stream=stream))
        assert virtual_now() == pytest.approx(start + 180)
        assert len(transport.calls) == 1
        assert settled(upstream, transport)


@virtual
async def test_an_attempt_that_times_out_is_repeated_once_and_counted() -> None:
    """It may be paid twice."""
    transport = in_order(Made(seconds=10_000))
    events: list[Event] = []
    upstream = caller(transport, attempt_timeout=60.0, max_attempts=5, hook=events.append)
    with pytest.raises(UpstreamTimeout):
        await body_of(upstream, image())
    assert [event for event in events if isinstance(event, MaybePaidTwice)] == [MaybePaidTwice("images")]
    assert transport.times == pytest.approx([0.0, 60.0])
    assert virtual_now() == pytest.approx(120)


# --- streams after their first piece ---------------------------------------------------------------------------------


@virtual
async def test_what_a_client_has_begun_to_read_is_not_replayed() -> None:
    transport = in_order(Made(pieces=(b"data: 1\n\n",), cut=True), Made())
    upstream = caller(transport)
    async with upstream.send(image(stream=True)) as reply:
        assert await anext(reply.pieces) == b"data: 1\n\n"
        with pytest.raises(UpstreamUnreachable):
            await anext(reply.pieces)
    assert len(transport.calls) == 1
    assert settled(upstream, transport)


@virtual
async def test_a_stream_that_stops_ends_at_the_deadline() -> None:
    transport = in_order(Made(pieces=(b"data: 1\n\n", b"data: 2\n\n"), between=10_000))
    upstream = caller(transport)
    with pytest.raises(UpstreamTimeout):
        await body_of(upstream, image(deadline=100.0, stream=True))
    assert virtual_now() == pytest.approx(100)
    assert settled(upstream, transport)


@virtual
async def test_a_reader_who_leaves_a_stream_gives_its_slot_back() -> None:
    transport = in_order(Made(pieces=(b"data: 1\n\n", b"data: 2\n\n"), between=5.0))
    upstream = caller(transport, pool("p", limits=Limits(tokens=1_000)))
    async with upstream.send(image(stream=True)) as reply:
        assert await anext(reply.pieces) == b"data: 1\n\n"
    assert settled(upstream, transport)
    assert upstream.pools()[0].used["tokens"] == pytest.approx(821, abs=1)  # it may have been paid
    async with upstream.send(image(deadline=900.0, stream=True)):
        pass
    assert settled(upstream, transport)


# --- the queue -------------------------------------------------------------------------------------------------------


@virtual
async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    transport = in_order(Made(seconds=50))
    upstream = caller(transport, pool("p", max_in_flight=1))
    running, waiting = (asyncio.ensure_future(body_of(upstream, image())) for _ in range(2))
    await asyncio.sleep(10)
    assert (upstream.queued, transport.in_flight) == (1, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert upstream.queued == 0
    running.cancel()
    await asyncio.wait([running])
    assert settled(upstream, transport)


@virtual
async def test_a_call_cancelled_as_its_turn_comes_passes_it_on() -> None:
    transport = in_order(Made(seconds=5))
    upstream = caller(transport, pool("p", max_in_flight=1))
    first, second, third = (asyncio.ensure_future(body_of(upstream, image())) for _ in range(3))
    await asyncio.wait([first])
    second.cancel()  # granted by now or about to be
    assert await third == Made().body
    await asyncio.wait([second])
    assert settled(upstream, transport)


@virtual
async def test_calls_go_in_the_order_of_priority_deadline_and_arrival() -> None:
    transport = in_order(Made())
    upstream = caller(transport, pool("p", limits=Limits(images=60)))
    order: list[str] = []

    async def go(name: str, **options: Any) -> None:
        await body_of(upstream, image(**options))
        order.append(name)

    await body_of(upstream, image())
    waiting = [
        go("bulk", priority=-1, deadline=50.0), go("next", deadline=500.0), go("late", deadline=500.0),
        go("first", deadline=400.0), go("second", deadline=400.0), go("urgent", priority=1, deadline=600.0),
    ]  # fmt: skip
    await asyncio.gather(*waiting)
    assert order == ["urgent", "next", "late", "first", "second", "bulk"]  # there are too few to pass


@virtual
async def test_a_call_that_becomes_urgent_while_it_waits_goes_before_those_that_are_not() -> None:
    """And never back: a smaller priority changes nothing."""
    transport = in_order(Made())
    upstream = caller(transport, pool("p", limits=Limits(images=60)))
    order: list[str] = []
    urgency = Urgency(-1)

    async def go(name: str, **options: Any) -> None:
        await body_of(upstream, image(**options))
        order.append(name)

    await body_of(upstream, image())
    names = ("one", "two", "three")
    waiting = [
        *(asyncio.ensure_future(go(name, priority=-1, deadline=500.0)) for name in names),
        asyncio.ensure_future(go("joined", priority=-1, urgency=urgency, deadline=500.0)),
    ]
    await asyncio.sleep(0.1)
    urgency.raise_to(0)
    urgency.raise_to(-5)
    assert urgency.priority == 0
    await asyncio.gather(*waiting)
    assert order == ["joined", "one", "two", "three"]
    urgency.raise_to(7)  # nobody waits any more
    assert settled(upstream, transport)


@virtual
async def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    transport = in_order(Made())
    upstream = caller(transport, pool("p", limits=Limits(images=5)), max_queued=3)
    await body_of(upstream, image())
    waiting = [asyncio.ensure_future(body_of(upstream, image())) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(CapacityExceeded, match="wait for capacity already") as refused:
        await body_of(upstream, image())
    assert refused.value.retry_after is not None
    assert 35 < refused.value.retry_after < 60
    await asyncio.gather(*waiting)


@virtual
async def test_a_deadline_that_cannot_be_met_is_refused_before_waiting() -> None:
    """And one that can be met is not."""
    transport = in_order(Made())
    upstream = caller(transport, pool("p", limits=Limits(images=5)))
    waiting = [asyncio.ensure_future(body_of(upstream, image())) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(CapacityExceeded) as refused:
        await body_of(upstream, image(deadline=11.0))
    assert virtual_now() == 0.0
    assert refused.value.retry_after == pytest.approx(35.7, abs=0.6)  # there are too few to pass more than one
    await asyncio.gather(*waiting)
    assert virtual_now() == pytest.approx(4 * 12.05, abs=0.3)
    with pytest.raises(CapacityExceeded):
        await body_of(upstream, image(deadline=virtual_now()))


@virtual
async def test_who_comes_too_late_in_the_queue_is_refused_before_waiting() -> None:
    """Five a minute and a deadline in 40 s: one now, three in the queue, and the others know at once."""
    upstream = caller(in_order(Made()), pool("p", limits=Limits(images=5)))
    calls = [asyncio.ensure_future(body_of(upstream, image(deadline=40.0))) for _ in range(7)]
    for call in calls[4:]:
        with pytest.raises(CapacityExceeded) as late:
            await call
        assert late.value.retry_after == pytest.approx(48, abs=1)
    assert virtual_now() == 0.0
    await asyncio.gather(*calls[:4])
    assert virtual_now() == pytest.approx(36, abs=1)


@virtual
async def test_capacity_granted_to_a_call_that_is_just_being_cancelled_is_not_lost() -> None:
    pools = KeyPools([pool("p", limits=Limits(images=100), max_in_flight=1)])
    queue = CapacityQueue(pools, max_queued=10, clock=virtual_now, sleep=asyncio.sleep)
    wanted = Wanted(Cost(1, 1, 0), "m")
    first = await queue.acquire(wanted, queue.place(0, 100.0))
    waiting = asyncio.ensure_future(queue.acquire(wanted, queue.place(0, 100.0)))
    await asyncio.sleep(5)
    queue.finish(first)  # grants it
    waiting.cancel()  # before it can take it
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    (use,) = queue.use()
    assert (use.in_flight, use.used["images"]) == (0, 1)
    await queue.aclose()


@virtual
async def test_a_call_that_waits_for_a_slot_is_refused_at_its_deadline() -> None:
    transport = in_order(Made(seconds=100))
    upstream = caller(transport, pool("p", max_in_flight=1))
    running = asyncio.ensure_future(body_of(upstream, image()))
    await asyncio.sleep(1)
    with pytest.raises(CapacityExceeded, match=r"after 2\d\.\d s in the queue"):
        await body_of(upstream, image(deadline=30.0))
    assert virtual_now() == pytest.approx(30, abs=0.1)
    await running
    assert settled(upstream, transport)


async def in_a_spell(**options: Any) -> tuple[UpstreamCaller, Scripted]:
    """An upstream that answers nothing but 500, and a caller that has found out."""
    transport = in_order(error(500))
    upstream = caller(transport, **options)
    for _ in range(10):
        with pytest.raises(UpstreamRefused):
            await body_of(upstream, image())
    assert upstream.pools()[0].detail == "failing: the upstream answered 500"
    return upstream, transport


@virtual
async def test_a_call_with_another_answer_at_hand_never_waits_for_a_failing_upstream() -> None:
    """It learns at once what is wrong, and when to come again; the first one after the pause still tries."""
    upstream, transport = await in_a_spell()
    before, calls = virtual_now(), len(transport.calls)
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(upstream, image(impatient=True))
    assert virtual_now() == before
    assert len(transport.calls) == calls
    assert (refused.value.status, refused.value.transient) == (500, True)
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 8
    await asyncio.sleep(8)
    with pytest.raises(UpstreamRefused):
        await body_of(upstream, image(impatient=True))
    assert len(transport.calls) == calls + 1  # its repeat would have had to wait


@virtual
async def test_a_queued_call_with_another_answer_at_hand_leaves_as_soon_as_the_upstream_is_known_to_fail() -> None:
    transport = in_order(Made(status=500, body=b"", seconds=5))
    upstream = caller(transport, pool("p", max_in_flight=8), max_attempts=1)
    calls = [asyncio.ensure_future(body_of(upstream, image(impatient=True))) for _ in range(40)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, UpstreamRefused) for end in ended)
    assert len(transport.calls) < 8 + 7  # those in flight, and those that went before it was known
    assert virtual_now() == pytest.approx(10, abs=0.1)
    assert settled(upstream, transport)


@virtual
async def test_a_failing_upstream_is_waited_for_where_nothing_else_is_at_hand_and_named_if_that_is_in_vain() -> None:
    """Its error is the answer, not that the queue was full of calls that it never took."""
    upstream, transport = await in_a_spell()
    with pytest.raises(UpstreamRefused) as refused:
        await body_of(upstream, image(deadline=virtual_now() + 2.0))
    assert refused.value.status == 500
    transport.script = lambda _: Made()
    assert await body_of(upstream, image()) == Made().body
    assert upstream.pools()[0].detail == ""


@virtual
async def test_a_call_larger_than_any_limit_is_refused_for_good() -> None:
    upstream = caller(in_order(Made()), pool("p", limits=Limits(images=5)))
    with pytest.raises(CapacityExceeded, match="6 images in one call, where the limit is 5 a minute") as refused:
        await body_of(upstream, image(cost=Cost(1, 6, 0)))
    assert refused.value.retry_after is None


@virtual
async def test_a_large_call_is_not_starved_by_small_ones_of_another_model() -> None:
    """The pool is held for a call that has waited ten seconds."""
    transport = in_order(Made(b"{}"))
    upstream = caller(transport, pool("p", limits=Limits(images=60)))
    for _ in range(30):
        await body_of(upstream, image())
    done: list[tuple[str, float]] = []

    async def go(name: str, model: str, images: int) -> None:
        await body_of(upstream, image(model=model, cost=Cost(1, images, 0)))
        done.append((name, virtual_now()))

    large = asyncio.ensure_future(go("large", "a", 50))
    await asyncio.sleep(0.001)
    small = [asyncio.ensure_future(go("small", "b", 1)) for _ in range(300)]
    await large
    first = [name for name, _ in done].index("large")
    assert first < 25
    await asyncio.gather(*small)


@virtual
async def test_closing_refuses_whoever_waits() -> None:
    transport = in_order(Made(seconds=5))
    upstream = caller(transport, pool("p", max_in_flight=1))
    running, waiting = (asyncio.ensure_future(body_of(upstream, image())) for _ in range(2))
    await asyncio.sleep(1)
    await upstream.aclose()
    with pytest.raises(CapacityExceeded):
        await waiting
    assert await running == Made().body
    await upstream.aclose()
    assert transport.closed


# --- around it -------------------------------------------------------------------------------------------------------


@virtual
async def test_every_attempt_is_told_once() -> None:
    events: list[Event] = []
    transport = in_order(error(503), error(429, "rate_limit_exceeded", retry_after="2"), Made(seconds=7))
    await body_of(caller(transport, hook=events.append), image(cost=Cost(1, 3, 500)))
    assert [event.outcome for event in events if isinstance(event, UpstreamCalled)] == [
        "overloaded",
        "rate_limit",
        "ok",
    ]
    last = events[-1]
    assert isinstance(last, UpstreamCalled)
    assert (last.operation, last.key_name, last.images, last.tokens) == ("images", "default/key-1", 3, 100)
    assert last.seconds == pytest.approx(7)
    assert last.queued == pytest.approx(2)


@virtual
async def test_what_a_relay_allows_at_once_is_told_with_the_pool() -> None:
    """Only a number above 0 says anything."""
    events: list[Event] = []
    said = [{"x-concurrent-limit": text} for text in ("8", "0", "many", "-1", "inf")]
    transport = in_order(*[Made(headers=headers) for headers in said], Made())
    upstream = caller(transport, pool("art", "k1"), hook=events.append)
    for _ in range(6):
        await body_of(upstream, image())
    told = [(event.pool, event.concurrent_limit) for event in events if isinstance(event, UpstreamCalled)]
    assert told == [("art", 8)] + [("art", None)] * 5


@virtual
async def test_calls_that_may_have_been_charged_are_counted_whatever_comes_in_the_end() -> None:
    """Beside the answer, or on the error; one that was refused is none."""
    upstream = caller(in_order(Made(cut=True), error(429, "rate_limit_exceeded", retry_after="1"), Made()))
    async with upstream.send(image()) as reply:
        assert [piece async for piece in reply.pieces]
        assert reply.maybe_paid == 1
        assert reply.usage() == {"total_tokens": 100}
    with pytest.raises(UpstreamError) as failed:
        await body_of(caller(in_order(Made(cut=True), Made(cut=True))), image())
    assert failed.value.maybe_paid == 2
    with pytest.raises(UpstreamError) as refused:
        await body_of(caller(in_order(error(400))), image())
    assert refused.value.maybe_paid == 0


@virtual
async def test_a_key_that_is_out_is_named() -> None:
    """All of them where their pool is out of quota."""
    upstream = caller(by_key({"k1": error(401, "invalid_api_key"), "k2": Made()}), pool("p", "k1", "k2"))
    for _ in range(3):
        await body_of(upstream, image())
    assert [use.keys_out for use in upstream.pools()] == [("p/key-1",)]


@virtual
async def test_no_error_holds_a_key() -> None:
    """Also not one that the upstream repeats, whole or shortened, in text or header."""
    secret = "canary-8"
    bodies = [
        f"Incorrect API key provided: {secret}",
        f"you sent Bearer {secret}!",
        "Incorrect API key provided: sk-ab**yz",
    ]
    for status in (400, 401, 403, 404, 429, 500):
        for text in bodies:
            transport = in_order(error(status, None, text, x_request_id=f"r-{secret}"))
            with pytest.raises(UpstreamError) as raised:
                await body_of(caller(transport, pool("p", secret)), image(deadline=virtual_now() + 5))
            shown = f"{raised.value!r} {raised.value} {vars(raised.value)}"
            assert secret not in shown
            assert "sk-ab" not in shown


async def load(limits: list[Limits], *, seconds: float, latency: Callable[[int], float]) -> tuple[float, int, int]:
    """Endless demand on pools of a leaky-bucket upstream: share of the limits, refusals, most calls in flight."""
    rates = {f"k{number}": limit.images or 0.0 for number, limit in enumerate(limits)}
    level = dict.fromkeys(rates, 0.0)
    at = dict.fromkeys(rates, 0.0)
    counted = refused = most = 0

    def upstream_answers(secret: str | None) -> Made:
        nonlocal counted, refused, most
        assert secret is not None
        now = virtual_now()
        level[secret] = max(0.0, level[secret] - (now - at[secret]) * rates[secret] / 60)
        at[secret] = now
        most = max(most, transport.in_flight)
        if level[secret] + 1 > rates[secret] + 1e-9:
            refused += 1
            return error(429, "rate_limit_exceeded", retry_after="1")
        level[secret] += 1
        counted += 1
        return Made(seconds=latency(counted))

    transport = Scripted(upstream_answers)
    pools = [pool(f"p{n}", f"k{n}", limits=limit, max_in_flight=200) for n, limit in enumerate(limits)]
    upstream = caller(transport, *pools, max_queued=1_000)

    async def client() -> None:
        while virtual_now() < seconds:
            await body_of(upstream, image(deadline=virtual_now() + 3_600))

    clients = [asyncio.ensure_future(client()) for _ in range(450)]
    await asyncio.sleep(60)
    warm = counted
    await asyncio.sleep(seconds - 60)
    share = (counted - warm) / (sum(rates.values()) * (seconds - 60) / 60)
    await asyncio.gather(*clients)
    assert settled(upstream, transport)
    return share, refused, most


@virtual
async def test_five_pools_of_different_limits_are_driven_at_their_limits_without_a_refusal() -> None:
    """Five minutes of endless demand after one to warm up, answers of 6 to 60 s."""
    limits = [Limits(images=images) for images in (5, 20, 50, 150, 250)]
    share, refused, most = await load(limits, seconds=360, latency=lambda number: 6 + (number * 37) % 55)
    assert share >= 0.97
    assert refused == 0
    assert most > 200
