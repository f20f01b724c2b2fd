"""One client's connection: HTTP/1.1 by uvicorn on llhttp, and the bounds that neither of them has.

1. A request's head: seconds and bytes, counted from its first byte. 408, 431.
2. A body: a least rate, so that a slow upload ends well and a stalled one ends soon. 408.
3. An answer that nobody takes: the same least rate, then the connection is cut.
4. Connections in all: the longest idle one makes room; where none is idle, the newcomer gets 503.

On the usual way, where a head or a body comes in one piece, no timer is set. What is refused here has never been read as a
request, so it gets a bare answer and is counted, not logged: its words are an attacker's.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import http
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from cache_service.api.exchange import WHOLE
from cache_service.instrumentation.events import ConnectionCut, Hook

CROWDED: Final = "cache_service.crowded"
"""In the scope of a request that came on a connection too many; the edge refuses it."""

JOINED: Final = 64 * 1024
"""Bytes of a body up to which copying it costs less than a second piece to write."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_REASONS: Final = {
    http.HTTPStatus.BAD_REQUEST: "malformed",
    http.HTTPStatus.REQUEST_TIMEOUT: "late",
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "large_head",
    http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "malformed",
    http.HTTPStatus.SERVICE_UNAVAILABLE: "crowded",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take.

    head_seconds: from a head's first byte to its last; nginx 60, Apache 20 to 40. head_bytes: nginx 32 KiB, h11 64 KiB. head_fields:
    Apache 100. window_seconds, window_bytes: so many bytes of a body or an answer must pass in each such time; Apache's
    mod_reqtimeout asks for 500 a second after 20. linger_seconds: for the rest of a body whose request is answered already. idle_seconds:
    from when on an idle connection may have to make room.
    """

    head_seconds: float = 10.0
    head_bytes: int = 32 * 1024
    head_fields: int = 100
    window_seconds: float = 20.0
    window_bytes: int = 20 * 1024
    linger_seconds: float = 5.0
    idle_seconds: float = 1.0


class Crowd:
    """All connections of a process. most: that may be open; a few more are let in to be told so, any beyond are told without having been heard."""

    def __init__(self, most: int, hook: Hook, bounds: Bounds | None = None) -> None:
        self.most = most
        self.bounds = bounds or Bounds()
        self.open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the longest idle first
        self._spare = min(256, most)
        self._hook = hook

    def enter(self, connection: Connection) -> bool:
        """Whether the connection has a place. Raises BlockingIOError where it can't be heard before it is refused."""
        self._make_room(connection.loop.time())
        if len(self.open) >= self.most + self._spare:
            raise BlockingIOError
        self.open.add(connection)
        return len(self.open) <= self.most

    def leave(self, connection: Connection) -> None:
        """Idempotent."""
        self.open.discard(connection)
        self._idle.pop(connection, None)

    def rests(self, connection: Connection) -> None:
        """It is idle from now on."""
        self._idle[connection] = connection.loop.time()

    def wakes(self, connection: Connection) -> None:
        """It is no longer."""
        self._idle.pop(connection, None)

    def _make_room(self, now: float) -> None:
        while len(self.open) >= self.most and self._idle:
            longest, since = next(iter(self._idle.items()))
            if now - since < self.bounds.idle_seconds:
                return  # all may be about to speak: newcomers must not drive out each other
            self.leave(longest)
            longest.cut("idle")

    def count(self, reason: str) -> None:
        """A connection was cut."""
        self._hook(ConnectionCut(reason))

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What uvicorn makes for each connection."""
        return functools.partial(Connection, crowd=self)


class _Phase(enum.Enum):
    """What the client is sending."""

    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class _Timer:
    """At most one call to come."""

    __slots__ = ("_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        """Whether it is set."""
        return self._handle is not None

    def set(self, seconds: float, late: Callable[[], None]) -> None:
        """In place of whatever was to come."""
        self.clear()
        self._handle = self._loop.call_later(seconds, self._fire, late)

    def clear(self) -> None:
        """Idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, late: Callable[[], None]) -> None:
        self._handle = None
        late()


class _Ending:
    """The transport as a request's answer sees it: it may be done with the connection before the client has sent all of its body.

    Closing a socket with bytes unread resets it, and the client may never see the answer (RFC 9112, section 9.6).
    """

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """As soon as the body is over, and before that if it takes too long."""
        self._connection.end()


class _Cycle(RequestResponseCycle):
    """One request and its answer. One whose body is there is written at once; that costs a third of what its parts do."""

    async def send(self, message: Any) -> None:
        """As ASGI has it, and the message `WHOLE`."""
        if message["type"] != WHOLE:
            await super().send(message)
        elif self.keep_alive and not (self.flow.write_paused or self.disconnected or self.response_started):
            self._send_whole(message)
        else:
            start: Any = {"type": "http.response.start", "status": message["status"], "headers": message["headers"]}
            await super().send(start)
            await super().send({"type": "http.response.body", "body": message["body"]})

    def _send_whole(self, message: Any) -> None:
        """Raises RuntimeError for a header that would be more than one line. Those of the message say the body's length."""
        fields = [*self.default_headers, *message["headers"]]
        lines = [
            STATUS_LINE[message["status"]],
            *[piece for name, value in fields for piece in (name, b": ", value, b"\r\n")],
        ]
        head, body = b"".join([*lines, b"\r\n"]), message["body"]
        if head.count(b"\n") != len(fields) + 2 or head.count(b"\r") != len(fields) + 2:
            raise RuntimeError("a header holds the end of a line")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if len(body) <= JOINED:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        self.message_event.set()
        self.on_response()


class _Trailers(list[tuple[bytes, bytes]]):
    """Fields after a body: they aren't the request's (RFC 9110, section 6.5.1), and nobody knows how many will come."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        """Forgets it."""


class _RefusedError(Exception):
    """Leaves the parser's callback; the status is on the connection."""


class Connection(HttpToolsProtocol):
    """One connection, within the bounds of its crowd."""

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._crowd = crowd
        self._bounds = crowd.bounds
        self._crowded = False
        self._ending = False
        self._running: RequestResponseCycle | None = (
            None  # `cycle` is the last that was read, which may wait behind this one
        )
        self._phase = _Phase.NOTHING
        self._received = self._chunk = 0  # bytes in all, and of the piece that is being read
        self._begun_at = 0  # of all, at the end of the piece in which this head began
        self._refused = http.HTTPStatus.BAD_REQUEST
        self._reading, self._writing = _Timer(self.loop), _Timer(self.loop)

    # what the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a place, or is refused one."""
        super().connection_made(transport)
        self._seen = _Ending(self)
        try:
            self._crowded = not self._crowd.enter(self)
        except BlockingIOError:
            self._refuse(http.HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._crowd.rests(self)
        self._reading.set(self._bounds.head_seconds, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives the place back."""
        self._crowd.leave(self)
        self._let_go()
        self._reading.clear()
        self._writing.clear()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, whose callbacks follow; then says by when more must come."""
        self._chunk = len(data)
        self._received += self._chunk
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._refused)
            return
        if self._phase is _Phase.HEAD:
            if self._received - self._begun_at > self._bounds.head_bytes:
                self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif not self._reading:
                self._reading.set(self._bounds.head_seconds, self._head_late)
        elif self._phase is _Phase.BODY and not self._reading:
            self._expect_body()

    def pause_writing(self) -> None:
        """The client doesn't take what was written; it must go on taking some."""
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        """Enough was taken."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._writing.clear()

    # what the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._crowd.wakes(self)
        self._reading.clear()
        self._phase = _Phase.HEAD
        self._begun_at = self._received

    def on_headers_complete(self) -> None:
        """The head is there: it is looked at before anything is begun for it."""
        if (status := self._fault_of_head()) is not None:
            self._refused = status
            raise _RefusedError
        self._reading.clear()
        self._phase = _Phase.BODY
        self.scope["extensions"] = {CROWDED: {}, WHOLE: {}} if self._crowded else {WHOLE: {}}
        super().on_headers_complete()
        self.headers = _Trailers()
        self.cycle.transport = self._seen  # type: ignore[assignment]  # all of a transport that it uses
        if self._crowded:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._reading.clear()
        self._phase = _Phase.NOTHING
        super().on_message_complete()
        if self._ending:
            self._close()
        elif self.cycle.response_complete:
            self._crowd.rests(self)

    # what the answer calls

    def on_response_complete(self) -> None:
        """The answer is written: the connection is idle, ends, or has the rest of a body to come."""
        if self._ending:
            self.pipeline.clear()
            self.flow.resume_reading()
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_taking()
        elif self.cycle.response_complete and self._phase is _Phase.BODY:
            self._reading.set(self._bounds.linger_seconds, functools.partial(self.cut, "late"))
        elif self.cycle.response_complete and self._phase is _Phase.NOTHING:
            self._crowd.rests(self)

    def end(self) -> None:
        """The answer was the last on this connection."""
        self._ending = True
        if self._phase is not _Phase.BODY or self.pipeline:
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        """Idle for too long; what is still on its way to the client gets there if it is taken."""
        super().timeout_keep_alive_handler()
        if not self._writing:
            self._expect_taking()

    # bounds

    def cut(self, reason: str) -> None:
        """Ends the connection at once; nothing more is sent."""
        self._crowd.count(reason)
        self._let_go()
        self.transport.abort()

    def _close(self) -> None:
        self.transport.close()
        self._expect_taking()

    def _let_go(self) -> None:
        """What the application still says goes nowhere, and what waits behind it is never begun."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle  # uvicorn makes its own, and adds nothing to it
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        """All of it: an upgrade that was asked for is ignored, and what follows is the next request (RFC 9110, section 7.8)."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return

    def _fault_of_head(self) -> http.HTTPStatus | None:
        bounds, fields = self._bounds, self.headers
        if self.parser.get_http_version() not in _VERSIONS:
            return http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        if len(fields) > bounds.head_fields:
            return http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if self._received != self._begun_at or self._chunk > bounds.head_bytes:  # else it can't be too large
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in fields)
            if size > bounds.head_bytes:
                return http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if not self.url.startswith(b"/") and not _names_its_host(self.url, fields):
            return http.HTTPStatus.BAD_REQUEST
        return None

    def _refuse(self, status: http.HTTPStatus) -> None:
        """A bare answer, unless it would land in the middle of another one."""
        self._reading.clear()
        if self._answering():
            if self._phase is not _Phase.BODY or self.pipeline or self.cycle.response_started:
                self.cut(_REASONS[status])
                return
            self._let_go()  # it is about this very body
        self._crowd.count(_REASONS[status])
        text = status.phrase.encode("ascii")
        fields = [*self.server_state.default_headers, (b"content-type", b"text/plain"), (b"connection", b"close")]
        fields.append((b"content-length", str(len(text)).encode("ascii")))
        if status is http.HTTPStatus.SERVICE_UNAVAILABLE:
            fields.append((b"retry-after", b"1"))
        head = b"".join([name + b": " + value + b"\r\n" for name, value in fields])
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + text)
        self._close()

    def _answering(self) -> bool:
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected)

    def _head_late(self) -> None:
        if self._phase is _Phase.NOTHING:
            self.cut("idle")  # it has sent nothing at all
        elif self._answering():
            self._reading.set(self._bounds.head_seconds, self._head_late)  # it may be waiting for that answer
        else:
            self._refuse(http.HTTPStatus.REQUEST_TIMEOUT)

    def _expect_body(self) -> None:
        self._reading.set(self._bounds.window_seconds, functools.partial(self._body_due, self._received))

    def _body_due(self, received: int) -> None:
        """Goes on if enough came, or if it was us who read no more."""
        if self.flow.read_paused or self._received - received >= self._bounds.window_bytes:
            self._expect_body()
        else:
            self._refuse(http.HTTPStatus.REQUEST_TIMEOUT)

    def _expect_taking(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._writing.set(self._bounds.window_seconds, functools.partial(self._taking_due, waiting))

    def _taking_due(self, waiting: int) -> None:
        """Goes on if enough was taken."""
        if waiting - self.transport.get_write_buffer_size() >= self._bounds.window_bytes:
            self._expect_taking()
        else:
            self.cut("not_taken")


def _names_its_host(target: bytes, fields: list[tuple[bytes, bytes]]) -> bool:
    """Whether a target in absolute form is of the `Host` that was sent, which is all that is looked at later (RFC 9112, section 3.2.2)."""
    authority = target.partition(b"://")[2].partition(b"/")[0].lower()
    return [authority] == [value.strip().lower() for name, value in fields if name == b"host"]
