"""`/livez`, `/readyz` and `/metrics`: what an orchestrator and a Prometheus ask.

`/livez` stays 200 while draining, `/readyz` is 503 then. `/metrics` is for those who may ask: it needs a client key where client keys
are configured (Prometheus sends one by `authorization.credentials`), because it names keys and pools.
"""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.service import Service


class ProbeRoutes:
    """Public but for `/metrics`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(default_response_class=Response)
        add = self.router.add_api_route
        add("/livez", self.livez, methods=["GET"], **descriptions.LIVEZ)
        add("/readyz", self.readyz, methods=["GET"], **descriptions.READYZ)
        add("/metrics", self.metrics, methods=["GET"], dependencies=[Depends(access.client)], **descriptions.METRICS)

    async def livez(self, request: Request) -> Response:
        """Says that the process runs."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Says whether requests should be sent here, and if not, why."""
        reasons = self._service.not_ready()
        if self._service.draining:
            reasons = ["draining", *reasons]
        body = orjson.dumps({"ready": not reasons, "reasons": reasons})
        headers = {"retry-after": "1"} if reasons else None
        return Response(body, 503 if reasons else 200, headers, "application/json")

    async def metrics(self, request: Request) -> Response:
        """Every metric, in Prometheus's text format."""
        body, content_type = self._service.render_metrics()
        return Response(body, headers={"content-type": content_type})
