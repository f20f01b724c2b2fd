"""Connections: what HTTP/1.1 forbids is refused, and nobody holds one for longer than it takes. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cache_service.api.connection import JOINED, Bounds, Crowd
from cache_service.api.exchange import WHOLE
from cache_service.api.middleware import Edge
from cache_service.instrumentation.events import Event
from tests.fakes.service import make_bench
from tests.fakes.virtual_time import run_virtual
from tests.fakes.wire import Wire, settle

BOUNDS = Bounds()
HOST = b"Host: example.com\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    else:
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def echo_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """The same in one message."""
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    await echo(scope, receive, keep)
    if sent:
        start, body = sent
        assert WHOLE in scope["extensions"]
        await send({**start, "type": WHOLE, "body": body["body"]})


class World:
    """A service's edge around an application, and connections to it."""

    def __init__(self, app: Any = echo, *, most: int = 100, **settings: Any) -> None:
        self.events: list[Event] = []
        self.crowd = Crowd(most, self.events.append)
        service = make_bench(allowed_hosts=("example.com", "localhost"), **settings).service
        self.app = Edge(app, service=service)

    def connect(self) -> Wire:
        return Wire(self.app, self.crowd)

    @property
    def cut(self) -> list[str]:
        return [getattr(event, "reason", "") for event in self.events]


def virtually(test: Coroutine[Any, Any, None]) -> None:
    run_virtual(test)


# what HTTP/1.1 asks of a server: pieces of a request are waited for, whole ones answered, wrong ones refused

WAITED_FOR = [
    b"G",
    b"GET ",
    b"GET /hello",
    b"GET /hello ",
    b"GET /hello HTTP",
    b"GET /hello HTTP/1.1",
    b"GET /hello HTTP/1.1\r",
    b"GET /hello HTTP/1.1\r\n",
    b"GET /hello HTTP/1.1\r\nHos",
    b"GET /hello HTTP/1.1\r\nHost:",
    b"GET /hello HTTP/1.1\r\nHost: ",
    b"GET /hello HTTP/1.1\r\nHost: localhost",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
]
ANSWERED = [
    (GET, 200),
    (b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X-Empty: \r\n\r\n", 200),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 200),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200),
    (b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    (b"GET http://example.com/ HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
]
REFUSED_BY_EDGE = [
    (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Host: example.org\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", 421),
]
REFUSED = [
    (b"GET / \r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X-Invalid[]: test\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -123456789123456789123456789\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1234\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: abc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X-Control: test\x07\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    (b"Extra lineGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"\rSome-Header: Test\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"TRANSFER-encoding: CHUNKED\r\ncontent-LENGTH: 5\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity, chunked, x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b" folded: line\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : example.com\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nz\r\n", 400),
    (b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"CONNECT example.com:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]


@pytest.mark.parametrize("piece", WAITED_FOR)
def test_a_piece_of_a_request_is_waited_for(piece: bytes) -> None:
    """And is the beginning of one that is answered once the rest is there."""

    async def scenario() -> None:
        wire = World().connect()
        await wire.send(piece)
        assert not wire.sent
        assert not wire.closing

    virtually(scenario())


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize(("request_", "status"), [*ANSWERED, *REFUSED_BY_EDGE, *REFUSED])
def test_a_request_is_answered_as_http_has_it(request_: bytes, status: int, pieces: str) -> None:
    """Whether it comes in one piece or byte by byte; what can't be read as a request ends the connection."""

    async def scenario() -> None:
        wire = World().connect()
        await wire.send(*([request_] if pieces == "whole" else [request_[i : i + 1] for i in range(len(request_))]))
        assert wire.statuses == [status]
        assert wire.closing == ((request_, status) in REFUSED or b"HTTP/1.0" in request_)

    virtually(scenario())


def test_a_client_that_expects_to_be_told_to_go_on_is_told() -> None:
    async def scenario() -> None:
        wire = World().connect()
        await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert wire.statuses == [100]
        await wire.send(b"hello")
        assert wire.statuses == [100, 200]

    virtually(scenario())


def test_a_trailer_adds_nothing_to_the_request() -> None:
    """Else whoever stands before us and removes a header could be passed by."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        seen.append(scope["headers"])

    async def scenario() -> None:
        wire = World(look).connect()
        head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        await wire.send(head + b"1\r\na\r\n0\r\nAuthorization: Bearer stolen\r\nHost: evil.example\r\n\r\n")
        assert wire.status == 200
        assert [name for name, _ in seen[0]] == [b"host", b"transfer-encoding"]

    virtually(scenario())


def test_what_follows_an_upgrade_that_is_ignored_is_the_next_request() -> None:
    async def scenario() -> None:
        wire = World().connect()
        upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        await wire.send(upgrade + GET, GET)
        assert wire.statuses == [200, 200, 200]

    virtually(scenario())


def test_a_wrong_request_after_a_right_one_is_not_answered_in_its_place() -> None:
    """A refusal in the middle of another answer would be read as a part of it."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await asyncio.Event().wait()

    async def scenario() -> None:
        world = World(hang)
        wire = world.connect()
        await wire.send(GET, b"nonsense\r\n\r\n")
        assert wire.statuses == [200]
        assert wire.aborted
        assert world.cut == ["malformed"]

    virtually(scenario())


# a head


def test_a_head_that_drips_is_refused_in_time() -> None:
    """However steadily it drips: the time counts from its first byte."""

    async def scenario() -> None:
        world = World()
        wire = world.connect()
        await wire.send(b"GET / HTTP/1.1\r\n" + HOST)
        for _ in range(int(BOUNDS.head_seconds) + 1):
            await wire.send(b"X: y\r\n")
            await asyncio.sleep(1)
        assert wire.status == 408
        assert wire.ended
        assert world.cut == ["late"]

    virtually(scenario())


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async def scenario() -> None:
        world = World()
        wires = [world.connect() for _ in range(50)]
        await wires[0].send(b"\r\n")
        await asyncio.sleep(BOUNDS.head_seconds + 1)
        assert all(wire.ended and not wire.sent for wire in wires)
        assert not world.crowd.open

    virtually(scenario())


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * BOUNDS.head_bytes,
        b"GET /" + b"a" * BOUNDS.head_bytes + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * BOUNDS.head_bytes + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * BOUNDS.head_fields + b"\r\n",
    ],
)
@pytest.mark.parametrize("size", [1000, 10**6])
def test_a_head_without_end_is_refused(head: bytes, size: int) -> None:
    """By its bytes, its fields or its target, whole or while it comes; no more of it is kept."""

    async def scenario() -> None:
        world = World()
        wire = world.connect()
        await wire.send(*(head[i : i + size] for i in range(0, len(head), size)))
        if not wire.ended:  # one that came in a single piece isn't looked at before more comes
            await wire.send(b"a" * BOUNDS.head_bytes + b"a")
        assert wire.status == 431
        assert world.cut == ["large_head"]

    virtually(scenario())


# a body


def test_a_slow_but_steady_upload_ends_well() -> None:
    """8 MiB at 16 KiB a second take more than eight minutes."""

    async def scenario() -> None:
        world = World()
        wire = world.connect()
        piece = b"x" * 16384
        await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (512 * len(piece)))
        for _ in range(512):
            await wire.send(piece)
            await asyncio.sleep(1)
        assert wire.status == 200
        assert len(wire.sent) > 8 * 2**20
        assert world.cut == []

    virtually(scenario())


@pytest.mark.parametrize("drip", [b"", b"x", b"x" * 500])
def test_a_body_that_stalls_is_refused_in_time(drip: bytes) -> None:
    """Also one that goes on dripping; the application is told that the client is gone."""
    left: list[Message] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        left.append(message)

    async def scenario() -> None:
        world = World(look)
        wire = world.connect()
        await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n")
        for _ in range(int(BOUNDS.window_seconds) + 1):
            await wire.send(drip) if drip else None
            await asyncio.sleep(1)
        assert (wire.status, wire.ended, world.cut) == (408, True, ["late"])
        assert left == [{"type": "http.disconnect"}]

    virtually(scenario())


def test_a_body_is_not_late_while_nobody_reads_it() -> None:
    """The service may be busy; that isn't the client's fault."""
    go = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async def scenario() -> None:
        world = World(wait)
        wire = world.connect()
        await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 70000)
        await asyncio.sleep(BOUNDS.window_seconds * 3)
        go.set()
        await wire.send(b"x" * 30000)
        assert wire.status == 200

    virtually(scenario())


@pytest.mark.parametrize("rest", [b"x" * 99_000, b"x"])
def test_an_answer_before_the_end_of_the_body_isnt_lost(rest: bytes) -> None:
    """A connection that ends with it is closed once the body is over: closed at once, it would be reset, and the answer with it."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body"})

    async def scenario() -> None:
        world = World(refuse)
        wire = world.connect()
        await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 1000)
        assert wire.statuses == [413]
        assert not wire.closing
        await wire.send(rest)
        assert wire.ended == (len(rest) == 99_000)
        await wire.send(GET)
        await asyncio.sleep(BOUNDS.linger_seconds + 1)
        assert wire.ended
        assert wire.statuses == [413]

    virtually(scenario())


def test_the_rest_of_a_body_that_was_answered_already_is_not_waited_for_long() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def scenario() -> None:
        world = World(answer)
        quick, slow = world.connect(), world.connect()
        for wire in (quick, slow):
            await wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n")
            assert wire.status == 401
        await quick.send(b"x" * 1000000, GET)
        for _ in range(int(BOUNDS.linger_seconds) + 1):
            await slow.send(b"x")
            await asyncio.sleep(1)
        assert quick.statuses == [401, 401]
        assert not quick.ended
        assert slow.aborted

    virtually(scenario())


# an answer


def test_an_answer_that_nobody_takes_is_cut_off() -> None:
    """Whether it is large or small; one that is taken slowly isn't."""

    async def scenario() -> None:
        world = World()
        slow, stalled, small = (world.connect() for _ in range(3))
        for wire in (slow, stalled):
            await wire.send(GET)
            wire.unsent = 10**6
            wire.protocol.pause_writing()
        await small.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        small.unsent = 100
        for _ in range(30):
            await asyncio.sleep(1)
            slow.unsent -= 2 * BOUNDS.window_bytes // int(BOUNDS.window_seconds)
        assert stalled.aborted
        for _ in range(100):
            await asyncio.sleep(1)
            slow.unsent -= 2 * BOUNDS.window_bytes // int(BOUNDS.window_seconds)
        assert slow.closing
        assert not slow.ended
        await asyncio.sleep(100)
        assert small.aborted
        assert world.cut.count("not_taken") == 3  # in the end the slow one stopped too

    virtually(scenario())


def test_an_application_is_not_disturbed_by_a_connection_that_was_cut() -> None:
    """Also where more requests wait behind it: it ends, they aren't begun, and nothing is an error."""
    ended: list[str] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20")]})
        await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * 10})
        ended.append(scope["path"])

    async def scenario() -> None:
        world = World(stream)
        wire = world.connect()
        wire.unsent = 10**6
        wire.protocol.pause_writing()
        await wire.send(GET * 3)
        await asyncio.sleep(BOUNDS.window_seconds + 1)
        assert wire.aborted
        await settle()
        assert ended == ["/"]

    virtually(scenario())


def test_a_closed_connection_whose_last_bytes_nobody_takes_is_cut_off() -> None:
    async def scenario() -> None:
        world = World()
        wire = world.connect()
        wire.unsent = 100
        await wire.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert wire.closing
        assert not wire.ended
        await asyncio.sleep(BOUNDS.window_seconds + 1)
        assert wire.aborted

    virtually(scenario())


# connections in all


def test_the_longest_idle_connection_makes_room() -> None:
    """One that has been answered, or has said nothing yet; none that is at something, or came just now."""

    async def scenario() -> None:
        world = World(most=3)
        newcomers = [world.connect() for _ in range(6)]
        for wire in newcomers:
            await wire.send(GET)
        assert [wire.status for wire in newcomers] == [200] * 3 + [503] * 3
        for wire in newcomers:
            wire.abort()
        await settle()
        busy, first, second = (world.connect() for _ in range(3))
        await busy.send(b"GET / HTTP/1.1\r\n")
        await first.send(GET)
        await second.send(GET)
        await first.send(GET)
        await asyncio.sleep(BOUNDS.idle_seconds)
        newcomer = world.connect()
        await newcomer.send(GET)
        assert newcomer.status == 200
        assert [wire.ended for wire in (busy, first, second)] == [False, False, True]

    virtually(scenario())


def test_a_connection_too_many_is_told_so_and_probes_are_answered() -> None:
    """503 with `Retry-After`, also for those that can't be heard first; once others are gone there is room again."""
    paths: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await echo(scope, receive, send)

    async def scenario() -> None:
        world = World(note, most=1)
        busy = [world.connect()]
        for wire in busy:
            await wire.send(b"GET / HTTP/1.1\r\n")
        refused = world.connect()
        await refused.send(GET)
        assert refused.status == 503
        assert b"retry-after: 1\r\n" in refused.sent
        assert refused.ended
        probe = world.connect()
        await probe.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
        assert probe.status == 200
        assert probe.ended
        waiting = world.connect()
        await asyncio.sleep(BOUNDS.idle_seconds)
        beyond = world.connect()
        await settle()
        assert (waiting.ended, beyond.aborted) == (True, False)  # the one that says nothing makes room
        await beyond.send(b"GET / HTTP/1.1\r\n")
        cut = world.connect()
        await settle()
        assert (cut.status, cut.ended) == (503, True)
        assert b"retry-after: 1\r\n" in cut.sent
        assert world.cut == ["idle", "crowded"]
        await asyncio.sleep(BOUNDS.head_seconds + 1)
        again = world.connect()
        await again.send(GET)
        assert again.status == 200
        assert paths == ["/livez", "/"]

    virtually(scenario())


# an answer in one message


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [0, 5, JOINED + 1])
def test_an_answer_in_one_message_is_the_same_as_in_two(version: str, length: int) -> None:
    """Byte for byte, whether or not the connection stays."""

    async def test() -> None:
        answers = []
        for app in (echo, echo_whole):
            wire = World(app).connect()
            head = f"POST / HTTP/{version}\r\nHost: example.com\r\nX-Request-Id: a\r\nContent-Length: {length}\r\n\r\n"
            await wire.send(head.encode() + b"x" * length)
            answers.append((bytes(wire.sent), wire.closing))
        assert answers[0][0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert answers[0][0].endswith(b"x" * length)
        assert answers[0] == answers[1]

    virtually(test())


def test_answers_in_one_message_wait_for_their_turn() -> None:
    """Requests that came at once are answered in order, and each only when the client has taken enough."""

    async def test() -> None:
        wire = World(echo_whole).connect()
        post = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n"
        wire.protocol.pause_writing()
        await wire.send(post + b"1" + post + b"2")
        assert wire.statuses == []
        wire.protocol.resume_writing()
        await settle()
        assert wire.statuses == [200, 200]
        assert bytes(wire.sent).index(b"\r\n\r\n1") < bytes(wire.sent).index(b"\r\n\r\n2")

    virtually(test())


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb"])
def test_no_header_of_such_an_answer_holds_the_end_of_a_line(value: bytes) -> None:
    """It would be two headers."""

    async def injects(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": WHOLE, "status": 200, "headers": [(b"content-length", b"0"), (b"a", value)], "body": b""})

    async def test() -> None:
        wire = World(injects).connect()
        await wire.send(GET)
        assert value not in bytes(wire.sent)
        assert wire.status == 500

    virtually(test())
