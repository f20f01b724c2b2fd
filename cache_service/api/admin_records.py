"""What operators look at beside entries and requests: overview, limit pools, audit log, settings, thresholds. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import admin_descriptions as described
from cache_service.api.access import Access
from cache_service.api.query import Query
from cache_service.config import Settings, masked
from cache_service.jobs.timeline import SPAN
from cache_service.service import Service
from cache_service.upstream.base import PoolUse, Upstream


class RecordRoutes:
    """Reading."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        add = self.router.add_api_route
        add("/admin/stats", self.stats, methods=["GET"], **described.STATS)
        add("/admin/overview", self.overview, methods=["GET"], **described.OVERVIEW)
        add("/admin/pools", self.pools, methods=["GET"], **described.POOLS)
        add("/admin/audit", self.audit, methods=["GET"], **described.AUDIT)
        add("/admin/settings", self.settings, methods=["GET"], **described.SETTINGS)
        add("/admin/thresholds", self.thresholds, methods=["GET"], **described.THRESHOLDS)

    async def stats(self, request: Request) -> Response:
        """Entries, outputs and bytes that are stored, and the upstream's limit pools as they stand."""
        Query(request, ())
        upstream = self._service.upstream
        return _json(
            {
                "version": version("cache-service"),
                "store": await self._service.inspector.totals(),
                "requests_in_flight": len(self._service.in_flight),
                "draining": self._service.draining,
                "upstream": {"simulated": upstream.simulated, **_upstream(upstream)},
                "alternatives": {name: _upstream(other) for name, other in self._service.alternatives.items()},
            }
        )

    async def overview(self, request: Request) -> Response:
        """What happened in the last day, in spans of five minutes; of this process, since it started."""
        Query(request, ())
        return _json(
            {
                "span": SPAN,
                "spans": [
                    {
                        "at": span.at,
                        "requests": [
                            {"operation": operation, "answer": answer, "count": count}
                            for (operation, answer), count in span.requests.items()
                        ],
                        "paid_usd": span.paid_usd,
                        "saved_usd": span.saved_usd,
                        "saved_seconds": span.saved_seconds,
                    }
                    for span in self._service.timeline.spans
                ],
            }
        )

    async def pools(self, request: Request) -> Response:
        """Shows the limit pools with the names of their keys, limits, and what is in use now."""
        Query(request, ())
        upstream = self._service.upstream
        pools = [pool_members(pool) for pool in upstream.pools()]
        return _json({"group": upstream.group, "simulated": upstream.simulated, "pools": pools})

    async def audit(self, request: Request) -> Response:
        """Lists what operators did, newest first."""
        query = Query(request, ("limit", "before"))
        limit, before = query.limit(), query.integer("before")
        found = await self._service.admin.list_acts(before=before, limit=limit)
        acts = [
            {
                "id": act.id,
                "at": act.at,
                "who": act.who,
                "action": act.action,
                "what": dict(act.what),
                "count": act.count,
            }
            for act in found
        ]
        return _json({"acts": acts, "next": found[-1].id if len(found) == limit else None})

    async def settings(self, request: Request) -> Response:
        """Shows every setting with its value, secrets masked, and what it means."""
        Query(request, ())
        values = masked(self._service.settings)
        return _json(
            {
                "settings": [
                    {"name": name, "value": values[name], "meaning": field.description or ""}
                    for name, field in Settings.model_fields.items()
                ]
            }
        )

    async def thresholds(self, request: Request) -> Response:
        """Shows recorded semantic hits and clients' verdicts by similarity, so that one sees what another threshold would change."""
        query = Query(request, ("namespace", "operation"))
        namespace = query.text("namespace")
        operation = query.choice("operation", tuple(sorted(self._service.cache.operations)))
        bands: dict[float, dict[str, int]] = {}
        for similarity, verdict, count in await self._service.admin.judged(namespace=namespace, operation=operation):
            bands.setdefault(similarity, {"hits": 0, "wrong": 0, "right": 0})[verdict or "hits"] = count
        return _json(
            {
                "threshold": self._service.settings.threshold,
                "bands": [{"similarity": similarity, **counts} for similarity, counts in sorted(bands.items())],
            }
        )


def _upstream(upstream: Upstream) -> dict[str, Any]:
    return {"group": upstream.group, "pools": [pool_members(pool) for pool in upstream.pools()]}


def pool_members(pool: PoolUse) -> dict[str, Any]:
    """A limit pool; keys by name."""
    return {
        "name": pool.name,
        "keys": pool.keys,
        "limits": dict(pool.limits),
        "used": dict(pool.used),
        "in_flight": pool.in_flight,
        "healthy": pool.healthy,
        "detail": pool.detail,
    }


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
