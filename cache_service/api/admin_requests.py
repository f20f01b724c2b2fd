"""`/admin/requests`: the last requests and why each was a hit or a miss; `/admin/playground`: send one and see its steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.answer import Caller, Served, shown
from cache_service.api import admin_descriptions as described
from cache_service.api.access import NAME, Access
from cache_service.api.cache_control import from_json
from cache_service.api.exchange import caller_of, exchange_of, read_object
from cache_service.api.generate import take_apart
from cache_service.api.query import Query
from cache_service.errors import InvalidRequest, NotFound
from cache_service.jobs.request_log import Seen
from cache_service.service import Service

DECISIONS: Final = ("hit", "stale-hit", "miss", "partial", "collapsed", "bypass", "error")
KINDS: Final = ("exact", "semantic")
FILTERS: Final = ("limit", "before", "decision", "kind", "reason", "operation", "namespace", "client")
STEPS: Final = ("key", "exact", "embed", "search", "verify", "join", "generate", "store")
_ID: Final = re.compile(r"[0-9A-Za-z._:/+=@-]{1,128}")


class RequestRoutes:
    """Looking at requests, and making one."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(default_response_class=Response)
        add, reading = self.router.add_api_route, [Depends(access.reader)]
        add("/admin/requests", self.page, methods=["GET"], dependencies=reading, **described.REQUESTS)
        add("/admin/requests/{id:path}", self.request, methods=["GET"], dependencies=reading, **described.REQUEST)
        changing = [Depends(access.admin)]
        add("/admin/playground", self.play, methods=["POST"], dependencies=changing, **described.PLAYGROUND)

    async def page(self, request: Request) -> Response:
        """Lists the last requests that this process answered, newest first."""
        query = Query(request, FILTERS)
        limit, before = query.limit(), query.integer("before")
        wanted = {
            "decision": query.choice("decision", DECISIONS),
            "kind": query.choice("kind", KINDS),
            "reason": query.text("reason"),
            "operation": query.choice("operation", tuple(sorted(self._service.cache.operations))),
            "namespace": query.text("namespace"),
            "client": query.text("client"),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        found = self._service.requests.page(lambda seen: _fits(seen, given), before=before, limit=limit)
        following = found[-1].number if len(found) == limit else None
        return _json({"requests": [seen_members(seen) for seen in found], "next": following})

    async def request(self, request: Request) -> Response:
        """Shows one of them by its request id, the newest that has it."""
        Query(request, ())
        request_id = str(request.path_params["id"])
        seen = self._service.requests.find(request_id) if _ID.fullmatch(request_id) else None
        if seen is None:
            raise NotFound("no request with this id is remembered")
        return _json(seen_members(seen))

    async def play(self, request: Request) -> Response:
        """Answers a request as `/v1/generate` does, for any namespace, and says how long each step took. It may cost money."""
        body = await read_object(request)
        namespace = body.pop("namespace", None)
        if namespace is None:
            namespace = "default"
        if not isinstance(namespace, str) or not NAME.fullmatch(namespace):
            raise InvalidRequest(
                "namespace must be 1 to 64 letters, digits, dots, underscores and hyphens", param="namespace"
            )
        operation, wanted, cache = take_apart(body, self._service.cache.operations)
        directives, tags = from_json(cache)
        request_id = exchange_of(request.scope).request_id
        result = await self._service.cache.get_or_generate(
            operation,
            wanted,
            caller=Caller(namespace, caller_of(request).client),
            directives=directives,
            tags=tags,
            request_id=request_id,
        )
        exchange_of(request.scope).report = result.report
        if not isinstance(result, Served):
            raise result.error
        seen = self._service.requests.find(request_id)
        steps = dict(seen.trace.steps) if seen is not None else {}
        head = {
            "request_id": request_id,
            "cache": shown(result.report),
            "seconds": seen.trace.seconds if seen is not None else None,
            "steps": [{"step": step, "seconds": steps.get(step)} for step in STEPS],
        }
        answer = orjson.loads(result.body) if result.report.forwarded is None else _loose(result.body)
        return _json({**head, "response": answer})


def seen_members(seen: Seen) -> dict[str, Any]:
    """A request as operators see it."""
    trace, report = seen.trace, seen.trace.report
    return {
        "number": seen.number,
        "request_id": trace.request_id,
        "at": trace.at,
        "namespace": trace.caller.namespace,
        "client": trace.caller.client,
        "operation": trace.operation,
        "model": trace.model,
        "prompt": trace.prompt,
        "key": trace.key,
        "decision": seen.decision,
        "kind": report.kind,
        "reason": report.reason,
        "detail": report.detail,
        "similarity": report.similarity,
        "matched_prompt": report.matched_prompt,
        "matched_key": report.matched_key,
        "rejected_prompt": report.rejected_prompt,
        "rejected_key": report.rejected_key,
        "shadow": report.shadow,
        "stored": report.stored,
        "age": report.age,
        "usd": report.usd,
        "saved_usd": report.saved_usd,
        "status": trace.status,
        "error": trace.error,
        "seconds": trace.seconds,
        "steps": [{"step": step, "seconds": trace.steps.get(step)} for step in STEPS],
    }


def _fits(seen: Seen, given: Mapping[str, str]) -> bool:
    trace = seen.trace
    has = {
        "decision": seen.decision,
        "kind": trace.report.kind,
        "reason": trace.report.reason,
        "operation": trace.operation,
        "namespace": trace.caller.namespace,
        "client": trace.caller.client,
    }
    return all(has[name] == value for name, value in given.items())


def _loose(body: bytes) -> Any:
    """JSON where it is, else the text: what an upstream sent may be anything."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer, default=dict), media_type="application/json")
