"""`GET /admin/alerts`: which alerts fire now, and by which thresholds."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.jobs.alerts import AlertKeeper, Firing
from cache_service.service import Service


class AlertRoutes:
    """`/admin/alerts`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        self.router.add_api_route("/admin/alerts", self.alerts, methods=["GET"], **descriptions.ALERTS)

    async def alerts(self, request: Request) -> Response:
        """Which alerts fire now: error rate, refusals, slow misses, pools that are out, budgets, failures to store."""
        alerts: AlertKeeper = self._service.alerts
        thresholds = alerts.thresholds
        answer = {
            "alerts": [_shown(firing) for firing in alerts.look()],
            "thresholds": {
                "error_rate": thresholds.error_rate,
                "refused_rate": thresholds.refused_rate,
                "p95": thresholds.p95,
                "p95_factor": thresholds.p95_factor,
                "budget": thresholds.budget,
            },
        }
        return Response(orjson.dumps(answer), media_type="application/json")


def _shown(firing: Firing) -> dict[str, Any]:
    alert = firing.alert
    return {
        "name": alert.name,
        "severity": alert.severity,
        "labels": dict(alert.labels),
        "value": alert.value,
        "threshold": alert.threshold,
        "since": firing.since,
        "text": alert.text,
    }
