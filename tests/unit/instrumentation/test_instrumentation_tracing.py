"""Traces: which spans there are, what they say, and that they say nothing of prompts and keys."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from cache_service.answer import Result
from cache_service.api.app import create_app
from cache_service.errors import UpstreamRefused
from cache_service.instrumentation.tracing import Tracing
from cache_service.upstream.base import Call, Reply, Upstream
from tests.fakes.service import Asked, Bench, make_bench
from tests.fakes.upstream import FakeUpstream

IMAGES = "/v1/images/generations"
CANARY = "canary-prompt-7f3a of a heron"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
USAGE = {"input_tokens": 9, "output_tokens": 196, "total_tokens": 205}


class Traces:
    """A bench whose traces and metrics stay in memory."""

    def __init__(self, *, gen_ai: bool = True) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracing = Tracing(tracers, MeterProvider([self._metrics]), gen_ai=gen_ai)
        self.bench: Bench = make_bench()
        self.bench.service.tracing = self.tracing
        self.bench.app = create_app(self.bench.service)

    def spans(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.kind is kind]

    def durations(self) -> list[tuple[int, Mapping[str, Any]]]:
        data = json.loads(self._metrics.get_metrics_data().to_json())  # type: ignore[union-attr]
        metrics = [m for r in data["resource_metrics"] for s in r["scope_metrics"] for m in s["metrics"]]
        (metric,) = [metric for metric in metrics if metric["name"] == "http.server.request.duration"]
        assert metric["unit"] == "s"
        return [(point["count"], point["attributes"]) for point in metric["data"]["data_points"]]

    def everything(self) -> str:
        return "".join(span.to_json() for span in self._spans.get_finished_spans()) + str(self.durations())


class Answering(FakeUpstream):
    """Says what it used, or fails."""

    error: Exception | None = None

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Reply]:
        if self.error is not None:
            raise self.error
        yield Reply(200, {}, _pieces(), "key-1", queued=0.5, attempts=2, usage=lambda: USAGE)


async def _pieces() -> AsyncIterator[bytes]:
    yield b"{}"


def _call(model: str | None = "gpt-image-2") -> Call:
    return Call("/images/generations", json.dumps({"prompt": CANARY}).encode(), 1e9, model=model)


async def _ask(upstream: Upstream, call: Call) -> None:
    async with upstream.send(call) as reply:
        async for _ in reply.pieces:
            pass


async def test_a_request_is_a_server_span_and_is_measured() -> None:
    """By its route, never by its path; with the cache's decision, and within the client's own trace."""
    traces = Traces()
    async with traces.bench.client() as client:
        answer = await client.post(IMAGES, json={"prompt": CANARY}, headers={"traceparent": PARENT})
    (span,) = traces.spans(SpanKind.SERVER)
    assert span.name == f"POST {IMAGES}"
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == PARENT.split("-")[1]
    expected = {
        "http.request.method": "POST",
        "http.route": IMAGES,
        "http.response.status_code": 200,
        "url.scheme": "http",
        "cache_service.decision": "hit",
        "cache_service.kind": "exact",
        "cache_service.request_id": answer.headers["x-request-id"],
    }
    assert span.attributes is not None
    assert expected.items() <= dict(span.attributes).items()
    assert span.status.status_code is StatusCode.UNSET
    ((count, attributes),) = traces.durations()
    assert count == 1
    assert attributes == {name: value for name, value in expected.items() if name.startswith(("http.", "url."))}


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("GET", f"/v1/blobs/{'a' * 64}", "GET /v1/blobs/{sha256}", 404),
        ("GET", f"/{CANARY.split()[0]}", "GET unknown", 404),
        ("BREW", "/livez", "_OTHER /livez", 405),
    ],
)
async def test_what_a_client_writes_is_no_name(method: str, path: str, name: str, status: int) -> None:
    traces = Traces()
    async with traces.bench.client() as client:
        assert (await client.request(method, path)).status_code == status
    (span,) = traces.spans(SpanKind.SERVER)
    assert span.name in (name, f"{name.split()[0]} unknown")
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status


async def test_an_error_of_the_service_is_one_of_the_span() -> None:
    """By its status alone; an error of the client is none."""
    traces = Traces()

    async def fail(asked: Asked) -> Result:
        raise RuntimeError(CANARY)

    traces.bench.cache.answer = fail
    async with traces.bench.client() as client:
        assert (await client.post(IMAGES, json={"prompt": CANARY})).status_code == 500
        assert (await client.post(IMAGES, json={"prompt": 5})).status_code == 400
    failed, refused = traces.spans(SpanKind.SERVER)
    assert failed.attributes is not None
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, None)
    assert failed.attributes["error.type"] == "500"
    assert refused.status.status_code is StatusCode.UNSET
    assert "canary" not in traces.everything()


async def test_a_call_of_the_upstream_is_a_client_span() -> None:
    """One for the call, whatever attempts it took; within the request's own span."""
    traces = Traces()
    upstream = traces.tracing.traced(Answering(), "https://api.openai.com/v1", "primary")
    with traces.tracing.request("POST", {}) as request:
        await _ask(upstream, _call())
        request.end(route=IMAGES, scheme="http", status=200, request_id="r", report=None)
    (span,), (server,) = traces.spans(SpanKind.CLIENT), traces.spans(SpanKind.SERVER)
    assert span.name == "generate_content gpt-image-2"
    assert span.parent is not None
    assert span.parent.span_id == server.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "server.address": "api.openai.com",
        "server.port": 443,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "openai",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": "gpt-image-2",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 196,
        "cache_service.provider": "primary",
        "cache_service.simulated": False,
        "cache_service.upstream.key_name": "key-1",
        "cache_service.upstream.attempts": 2,
        "cache_service.upstream.queued": 0.5,
        "cache_service.upstream.maybe_paid": 0,
    }


async def test_names_that_are_not_stable_are_said_only_to_who_opted_in() -> None:
    traces = Traces(gen_ai=False)
    await _ask(traces.tracing.traced(Answering(), "http://relay.example:4000/v1", "relay"), _call())
    (span,) = traces.spans(SpanKind.CLIENT)
    assert span.attributes is not None
    assert not [name for name in span.attributes if name.startswith("gen_ai.")]
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("relay.example", 4000)


async def test_a_failed_call_says_its_class_and_nothing_else() -> None:
    """An upstream's words may hold a piece of the prompt, or of a key."""
    traces, failing = Traces(), Answering()
    failing.error = UpstreamRefused(CANARY, status=400, headers={}, body=CANARY.encode(), transient=False, code=CANARY)
    with pytest.raises(UpstreamRefused):
        await _ask(traces.tracing.traced(failing, "https://api.openai.com/v1", "primary"), _call())
    (span,) = traces.spans(SpanKind.CLIENT)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "UpstreamRefused"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
    assert "canary" not in span.to_json()


async def test_a_model_of_any_length_is_cut() -> None:
    """It is the client's word."""
    traces = Traces()
    await _ask(traces.tracing.traced(Answering(), "https://api.openai.com/v1", "primary"), _call("m" * 10_000))
    (span,) = traces.spans(SpanKind.CLIENT)
    assert len(span.to_json()) < 3000


async def test_the_web_frameworks_own_telemetry_is_off() -> None:
    """It would send the texts of errors to whatever collector the environment names."""
    spans = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    bench = make_bench()

    async def fail(asked: Asked) -> Result:
        raise RuntimeError(CANARY)

    bench.cache.answer = fail
    async with bench.client() as client:
        assert (await client.post(IMAGES, json={"prompt": CANARY})).status_code == 500
        assert (await client.get("/livez")).status_code == 200
    assert spans.get_finished_spans() == ()


def test_nothing_is_imported_where_no_traces_are_wanted() -> None:
    """A service without the extra starts, and one that wants traces says what is missing."""
    code = """if True:
        import sys
        for package in ("opentelemetry.sdk", "opentelemetry.exporter"):  # as if they weren't installed; FastAPI brings the API
            sys.modules[package] = None
        import asyncio, contextlib
        import cache_service.server, cache_service.bootstrap, cache_service.api.app
        from cache_service.bootstrap.tracing import open_tracing
        from cache_service.config import Settings
        from cache_service.errors import ConfigurationError
        stack = contextlib.AsyncExitStack()
        assert open_tracing(Settings(), stack) is None
        assert "cache_service.instrumentation.tracing" not in sys.modules
        try:
            open_tracing(Settings(tracing="otlp"), stack)
        except ConfigurationError as error:
            print(error)
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "cache-service[otel]" in found.stdout
