"""Around the edge, where traces are wanted: a span for each request, and its duration."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cache_service.api.exchange import exchange_of
from cache_service.api.middleware import CLIENT_GONE, METHODS, STARTS
from cache_service.instrumentation.tracing import Tracing

_PROPAGATED = (b"traceparent", b"tracestate")


class Traced:
    """ASGI middleware; the outermost."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, and what became of it as the edge noted it down."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = CLIENT_GONE, time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] in STARTS:
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"  # the conventions' word
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _PROPAGATED
        }
        with self._tracing.request(method, headers) as span:
            try:
                await self._app(scope, receive, note)
            finally:
                exchange = exchange_of(scope)
                attributes = span.end(
                    route=getattr(scope.get("route"), "path_format", "unknown"),
                    scheme=scope["scheme"],
                    status=status,
                    request_id=exchange.request_id,
                    report=exchange.report,
                )
                self._tracing.measure(time.perf_counter() - started, attributes)
