"""`GET /admin/roi` and `GET /admin/spending`: what the cache is worth, and who spent what on what."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.query import MOST, Query
from cache_service.jobs.accounts import MOST_DAYS
from cache_service.roi import Assumptions
from cache_service.service import Service

DEFAULT_DAYS: Final = 30
SHARES: Final = frozenset({"wrong_share", "failure_before", "failure_after"})
ASSUMED: Final = (
    *("wrong_answer_usd", "wrong_share", "running_usd_per_month", "one_off_usd"),
    *("labour_hours", "labour_rate", "failure_before", "failure_after", "failure_usd"),
)
"""Members of `Assumptions` that a query may give."""


class MoneyRoutes:
    """`/admin/roi` and `/admin/spending`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        self.router.add_api_route("/admin/roi", self.roi, methods=["GET"], **descriptions.ROI)
        self.router.add_api_route("/admin/spending", self.spending, methods=["GET"], **descriptions.SPENDING)

    async def roi(self, request: Request) -> Response:
        """What the cache saved in the last days, with ranges, and at which hit rate it pays for itself; by measured traffic."""
        query = Query(request, ("days", "operation", "compare", *ASSUMED))
        days, operation = _days(query), query.choice("operation", tuple(sorted(self._service.cache.operations)))
        accounts = self._service.accounts
        roi = await accounts.roi(days, assumptions(query), operation=operation)
        answer: dict[str, Any] = roi.as_json()
        if query.choice("compare", ("true", "false")) == "true":
            answer["compared"] = [asdict(one) for one in await accounts.compare(days, operation=operation)]
            by_provider = await accounts.compare_providers(days, operation=operation)
            answer["compared_providers"] = [asdict(one) for one in by_provider]
        return Response(orjson.dumps(answer), media_type="application/json")

    async def spending(self, request: Request) -> Response:
        """What was spent and saved in the last days, by day, client and model; and the budgets as they stand."""
        answer = await self._service.accounts.spending(_days(Query(request, ("days",))))
        return Response(orjson.dumps(answer), media_type="application/json")


def assumptions(query: Query) -> Assumptions:
    """What the query assumes. Raises InvalidRequest for what is no number, or no share where one is meant."""
    given = {name: query.number(name, most=1.0 if name in SHARES else MOST) for name in ASSUMED}
    return Assumptions(**{name: value for name, value in given.items() if value is not None})


def _days(query: Query) -> int:
    return query.integer("days", least=1, most=MOST_DAYS) or DEFAULT_DAYS
