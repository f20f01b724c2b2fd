"""The application: routes, their access, and the edge around them. `create_app(service)` is all that others call."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cache_service.api.access import Access
from cache_service.api.admin import AdminRoutes
from cache_service.api.admin_entries import EntryRoutes
from cache_service.api.admin_keys import KeyRoutes
from cache_service.api.admin_pairs import PairRoutes
from cache_service.api.admin_records import RecordRoutes
from cache_service.api.admin_requests import RequestRoutes
from cache_service.api.alerts import AlertRoutes
from cache_service.api.batches import BatchRoutes
from cache_service.api.blobs import BlobRoutes
from cache_service.api.console.chart_routes import ChartRoutes
from cache_service.api.console.pages import ConsoleRoutes
from cache_service.api.direct import Direct
from cache_service.api.exchange import exchange_of
from cache_service.api.feedback import FeedbackRoutes
from cache_service.api.generate import GenerateRoutes
from cache_service.api.home import HomeRoutes
from cache_service.api.middleware import Edge
from cache_service.api.money import MoneyRoutes
from cache_service.api.openai import OpenAIRoutes
from cache_service.api.probes import ProbeRoutes
from cache_service.api.problems import GENERATION_ROUTES, MethodNotAllowed, render_error
from cache_service.api.session import SessionRoutes, Sessions
from cache_service.errors import CacheServiceError, InvalidRequest, NotFound
from cache_service.service import Service

_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
"""FastAPI's own would tell whatever collector the environment names the texts of errors, which may hold prompts. Ours is in `traced`."""


class _Application(FastAPI):
    """FastAPI with our middleware outside of its own, which then costs only those requests that go on to it. outermost: asked first."""

    outermost: ASGIApp

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.outermost = super().__call__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and the end of serving."""
        await self.outermost(scope, receive, send)


def create_app(service: Service) -> FastAPI:
    """The service over HTTP. Raises ConfigurationError for client keys that can't be read, or none on an open address."""
    access = Access(service, Sessions())
    # FastAPI's own pages load code from a CDN; ours are in `home`
    app = _Application(
        title="cache-service",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    feedback, console = FeedbackRoutes(service, access), ConsoleRoutes()
    routers = [
        OpenAIRoutes(service, access).router,
        GenerateRoutes(service, access).router,
        BatchRoutes(service, access).router,
        BlobRoutes(service, access).router,
        feedback.router,
        AdminRoutes(service, access).router,
        EntryRoutes(service, access).router,
        RequestRoutes(service, access).router,
        KeyRoutes(service, access).router,
        RecordRoutes(service, access).router,
        PairRoutes(service, access).router,
        SessionRoutes(service, access).router,
        feedback.admin_router,
        AlertRoutes(service, access).router,
        MoneyRoutes(service, access).router,
        ProbeRoutes(service, access).router,
        ChartRoutes(service, access).router,
        console.router,
        HomeRoutes(service, lambda: app.routes, console).router,
    ]
    for router in routers:
        app.include_router(router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    generating = {route.path: route for route in routes if route.path in GENERATION_ROUTES}
    app.outermost = Edge(Direct(app.outermost, routes=generating, access=access.client), service=service)
    if service.tracing is not None:
        from cache_service.api.traced import Traced  # needs what may not be installed

        app.outermost = Traced(app.outermost, tracing=service.tracing)

    async def on_http_exception(request: Request, error: Exception) -> NoReturn:
        """Turns the framework's own refusals into ours; the edge renders them."""
        status = error.status_code if isinstance(error, HTTPException) else None
        if status == 405:
            path = request.scope["path"]
            allowed = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
            raise MethodNotAllowed(request.method, ", ".join(sorted(allowed))) from None
        if status == 404:
            raise NotFound("there is nothing at this path", code="unknown_path") from None
        raise InvalidRequest("the request could not be read") from None

    async def on_any_other(request: Request, error: Exception) -> Response:
        """Renders it before the framework does so in its own words; the edge then notes it."""
        known = error if isinstance(error, CacheServiceError) else CacheServiceError()
        return render_error(known, request.scope["path"], exchange_of(request.scope).report)

    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_any_other)
    return app
