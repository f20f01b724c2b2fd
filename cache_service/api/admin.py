"""`/admin/purge`: deleting entries, or counting them first. Nothing here runs or fetches what a body names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.exchange import caller_of, read_object
from cache_service.api.generate import refuse_unknown
from cache_service.errors import ConfigurationError, InvalidRequest
from cache_service.jobs.purge import PurgeRequest
from cache_service.service import Service
from cache_service.store.records import Act

MAX_TEXT: Final = 32_000  # characters, as an image prompt

_Check = Callable[[Any], bool]
_TEXT: tuple[str, _Check] = (
    f"a string of 1 to {MAX_TEXT} characters",
    lambda v: isinstance(v, str) and 1 <= len(v) <= MAX_TEXT,
)
_FLAG: tuple[str, _Check] = ("true or false", lambda v: isinstance(v, bool))
_UNIT: tuple[str, _Check] = ("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
_SECONDS: tuple[str, _Check] = ("a number of seconds, 0 or more", lambda v: _is_number(v) and v >= 0)

PURGE_MEMBERS: Final[Mapping[str, tuple[str, _Check]]] = {
    "key": _TEXT,
    "prompt": _TEXT,
    "similar_to": _TEXT,
    "similarity": _UNIT,
    "tag": _TEXT,
    "namespace": _TEXT,
    "operation": _TEXT,
    "model": _TEXT,
    "older_than": _SECONDS,
    "all": _FLAG,
    "confirm": _TEXT,
    "dry_run": _FLAG,
}
"""What `POST /admin/purge` understands, with its types; `null` is the same as absent."""


class AdminRoutes:
    """`/admin/purge` and `/admin/reload`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.admin)], default_response_class=Response)
        self.router.add_api_route("/admin/purge", self.purge, methods=["POST"], **descriptions.PURGE)
        self.router.add_api_route("/admin/reload", self.reload, methods=["POST"], **descriptions.RELOAD)

    async def reload(self, request: Request) -> Response:
        """Reads the settings anew and takes those that can change while the service runs; a bad file changes nothing."""
        try:
            done = await self._service.reloader.reload()
        except ConfigurationError as error:
            raise InvalidRequest(f"nothing was changed: {error}", code="invalid_settings") from error
        act = Act(caller_of(request).client, "reload", {"changed": ", ".join(done.changed)})
        await self._service.admin.add_act(act, count=len(done.changed))
        answer = {"changed": done.changed, "after_restart": done.after_restart}
        return Response(orjson.dumps(answer), media_type="application/json")

    async def purge(self, request: Request) -> Response:
        """Deletes the entries that match all that is named, or counts them for a dry run."""
        asked = to_purge_request(await read_object(request))
        result = await self._service.purger.purge(asked, by=caller_of(request).client)
        answer = {"count": result.count, "dry_run": result.dry_run, "number": result.number}
        return Response(orjson.dumps(answer), media_type="application/json")


def to_purge_request(body: Mapping[str, Any]) -> PurgeRequest:
    """What the body asks to purge. Raises InvalidRequest for unknown members (naming the nearest) and wrong types."""
    refuse_unknown(body, tuple(PURGE_MEMBERS))
    for name, (expected, fits) in PURGE_MEMBERS.items():
        value = body.get(name)
        if value is not None and not fits(value):
            raise InvalidRequest(f"{name} must be {expected}", param=name, code="invalid_type")
    return PurgeRequest(
        key=body.get("key"),
        prompt=body.get("prompt"),
        similar_to=body.get("similar_to"),
        similarity=body.get("similarity"),
        tag=body.get("tag"),
        namespace=body.get("namespace"),
        operation=body.get("operation"),
        model=body.get("model"),
        older_than=body.get("older_than"),
        everything=body.get("all") or False,
        confirm=body.get("confirm"),
        dry_run=body.get("dry_run") or False,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
