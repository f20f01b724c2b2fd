"""One request and its answer: the record that everyone on the way adds to, reading the body, and an answer as a response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cache_service.answer import Caller, Failed, Report, Result, Served
from cache_service.api import strict_json
from cache_service.api.cache_control import NO_TAGS, NONE, parse_cache_control, parse_tags
from cache_service.api.cache_status import render_age, render_cache_status
from cache_service.api.problems import code_of, envelope_bytes, is_fault, render_error
from cache_service.decision import Directives
from cache_service.errors import CacheServiceError, UnsupportedMediaType, UpstreamUnreachable
from cache_service.instrumentation.faults import whereabouts
from cache_service.store.records import Role

JSON: Final = "application/json"
SCOPE_KEY: Final = "cache_service.exchange"
WHOLE: Final = "cache_service.whole"
"""An extension of ASGI, in the scope where the server takes such messages: an answer's start, and the one and whole body that belongs to it."""
LARGE_BODY: Final = 64 * 1024  # bytes; parsing one takes a millisecond and more, so it is done in a thread
_SANE_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")
_OURS: Final = frozenset(
    {
        *("age", "cache-control", "cache-status", "connection", "content-encoding", "content-length", "content-type"),
        *("date", "keep-alive", "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade"),
        *("x-request-id", "x-upstream-request-id"),
    }
)
"""Headers of an answer that are ours to set, or belong to one connection (RFC 9110, section 7.6.1)."""

_FAILED: Final = rb"[\r\n]event: ?error[\r\n]|[\r\n]data: ?\{\"(?:error\"|type\": ?\"error\")"
_ENDS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "chat": re.compile(rb"[\r\n]data: ?\[DONE\]|" + _FAILED),
    "images": re.compile(
        rb"[\r\n]event: ?image_generation\.completed|\"type\": ?\"image_generation\.completed\"|" + _FAILED
    ),
}
"""What a whole stream of that operation holds. None of it can stand inside a JSON string, where quotes and line ends are escaped."""
_LONGEST_END: Final = 64  # bytes


@dataclass(slots=True, eq=False)
class Exchange:
    """What is known of one request so far; the log line and the metrics are made from it.

    fields: of its head, each line's value by the name in lower case. started: of `time.perf_counter`. operation: "" where the request isn't a generation or hasn't said which yet.
    role: of an operator. code: of the error that was answered, "" for none. fault: where in the code an internal error arose.
    held: bytes of its body that are in memory.
    """

    fields: Mapping[bytes, tuple[bytes, ...]]
    request_id: str
    started: float
    caller: Caller | None = None
    operation: str = ""
    report: Report | None = None
    role: Role | None = None
    code: str = ""
    fault: str = ""
    held: int = 0

    def fail(self, error: Exception) -> None:
        """Notes the error that ended the request, and for one of our own making where it arose."""
        known = error if isinstance(error, CacheServiceError) else CacheServiceError()
        self.code = code_of(known)
        if is_fault(known):
            self.fault = whereabouts(error)


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The record of the request with that ASGI scope."""
    exchange = scope[SCOPE_KEY]
    assert isinstance(exchange, Exchange)  # noqa: S101  the middleware puts it there
    return exchange


def caller_of(request: Request) -> Caller:
    """Who asks; set by the route's access dependency, so that a route without one can't be written by accident."""
    caller = exchange_of(request.scope).caller
    assert caller is not None  # noqa: S101
    return caller


async def read_json(request: Request) -> bytes:
    """A body that says it is JSON, not looked into. Raises UnsupportedMediaType or BodyTooLarge."""
    check_type(request, "application/json")
    message = await request.receive()  # nearly always all of it; the framework's own way is a generator in a generator
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    more: bool = message.get("more_body", False)
    return b"".join([body, *[piece async for piece in request.stream()]]) if more else body


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises UnsupportedMediaType, BodyTooLarge or InvalidRequest."""
    body = await read_json(request)
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(strict_json.loads, body)
    return strict_json.loads(body)


def check_type(request: Request, *accepted: str) -> str:
    """The media type of the body, one of those. Raises UnsupportedMediaType."""
    fields = exchange_of(request.scope).fields
    kinds, encodings = fields.get(b"content-type", ()), fields.get(b"content-encoding", ())
    kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind not in accepted:
        raise UnsupportedMediaType(f"the body must be sent as Content-Type: {' or '.join(accepted)}")
    if any(value.strip().lower() != b"identity" for value in encodings):
        raise UnsupportedMediaType("the body must be sent without Content-Encoding")
    return kind


def steering_of(request: Request) -> tuple[Directives, frozenset[str]]:
    """How the request's headers steer the cache. Raises InvalidRequest."""
    fields = exchange_of(request.scope).fields
    steering, tags = fields.get(b"cache-control", ()), fields.get(b"cache-tag", ())
    if not steering and not tags:
        return NONE, NO_TAGS
    return parse_cache_control(_texts(steering)), parse_tags(_texts(tags))


def _texts(values: Sequence[bytes]) -> list[str]:
    return [value.decode("latin-1") for value in values]


def to_response(result: Result, request: Request, *, simulated: bool) -> Response:
    """An answer of a drop-in route: the body byte for byte, and how it came about in the headers."""
    exchange = exchange_of(request.scope)
    exchange.report = result.report
    match result:
        case Failed(error, report):
            exchange.fail(error)
            response = render_error(error, request.scope["path"], report)
        case Served(pieces=None):
            quick = result.status == 200 and result.media_type == JSON
            response = (
                Whole(result) if quick else Response(result.body, result.status, headers_of(result), result.media_type)
            )
        case Served(pieces=pieces):
            assert pieces is not None  # noqa: S101
            response = Streamed(pieces, exchange, result.status, headers_of(result), result.media_type)
    if simulated:
        response.headers["x-cache-service-upstream"] = "simulator"
    return response


class Whole(Response):
    """A 200 with JSON that is there, with the headers that `headers_of` gives."""

    def __init__(self, served: Served) -> None:
        """As the framework does it for any status and type, in a tenth of the steps."""
        self.status_code = served.status
        self.background = None
        self.media_type = JSON
        self.body = served.body
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers_of(served).items()
        ]
        self.raw_headers += ((b"content-length", b"%d" % len(served.body)), (b"content-type", b"application/json"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, in one message where the server takes that."""
        if WHOLE in scope.get("extensions", ()):
            await send({"type": WHOLE, "status": self.status_code, "headers": self.raw_headers, "body": self.body})
        else:
            await super().__call__(scope, receive, send)


def headers_of(served: Served) -> dict[str, str]:
    """The upstream's headers that a client may see, `Cache-Status` and `Age`. Names in lower case."""
    headers = {}
    if served.headers:
        headers = {name: value for name, value in served.headers.items() if name not in _OURS and _is_sane(value)}
    headers["cache-status"] = render_cache_status(served.report)
    if (age := render_age(served.report)) is not None:
        headers["age"] = age
    upstream_id = served.report.upstream_request_id
    if upstream_id is not None and _is_sane(upstream_id):
        headers["x-upstream-request-id"] = upstream_id
    return headers


def _is_sane(value: str) -> bool:
    """Whether an upstream's word may stand in a header of ours: visible ASCII on one line."""
    return _SANE_VALUE.fullmatch(value) is not None


class Streamed(StreamingResponse):
    """Pieces passed on as they arrive, and closed when the client goes.

    An error between them is an event in the stream; so is an end without the event that ends a whole stream.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        exchange: Exchange,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        self._pieces = pieces
        self._exchange = exchange
        events = media_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._end = _ENDS.get(exchange.operation) if events else None
        super().__init__(self._until_error(), status, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer; however that ends, the pieces are closed."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if (close := getattr(self._pieces, "aclose", None)) is not None:
                await close()

    async def _until_error(self) -> AsyncIterator[bytes]:
        tail, whole = b"\n\n", self._end is None
        try:
            async for piece in self._pieces:
                yield piece
                seen = tail + piece
                whole = whole or (self._end is not None and self._end.search(seen) is not None)
                tail = seen[-_LONGEST_END:]
            if not whole:
                raise UpstreamUnreachable("the upstream's stream ended before its last event")
        except CacheServiceError as error:
            self._exchange.fail(error)
            # a cut inside an event: a blank line ends it, else ours would be a part of it
            apart = b"" if tail.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) else b"\n\n"
            yield apart + b"data: " + envelope_bytes(error) + b"\n\n"
