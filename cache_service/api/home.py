"""`/` (the console), `/docs` and `/openapi.json`: what this is and how to use it, for people and programs. Public: they hold no data."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from cache_service.api import descriptions
from cache_service.api.console.pages import ConsoleRoutes
from cache_service.api.reference import build_document, render_page, style_of_pages
from cache_service.service import Service


class HomeRoutes:
    """routes: gives every route of the application, when the document is first asked for."""

    def __init__(self, service: Service, routes: Callable[[], Sequence[BaseRoute]], console: ConsoleRoutes) -> None:
        self._service = service
        self._routes = routes
        self._console = console
        self._documents: dict[bool, dict[str, Any]] = {}
        digest = base64.b64encode(hashlib.sha256(style_of_pages().encode()).digest()).decode("ascii")
        self._page_headers = {
            "content-security-policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'",
            "vary": "accept",
        }
        self.router = APIRouter(default_response_class=Response)
        add = self.router.add_api_route
        add("/", self.home, methods=["GET"], **descriptions.HOME)
        add("/docs", self.docs, methods=["GET"], **descriptions.DOCS)
        add("/openapi.json", self.openapi, methods=["GET"], **descriptions.OPENAPI)

    @property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document; made once for each answer to whether anonymous clients are let in."""
        anonymous = self._service.keys.anonymous_allowed
        if anonymous not in self._documents:
            self._documents[anonymous] = build_document(
                self._routes(), version=version("cache-service"), anonymous=anonymous
            )
        return self._documents[anonymous]

    async def home(self, request: Request) -> Response:
        """The console; for programs what this is and who answers."""
        simulated = self._service.upstream.simulated
        facts: dict[str, Any] = {
            "name": "cache-service",
            "version": version("cache-service"),
            "upstream": "simulator" if simulated else "configured",
            "operations": sorted(self._service.cache.operations),
            "docs": "/docs",
            "openapi": "/openapi.json",
        }
        if "application/json" in request.headers.get("accept", ""):
            return Response(orjson.dumps(facts), 200, {"vary": "accept"}, "application/json")
        return self._console.page(request)

    async def docs(self, request: Request) -> Response:
        """Shows how to use it, as a page."""
        return Response(render_page(self.document), 200, self._page_headers, "text/html")

    async def openapi(self, request: Request) -> Response:
        """Describes it as an OpenAPI 3.1 document."""
        return Response(orjson.dumps(self.document), 200, media_type="application/json")
