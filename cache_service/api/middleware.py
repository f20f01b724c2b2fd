"""The edge: what is checked and added for every request, before routes and access. Pure ASGI; nothing is buffered.

1. Exactly one `Host`, from the allow-list: else DNS rebinding lets a web page speak to loopback.
2. A foreign `Origin` is refused: nobody's web page spends our money. `null` is foreign.
3. Bounds: requests in flight and connections (503), bytes of a body (413, by `Content-Length` before a byte is read) and of all (503).
4. A request id, security headers, one log line and one event; an unexpected error becomes a 500 that says nothing of itself.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cache_service.api.connection import CROWDED
from cache_service.api.exchange import SCOPE_KEY, WHOLE, Exchange
from cache_service.api.problems import (
    BATCHES,
    GENERATION_ROUTES,
    MisdirectedRequest,
    Overloaded,
    Stopping,
    render_error,
)
from cache_service.errors import BodyTooLarge, CacheServiceError, Forbidden, InvalidRequest
from cache_service.instrumentation.events import RequestServed
from cache_service.instrumentation.logs import FactRecord
from cache_service.service import Service

log = logging.getLogger("cache_service.requests")

PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered however many requests are in flight, and no reason to wait when draining."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
SMALL_BODY: Final = 64 * 1024
"""Bytes of a body that is read however many large ones are in memory."""
STARTS: Final = frozenset({"http.response.start", WHOLE})
"""Messages with an answer's status and headers."""
CLIENT_GONE: Final = 499  # nginx's word in logs; nobody receives it
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,253})(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(rb"(https?)://([^/?#@\\]{1,260})")
_DEFAULT_PORT: Final = {b"http": b"80", b"https": b"443"}
_REQUEST_ID: Final = re.compile(rb"[0-9A-Za-z._:/+=@-]{1,128}")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_UNLESS_SET: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Edge:
    """ASGI middleware around the whole application. One for each service."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app = app
        self._service = service
        self._hosts = frozenset(host.lower().encode() for host in service.settings.allowed_hosts)
        self._max_body = service.settings.max_body_bytes
        self._max_batch = service.settings.max_batch_bytes
        self._max_in_flight = service.settings.max_in_flight_requests
        self._max_held = service.settings.max_held_body_bytes
        self._held = 0
        self._ids = _new_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request from its first byte to its log line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = _fields(scope)
        exchange = Exchange(fields, _sent_id(fields) or next(self._ids), time.perf_counter())
        exchange.operation = GENERATION_ROUTES.get(scope["path"], "")
        scope[SCOPE_KEY] = exchange
        answer = _Answer(send, exchange.request_id, draining=self._service.draining)
        counts = scope["path"] not in PROBES
        try:
            self._refuse_foreign(exchange)
            if counts:
                self._enter(exchange, scope)
            most = self._max_batch if scope["path"] == BATCHES else self._max_body
            _refuse_large(exchange, most)
            await self._app(scope, self._bounded(receive, most, exchange), answer)
        except CacheServiceError as error:
            exchange.fail(error)
            await self._fail(error, exchange, scope, receive, answer)
        except ClientDisconnect:
            answer.status = CLIENT_GONE
        except Exception as error:  # the last place that can answer; its text may hold a prompt, so it isn't logged
            exchange.fail(error)
            await self._fail(CacheServiceError(), exchange, scope, receive, answer)
        finally:
            self._service.in_flight.discard(exchange)
            self._held -= exchange.held
            self._account(scope, exchange, answer)

    def _refuse_foreign(self, exchange: Exchange) -> None:
        """Raises InvalidRequest, MisdirectedRequest or Forbidden by `Host` and `Origin`."""
        hosts = exchange.fields.get(b"host", ())
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            raise InvalidRequest("the request must have exactly one valid Host header", code="invalid_host")
        if match[1].lower() not in self._hosts:
            raise MisdirectedRequest("this Host is not served here; the setting allowed_hosts lists those that are")
        for origin in exchange.fields.get(b"origin", ()):
            if not _same_origin(origin, match[1].lower(), match[2]):
                raise Forbidden("requests from other origins are not allowed", code="foreign_origin")

    def _enter(self, exchange: Exchange, scope: Scope) -> None:
        """Raises Overloaded, or Stopping: what begins while draining would be waited for, or paid and cut off."""
        if self._service.draining and _begins_work(scope):
            raise Stopping
        if len(self._service.in_flight) >= self._max_in_flight or CROWDED in scope.get("extensions", ()):
            raise Overloaded
        self._service.in_flight.add(exchange)

    def _bounded(self, receive: Receive, limit: int, exchange: Exchange) -> Receive:
        """`receive`, which raises BodyTooLarge as soon as more than `limit` bytes have come, and Overloaded for too many of all requests."""

        async def read() -> Message:
            message = await receive()
            if message["type"] == "http.request" and (more := len(message.get("body", b""))):
                exchange.held += more
                self._held += more
                if exchange.held > limit:
                    raise _too_large(limit)
                if self._held > self._max_held and exchange.held > SMALL_BODY:
                    raise Overloaded
            return message

        return read

    async def _fail(
        self, error: CacheServiceError, exchange: Exchange, scope: Scope, receive: Receive, answer: _Answer
    ) -> None:
        if answer.started:
            return  # the answer stays incomplete, which makes the server cut the connection
        await render_error(error, scope["path"], exchange.report)(scope, receive, answer)

    def _account(self, scope: Scope, exchange: Exchange, answer: _Answer) -> None:
        """The log line, and the event of a generation route. Neither holds a prompt, a key or the path as it was sent."""
        seconds = time.perf_counter() - exchange.started
        report = exchange.report
        level = logging.ERROR if exchange.fault else logging.INFO
        if log.isEnabledFor(level):
            log.handle(FactRecord(log.name, level, "request", _facts(scope, exchange, answer.status, seconds)))
        if scope["path"] in GENERATION_ROUTES and report is None:
            # the cache counts what reaches it
            self._service.hook(
                RequestServed(
                    exchange.operation,
                    "error",
                    "",
                    exchange.code or "client_gone",
                    answer.status,
                    seconds,
                    error="client" if answer.status < 500 else "service",
                )
            )


def _facts(scope: Scope, exchange: Exchange, status: int, seconds: float) -> dict[str, object]:
    """What the log line of a request says; None is left out there."""
    facts: dict[str, object] = {
        "request_id": exchange.request_id,
        "method": scope["method"] if scope["method"] in METHODS else "other",
        "route": getattr(scope.get("route"), "path_format", "unknown"),
        "status": status,
        "seconds": round(seconds, 6),
        "client": exchange.caller.client if exchange.caller is not None else None,
    }
    if (report := exchange.report) is not None:
        facts.update(
            decision=report.decision, reason=report.reason, kind=report.kind, fallback=report.fallback or None,
            provider=report.provider or None, similarity=report.similarity, usd=report.usd, saved_usd=report.saved_usd,
        )  # fmt: skip
    if exchange.code:
        facts["code"] = exchange.code
    if exchange.fault:
        facts["fault"] = exchange.fault
    return facts


class _Answer:
    """`send`, which adds the headers that every answer has, and remembers what has gone out."""

    def __init__(self, send: Send, request_id: str, *, draining: bool) -> None:
        self._send = send
        self._request_id = request_id.encode("ascii")
        self._draining = draining
        self.status = CLIENT_GONE
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Passes the message on."""
        if message["type"] in STARTS:
            self.started = True
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers += _ALWAYS
            headers += [field for field in _UNLESS_SET if field[0] not in present]
            headers.append((b"x-request-id", self._request_id))
            if self._draining and b"connection" not in present:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


def _begins_work(scope: Scope) -> bool:
    """Whether the request makes something that may be paid."""
    return scope["path"] in GENERATION_ROUTES or (scope["path"] == BATCHES and scope["method"] == "POST")


def _refuse_large(exchange: Exchange, limit: int) -> None:
    for length in exchange.fields.get(b"content-length", ()):
        if not (_DIGITS.fullmatch(length) and int(length) <= limit):
            raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes")


def _same_origin(origin: bytes, host: bytes, port: bytes | None) -> bool:
    """Whether a page of that origin came from the very host and port that it now asks."""
    match = _ORIGIN.fullmatch(origin)
    authority = _HOST.fullmatch(match[2]) if match else None
    if match is None or authority is None:
        return False
    default = _DEFAULT_PORT[match[1]]
    return authority[1].lower() == host and (authority[2] or default) == (port or default)


def _fields(scope: Scope) -> dict[bytes, tuple[bytes, ...]]:
    """The head's fields by name, each line's value."""
    fields: dict[bytes, tuple[bytes, ...]] = {}
    for name, value in scope["headers"]:
        fields[name] = (*fields[name], value) if name in fields else (value,)
    return fields


def _sent_id(fields: Mapping[bytes, tuple[bytes, ...]]) -> str | None:
    """The client's `X-Request-Id`, where there is exactly one that can stand in a log."""
    sent = fields.get(b"x-request-id", ())
    return sent[0].decode("ascii") if len(sent) == 1 and _REQUEST_ID.fullmatch(sent[0]) else None


def _new_ids() -> Iterator[str]:
    """128 random bits each; the kernel is asked for many of them at once."""
    while True:
        many = os.urandom(256 * 16).hex()
        for start in range(0, len(many), 32):
            yield many[start : start + 32]
