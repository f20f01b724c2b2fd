"""`/v1/generate/batches`: thousands of requests under one id. Its answer streams the results as they come; the batch goes on without it.

Lines of the stream, each a JSON object: `batch` (first and last: how it stands), results (`number`, `index`, and `response` or
`problem`), and `progress` now and then. Results are read from the database a page at a time as the client takes them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.batch_body import JSON, NDJSON, Frame, read_batch
from cache_service.api.exchange import caller_of, check_type, steering_of
from cache_service.api.problems import BATCHES
from cache_service.batch import Batch, ItemResult
from cache_service.errors import InvalidRequest
from cache_service.jobs.batch import Standing
from cache_service.service import Service

PAGE: Final = 100  # results of one JSON answer
MAX_PAGE: Final = 1000
MAX_OFFSET: Final = 2**31 - 1
PROGRESS_EVERY: Final = 1.0  # seconds between two lines of progress where something has come
SILENCE: Final = 15.0  # seconds after which a line comes in any case, so that nobody takes the connection for dead
_DIGITS: Final = re.compile(r"[0-9]{1,10}")


class BatchRoutes:
    """The routes of batches."""

    def __init__(self, service: Service, access: Access, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._monotonic = monotonic
        self.router = APIRouter(dependencies=[Depends(access.client)], default_response_class=Response)
        add = self.router.add_api_route
        add(BATCHES, self.create, methods=["POST"], **descriptions.BATCH_CREATE)
        add(BATCHES + "/{id}", self.show, methods=["GET"], **descriptions.BATCH_SHOW)
        add(BATCHES + "/{id}", self.delete, methods=["DELETE"], **descriptions.BATCH_DELETE)
        add(BATCHES + "/{id}/cancel", self.cancel, methods=["POST"], **descriptions.BATCH_CANCEL)

    async def create(self, request: Request) -> Response:
        """Takes requests together, and streams their results as they come; `Prefer: respond-async` answers at once."""
        media_type = check_type(request, JSON, NDJSON)
        directives, tags = steering_of(request)
        service = self._service
        frame = Frame(service.cache.operations, service.settings.max_batch_items, directives, tags)
        body = await request.body()
        items, options = await asyncio.to_thread(read_batch, body, media_type, frame)
        del body  # it may be large, and the answer lasts
        batch = await service.batches.submit(caller_of(request), items, options)
        del items
        headers = {"location": f"{BATCHES}/{batch.id}"}
        if _prefers_async(request):
            headers["preference-applied"] = "respond-async"
            return await self._shown(request, batch.id, headers, status=202)
        return StreamingResponse(self._follow(request, batch, 0), 200, headers, NDJSON)

    async def show(self, request: Request) -> Response:
        """Shows how a batch stands and its results so far; as NDJSON also those that are still to come."""
        batch_id = request.path_params["id"]
        offset = _number(request, "offset", most=MAX_OFFSET, default=0)
        limit = _number(request, "limit", most=MAX_PAGE, default=PAGE)
        follow = _flag(request, "follow")
        caller, batches = caller_of(request), self._service.batches
        if follow or NDJSON in request.headers.get("accept", ""):
            batch = await batches.find(batch_id, caller)
            lines = self._follow(request, batch, offset) if follow else self._so_far(request, batch, offset)
            return StreamingResponse(lines, 200, {}, NDJSON)
        standing = await batches.standing(batch_id, caller)
        found = await batches.results(standing.batch, after=offset, limit=limit) if limit else []
        head = orjson.dumps(shown(standing))[:-1]
        shown_results = b",".join(_result(one) for one in found)
        following = found[-1].number if found else offset
        return Response(head + b',"results":[%s],"next":%d}' % (shown_results, following), media_type=JSON)

    async def cancel(self, request: Request) -> Response:
        """Cancels what hasn't started; what is in flight is paid, ends and is stored."""
        standing = await self._service.batches.cancel(request.path_params["id"], caller_of(request))
        return Response(orjson.dumps(shown(standing)), media_type=JSON)

    async def delete(self, request: Request) -> Response:
        """Deletes a batch that has ended, with its results; what it generated stays in the cache."""
        standing = await self._service.batches.delete(request.path_params["id"], caller_of(request))
        return Response(orjson.dumps(shown(standing)), media_type=JSON)

    async def _shown(self, request: Request, batch_id: str, headers: dict[str, str], status: int = 200) -> Response:
        standing = await self._service.batches.standing(batch_id, caller_of(request))
        return Response(orjson.dumps(shown(standing)), status, headers, JSON)

    async def _follow(self, request: Request, batch: Batch, offset: int) -> AsyncIterator[bytes]:
        """Every line until the batch has ended, or the process is to stop: the last line says which."""
        yield await self._standing_line(request, batch)
        news, since = False, self._monotonic()
        async for page in self._service.batches.follow(batch, after=offset):
            if page:
                news = True
                yield _lines(page)
            if self._monotonic() - since >= (PROGRESS_EVERY if news else SILENCE):
                news, since = False, self._monotonic()
                standing = await self._service.batches.standing(batch.id, caller_of(request))
                yield orjson.dumps({"progress": progress(standing)}) + b"\n"
        yield await self._standing_line(request, batch)

    async def _so_far(self, request: Request, batch: Batch, offset: int) -> AsyncIterator[bytes]:
        yield await self._standing_line(request, batch)
        while page := await self._service.batches.results(batch, after=offset):
            offset = page[-1].number
            yield _lines(page)
        yield await self._standing_line(request, batch)

    async def _standing_line(self, request: Request, batch: Batch) -> bytes:
        standing = await self._service.batches.standing(batch.id, caller_of(request))
        return orjson.dumps({"batch": shown(standing)}) + b"\n"


def shown(standing: Standing) -> dict[str, Any]:
    """A batch as clients see it."""
    batch = standing.batch
    return {
        "id": batch.id,
        "state": batch.state,
        "created_at": batch.created_at,
        "ended_at": batch.ended_at,
        "cancelled_at": batch.cancelled_at,
        "options": asdict(batch.options),
        **progress(standing),
    }


def progress(standing: Standing) -> dict[str, Any]:
    """How far it is."""
    counts = asdict(standing.tally)
    usd, unknown = counts.pop("usd"), counts.pop("unknown_price")
    total = standing.batch.total
    ended = total - counts["waiting"] - counts["sent"]
    return {
        "total": total,
        "ended": ended,
        "progress": round(ended / total, 6),
        "counts": counts,
        "usd": round(usd, 9),
        "unknown_price": unknown,
    }


def _lines(page: Sequence[ItemResult]) -> bytes:
    return b"".join(_result(one) + b"\n" for one in page)


def _result(one: ItemResult) -> bytes:
    head = b'{"number":%d,"index":%d,"outcome":"%s",' % (one.number, one.position, one.state.encode("ascii"))
    if one.cache is None:
        return head + b'"problem":' + one.body.encode("utf-8") + b"}"
    return head + b'"cache":' + one.cache.encode("utf-8") + b',"response":' + one.body.encode("utf-8") + b"}"


def _prefers_async(request: Request) -> bool:
    """RFC 7240, section 4.1."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return "respond-async" in (preference.partition(";")[0].strip() for preference in preferences)


def _number(request: Request, name: str, *, most: int, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or int(text) > most:
        raise InvalidRequest(f"{name} must be a number from 0 to {most}", param=name)
    return int(text)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false", param=name)
    return text == "true"
