"""Traces by OpenTelemetry's conventions: a SERVER span for each request, a CLIENT span for each call of the upstream. Needs the extra `otel`.

| what | attributes |
|---|---|
| both | stable names of the conventions; our own facts under `cache_service.*` |
| a call of the upstream | `gen_ai.*`, while those aren't stable only where `OTEL_SEMCONV_STABILITY_OPT_IN` has `gen_ai_latest_experimental` |

No attribute, event or status holds a prompt, a picture, a key, or a text that may: of an error only its class is said, of a path only its route.
This module alone imports OpenTelemetry, and is itself imported only where traces are wanted.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from cache_service.answer import Report
from cache_service.upstream.base import Call, PoolUse, Reply, Upstream

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
GEN_AI: Final = "gen_ai_latest_experimental"
MOST_CHARACTERS: Final = 128  # of a model's name, which is the client's word
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds; as the conventions advise for `http.server.request.duration`."""
_OPERATIONS: Final = {"/chat/completions": ("chat", "text"), "/images/generations": ("generate_content", "image")}
_PROVIDERS: Final = {"api.openai.com": "openai"}


class Tracing:
    """Spans and the one metric of requests. gen_ai: whether names that aren't stable yet are said too."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, *, gen_ai: bool) -> None:
        self.gen_ai = gen_ai
        self.tracer = tracers.get_tracer("cache_service")
        self._duration = meters.get_meter("cache_service").create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """A span around one request, within the trace that `traceparent` names."""
        span = self.tracer.start_span(method, context=extract(headers), kind=SpanKind.SERVER)
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield RequestSpan(span, method)
        finally:
            context.detach(token)
            span.end()

    def measure(self, seconds: float, attributes: Mapping[str, str | int]) -> None:
        """One request's duration."""
        self._duration.record(seconds, dict(attributes))

    def traced(self, upstream: Upstream, base_url: str, name: str) -> Upstream:
        """The same upstream, with a span around each call. name: of the provider."""
        return TracedUpstream(upstream, self, base_url, name)


class RequestSpan:
    """One request; told at its end what became of it."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def end(
        self, *, route: str, scheme: str, status: int, request_id: str, report: Report | None
    ) -> dict[str, str | int]:
        """Says how it ended; the attributes that its duration is measured under. status: 499 where the client had gone."""
        attributes: dict[str, str | int] = {
            "http.request.method": self._method,
            "http.route": route,
            "url.scheme": scheme,
            "http.response.status_code": status,
        }
        if status >= 500:
            attributes["error.type"] = str(status)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes(attributes)
        self._span.set_attribute("cache_service.request_id", request_id)
        if report is not None:
            self._span.set_attributes(_facts_of(report))
        return attributes


class TracedUpstream:
    """An upstream whose calls are spans; implements `Upstream`."""

    def __init__(self, inner: Upstream, tracing: Tracing, base_url: str, name: str) -> None:
        self._inner = inner
        self._tracing = tracing
        self._name = name
        address = urlsplit(base_url)
        self._host = address.hostname or ""
        self._port = address.port or (443 if address.scheme == "https" else 80)

    @property
    def group(self) -> str:
        """Names who answers."""
        return self._inner.group

    @property
    def simulated(self) -> bool:
        """True while the built-in simulator answers."""
        return self._inner.simulated

    def pools(self) -> list[PoolUse]:
        """The limit pools as they stand."""
        return self._inner.pools()

    async def aclose(self) -> None:
        """Closes connections; idempotent."""
        await self._inner.aclose()

    def send(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """One span for the call, whatever attempts it takes, until its last piece was read."""
        return self._send(call)

    @contextlib.asynccontextmanager
    async def _send(self, call: Call) -> AsyncIterator[Reply]:
        operation, output = _OPERATIONS.get(call.path, ("", ""))
        model = (call.model or "")[:MOST_CHARACTERS]
        # not made current: a stream's block may be left from another task than entered it
        span = self._tracing.tracer.start_span(
            f"{operation or call.method} {model}".strip(),
            kind=SpanKind.CLIENT,
            attributes=self._asked(operation, output, model),
        )
        try:
            async with self._inner.send(call) as reply:
                yield reply
                span.set_attributes(self._answered(reply))
        except BaseException as error:  # its class is all that is said of it
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def _asked(self, operation: str, output: str, model: str) -> dict[str, str | int | bool]:
        attributes: dict[str, str | int | bool] = {
            "server.address": self._host,
            "server.port": self._port,
            "cache_service.provider": self._name,
            "cache_service.simulated": self._inner.simulated,
        }
        if self._tracing.gen_ai and operation:
            attributes |= {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": _PROVIDERS.get(self._host, self._name),
                "gen_ai.output.type": output,
            }
            if model:
                attributes["gen_ai.request.model"] = model
        return attributes

    def _answered(self, reply: Reply) -> dict[str, str | int | float]:
        attributes: dict[str, str | int | float] = {
            "cache_service.upstream.key_name": reply.key_name,
            "cache_service.upstream.attempts": reply.attempts,
            "cache_service.upstream.queued": reply.queued,
            "cache_service.upstream.maybe_paid": reply.maybe_paid,
        }
        if self._tracing.gen_ai:
            attributes |= _tokens(reply.usage() or {})
        return attributes


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """Images say `input_tokens`, chat `prompt_tokens`."""
    found: dict[str, int] = {}
    kinds: Sequence[tuple[str, tuple[str, str]]] = (
        ("input", ("input_tokens", "prompt_tokens")),
        ("output", ("output_tokens", "completion_tokens")),
    )
    for kind, names in kinds:
        for name in names:
            if isinstance(count := usage.get(name), int):
                found[f"gen_ai.usage.{kind}_tokens"] = count
    return found


def _facts_of(report: Report) -> dict[str, str | float]:
    facts = {
        "decision": report.decision,
        "kind": report.kind,
        "reason": report.reason,
        "similarity": report.similarity,
        "fallback": report.fallback,
        "usd": report.usd,
        "saved_usd": report.saved_usd,
    }
    return {f"cache_service.{name}": value for name, value in facts.items() if value is not None and value != ""}
