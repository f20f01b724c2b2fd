"""`POST /v1/generate`: any operation, with the decision in the body beside the answer."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.answer import Served, shown
from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.cache_control import JSON_MEMBERS, from_json, stricter
from cache_service.api.exchange import caller_of, exchange_of, headers_of, read_object, steering_of, to_response
from cache_service.errors import InvalidRequest
from cache_service.service import Service

_WORDS: Final = ("preset", "use_case")
"""Stand for parameters of the request; said beside it or in it."""


class GenerateRoutes:
    """`/v1/generate`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.client)], default_response_class=Response)
        self.router.add_api_route("/v1/generate", self.generate, methods=["POST"], **descriptions.GENERATE)

    async def generate(self, request: Request) -> Response:
        """Answers a request of any operation and says how the answer came about."""
        body = await read_object(request)
        operation, wanted, cache = take_apart(body, self._service.cache.operations)
        exchange_of(request.scope).operation = operation
        directives, tags = steering_of(request)
        more_directives, more_tags = from_json(cache)
        result = await self._service.cache.get_or_generate(
            operation,
            wanted,
            caller=caller_of(request),
            directives=stricter(directives, more_directives),
            tags=tags | more_tags,
            request_id=exchange_of(request.scope).request_id,
        )
        simulated = self._service.upstream.simulated
        if not isinstance(result, Served):
            return to_response(result, request, simulated=simulated)
        exchange_of(request.scope).report = result.report
        headers = headers_of(result)
        if simulated:
            headers["x-cache-service-upstream"] = "simulator"
        return Response(await _with_report(result), result.status, headers, "application/json")


def refuse_unknown(members: Collection[str], known: Collection[str], where: str = "") -> None:
    """Raises InvalidRequest for a member that isn't known, naming the nearest that is."""
    for name in members:
        if name not in known:
            nearest = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            raise InvalidRequest(
                f"unknown member {name[:64]!a}: {hint}", param=where + name[:64], code="unknown_member"
            )


def take_apart(body: Mapping[str, Any], operations: Collection[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Operation, request and cache members. Raises InvalidRequest."""
    refuse_unknown(body, ("operation", "request", "cache", *_WORDS))
    operation, request, cache = body.get("operation"), body.get("request"), body.get("cache")
    if not isinstance(operation, str) or operation not in operations:
        raise InvalidRequest(
            f"operation must be one of: {', '.join(sorted(operations))}", param="operation", code="unknown_operation"
        )
    if not isinstance(request, dict):
        raise InvalidRequest(
            "request must be an object: the body of OpenAI's API", param="request", code="invalid_type"
        )
    if cache is not None and not isinstance(cache, dict):
        raise InvalidRequest("cache must be an object", param="cache", code="invalid_type")
    refuse_unknown(cache or (), JSON_MEMBERS, "cache.")
    if request.get("stream"):
        raise InvalidRequest(
            "an answer here is one JSON document: ask for a stream on the operation's own route",
            param="request.stream",
            code="stream_not_supported",
        )
    words = {name: body[name] for name in _WORDS if body.get(name) is not None}
    for name in words:
        if request.get(name) is not None:  # one of them would go unread, whatever it says
            raise InvalidRequest(
                f"{name} stands beside the request and in it: say it once", param=name, code="duplicate_name"
            )
    return operation, {**request, **words} if words else request, cache or {}


async def _with_report(served: Served) -> bytes:
    """`{"cache": …, "response": …}`, the response byte for byte where it is JSON, else as one string."""
    assert served.pieces is None  # noqa: S101  nothing but `stream` asks for pieces
    body = served.body
    # what the cache made is JSON; what an upstream sent may not be, whatever its headers say
    if served.report.forwarded is not None and not await asyncio.to_thread(_is_json, body):
        body = orjson.dumps(body.decode("utf-8", "replace"))
    return b'{"cache":' + orjson.dumps(shown(served.report)) + b',"response":' + body + b"}"


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
