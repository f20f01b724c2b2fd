"""Traces over OTLP, where they are wanted; the exporter is configured by OpenTelemetry's own `OTEL_*` variables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from cache_service.config import Settings
from cache_service.errors import ConfigurationError

if TYPE_CHECKING:
    from cache_service.instrumentation.tracing import Tracing

log = logging.getLogger(__name__)

LAST_EXPORT = 5.0  # seconds that the last spans may take on their way when the service stops


def open_tracing(settings: Settings, stack: contextlib.AsyncExitStack) -> Tracing | None:
    """None where the setting says so; nothing of OpenTelemetry is imported then. Raises ConfigurationError without the extra."""
    if settings.tracing == "off":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from cache_service.instrumentation.tracing import GEN_AI, OPT_IN, Tracing
    except ImportError as error:
        raise ConfigurationError("tracing=otlp needs the extra: pip install 'cache-service[otel]'") from error
    resource = Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "cache_service"})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource, shutdown_on_exit=False
    )

    def close() -> None:
        tracers.shutdown()
        meters.shutdown()

    stack.push_async_callback(_within, LAST_EXPORT, close)
    return Tracing(tracers, meters, gen_ai=GEN_AI in os.environ.get(OPT_IN, "").split(","))


async def _within(seconds: float, close: Callable[[], None]) -> None:
    """Closes; a collector that doesn't answer holds nobody up, nor the end of the process."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def run() -> None:
        close()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=run, name="last-export", daemon=True).start()
    try:
        await asyncio.wait_for(closed.wait(), seconds)
    except TimeoutError:
        log.warning("the last traces didn't reach the collector within %.0f s", seconds)
