"""`/admin/charts/{name}`: the console's charts, as pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api.access import Access
from cache_service.api.admin_descriptions import CHART
from cache_service.api.console import charts
from cache_service.api.query import Query
from cache_service.errors import NotFound
from cache_service.service import Service

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
FRESH: Final = 5.0
"""Seconds that a chart is shown before it is drawn anew: the library is Python, and takes the interpreter from hits while it draws."""


class ChartRoutes:
    """Each is drawn in a thread, a few tens of milliseconds, for all who look at it at once. monotonic: seconds."""

    def __init__(self, service: Service, access: Access, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._monotonic = monotonic
        self._drawn: dict[str, tuple[float, asyncio.Future[bytes]]] = {}
        self._draw: dict[str, Callable[[], Awaitable[bytes]]] = {
            "traffic": self._traffic,
            "money": self._money,
            "similarities": self._similarities,
        }
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        self.router.add_api_route("/admin/charts/{name}", self.chart, methods=["GET"], **CHART)

    async def chart(self, request: Request) -> Response:
        """Draws `traffic`, `money` or `similarities`."""
        Query(request, ())
        name = request.path_params["name"]
        if name not in self._draw:
            raise NotFound("there is no such chart")
        picture = await self._fresh(name)
        return Response(picture, 200, {"content-security-policy": POLICY}, media_type="image/svg+xml")

    async def _fresh(self, name: str) -> bytes:
        """The chart as it was drawn `FRESH` seconds ago at most; one that could not be drawn is tried again."""
        now = self._monotonic()
        since, drawing = self._drawn.get(name, (now, None))
        if drawing is None or now - since > FRESH or (drawing.done() and drawing.exception() is not None):
            drawing = asyncio.ensure_future(self._draw[name]())
            self._drawn[name] = now, drawing
        return await asyncio.shield(drawing)

    async def _traffic(self) -> bytes:
        return await asyncio.to_thread(charts.traffic, self._service.timeline.spans)

    async def _money(self) -> bytes:
        return await asyncio.to_thread(charts.money, self._service.timeline.spans)

    async def _similarities(self) -> bytes:
        bands: dict[float, dict[str, int]] = {}
        for similarity, verdict, count in await self._service.admin.judged(namespace=None, operation=None):
            bands.setdefault(similarity, {})[verdict or "hits"] = count
        rows = [
            (at, found.get("hits", 0), found.get("right", 0), found.get("wrong", 0))
            for at, found in sorted(bands.items())
        ]
        return await asyncio.to_thread(charts.similarities, rows, self._service.settings.threshold)
