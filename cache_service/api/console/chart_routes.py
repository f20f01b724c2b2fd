"""`/admin/charts/{name}`: the console's charts, as pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api.access import Access
from cache_service.api.admin_descriptions import CHART
from cache_service.api.console import charts
from cache_service.api.query import Query
from cache_service.errors import NotFound
from cache_service.service import Service

POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class ChartRoutes:
    """Drawn in a thread, a few tens of milliseconds each."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        self.router.add_api_route("/admin/charts/{name}", self.chart, methods=["GET"], **CHART)

    async def chart(self, request: Request) -> Response:
        """Draws `traffic`, `money` or `similarities`."""
        Query(request, ())
        name = request.path_params["name"]
        spans = self._service.timeline.spans
        draw: Callable[[], bytes]
        if name == "traffic":
            draw = lambda: charts.traffic(spans)  # noqa: E731
        elif name == "money":
            draw = lambda: charts.money(spans)  # noqa: E731
        elif name == "similarities":
            bands: dict[float, dict[str, int]] = {}
            for similarity, verdict, count in await self._service.admin.judged(namespace=None, operation=None):
                bands.setdefault(similarity, {})[verdict or "hits"] = count
            rows = [
                (at, found.get("hits", 0), found.get("right", 0), found.get("wrong", 0))
                for at, found in sorted(bands.items())
            ]
            threshold = self._service.settings.threshold
            draw = lambda: charts.similarities(rows, threshold)  # noqa: E731
        else:
            raise NotFound("there is no such chart")
        return Response(
            await asyncio.to_thread(draw), 200, {"content-security-policy": POLICY}, media_type="image/svg+xml"
        )
