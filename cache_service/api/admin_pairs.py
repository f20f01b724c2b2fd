"""`POST /admin/thresholds/pairs`: the operator's own labelled pairs, decided as the service would, for the threshold explorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import admin_descriptions as described
from cache_service.api.access import Access
from cache_service.api.exchange import read_object
from cache_service.api.generate import refuse_unknown
from cache_service.errors import InvalidRequest
from cache_service.jobs.explore import FLOOR, MOST_PAIRS
from cache_service.jobs.pairs import Decided, Pair
from cache_service.service import Service

MEMBERS = ("a", "b", "same", "operation")


class PairRoutes:
    """Deciding; nothing is stored, and nothing is paid."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.admin)], default_response_class=Response)
        self.router.add_api_route("/admin/thresholds/pairs", self.decide, methods=["POST"], **described.PAIRS)

    async def decide(self, request: Request) -> Response:
        """Says of each pair what its similarity is and whether the verifier would let b be answered with what a made."""
        body = await read_object(request)
        refuse_unknown(body, ("pairs", "operation"))
        operations = tuple(sorted(self._service.cache.operations))
        operation = _operation(body.get("operation"), operations, "operation") or "images"
        pairs = _pairs(body.get("pairs"), operations)
        decided = await self._service.explorer.decide(pairs, operation)
        answer = {"floor": FLOOR, "pairs": [_shown(one) for one in decided]}
        return Response(orjson.dumps(answer), media_type="application/json")


def _pairs(value: Any, operations: Sequence[str]) -> list[Pair]:
    """The pairs of a body. Raises InvalidRequest naming the member at fault."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_PAIRS:
        raise InvalidRequest(f"pairs must be a list of 1 to {MOST_PAIRS} pairs", param="pairs")
    return [_pair(row, f"pairs.{number}.", operations) for number, row in enumerate(value)]


def _pair(row: Any, where: str, operations: Sequence[str]) -> Pair:
    if not isinstance(row, Mapping):
        raise InvalidRequest("a pair must be an object with a, b and same", param=where.rstrip("."))
    refuse_unknown(row, MEMBERS, where)
    for name in ("a", "b"):
        side = row.get(name)
        messages = isinstance(side, list) and all(
            isinstance(message, Mapping) and isinstance(message.get("role"), str) for message in side
        )
        if not side or not (messages or isinstance(side, str)):
            raise InvalidRequest(f"{name} must be a prompt, or a list of chat messages", param=where + name)
    if not isinstance(row.get("same"), bool):
        raise InvalidRequest("same must be true or false", param=f"{where}same")
    return Pair(
        row["a"], row["b"], row["same"], operation=_operation(row.get("operation"), operations, f"{where}operation")
    )


def _operation(value: Any, operations: Sequence[str], where: str) -> str:
    """Its name, "" where none is given."""
    if value is None:
        return ""
    if not isinstance(value, str) or value not in operations:
        raise InvalidRequest(
            f"operation must be one of: {', '.join(operations)}", param=where, code="unknown_operation"
        )
    return value


def _shown(one: Decided) -> dict[str, Any]:
    """`hit`: whether it would be served by any threshold that its similarity reaches."""
    return {
        "same": one.pair.same,
        "operation": one.operation,
        "similarity": one.similarity,
        "hit": one.hit(0.0),
        "reason": one.reason,
    }
