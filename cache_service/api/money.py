"""`GET /admin/roi` and `GET /admin/spending`: what the cache is worth, and who spent what on what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.generate import refuse_unknown
from cache_service.errors import InvalidRequest
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
        query = request.query_params
        refuse_unknown(query.keys(), ("days", "operation", "compare", *ASSUMED))
        days, operation = _days(query), query.get("operation")
        if operation is not None and operation not in self._service.cache.operations:
            raise InvalidRequest("operation must be images or chat", param="operation", code="unknown_operation")
        accounts = self._service.accounts
        roi = await accounts.roi(days, assumptions(query), operation=operation)
        answer: dict[str, Any] = roi.as_json()
        if query.get("compare") not in (None, "", "false", "0"):
            answer["compared"] = [asdict(one) for one in await accounts.compare(days, operation=operation)]
        return Response(orjson.dumps(answer), media_type="application/json")

    async def spending(self, request: Request) -> Response:
        """What was spent and saved in the last days, by day, client and model; and the budgets as they stand."""
        refuse_unknown(request.query_params.keys(), ("days",))
        answer = await self._service.accounts.spending(_days(request.query_params))
        return Response(orjson.dumps(answer), media_type="application/json")


def assumptions(query: Mapping[str, str]) -> Assumptions:
    """What the query assumes. Raises InvalidRequest for what is no number, or no share where one is meant."""
    return Assumptions(**{name: _number(query, name) for name in ASSUMED if query.get(name)})


def _number(query: Mapping[str, str], name: str) -> float:
    most = 1.0 if name in SHARES else 1e12
    try:
        value = float(query[name])
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        expected = "a share from 0 to 1" if name in SHARES else "a number, 0 or more"
        raise InvalidRequest(f"{name} must be {expected}", param=name, code="invalid_type")
    return value


def _days(query: Mapping[str, str]) -> int:
    text = query.get("days") or str(DEFAULT_DAYS)
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= days <= MOST_DAYS:
        raise InvalidRequest(f"days must be a whole number from 1 to {MOST_DAYS}", param="days", code="invalid_type")
    return days
