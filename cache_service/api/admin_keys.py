"""`/admin/keys`: keys for clients and operators, made and revoked while the service runs. A key is shown once, when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import admin_descriptions as described
from cache_service.api.access import NAME, Access
from cache_service.api.exchange import caller_of, read_object
from cache_service.api.generate import refuse_unknown
from cache_service.api.query import Query, path_number
from cache_service.errors import InvalidRequest
from cache_service.service import Service
from cache_service.store.records import Role, StoredKey

_ROLES: Final[Mapping[str, Role]] = {"client": "client", "viewer": "viewer", "admin": "admin"}
_NAMED: Final = "1 to 64 letters, digits, dots, underscores and hyphens"


class KeyRoutes:
    """Making, listing and revoking keys."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(default_response_class=Response)
        add, changing = self.router.add_api_route, [Depends(access.admin)]
        add("/admin/keys", self.page, methods=["GET"], dependencies=[Depends(access.reader)], **described.KEYS)
        add("/admin/keys", self.create, methods=["POST"], dependencies=changing, **described.KEY_CREATE)
        add("/admin/keys/{id}/revoke", self.revoke, methods=["POST"], dependencies=changing, **described.KEY_REVOKE)

    async def page(self, request: Request) -> Response:
        """Lists the keys that were made here, newest first, revoked ones too; those of the configuration aren't among them."""
        query = Query(request, ("limit", "before"))
        limit, before = query.limit(), query.integer("before")
        found = await self._service.admin.list_keys(before=before, limit=limit)
        return _json({"keys": [_shown(key) for key in found], "next": found[-1].id if len(found) == limit else None})

    async def create(self, request: Request) -> Response:
        """Makes a key; the answer is the only place where it can be read."""
        name, namespace, role, usd = _take_apart(await read_object(request))
        issued = await self._service.keys.issue(name, namespace, role, usd, by=caller_of(request).client)
        return _json({**_shown(issued.stored), "key": issued.secret}, 201)

    async def revoke(self, request: Request) -> Response:
        """Ends a key at once and for good; on other nodes within a second."""
        Query(request, ())
        key_id = path_number(request, "id", "key")
        return _json(_shown(await self._service.keys.revoke(key_id, by=caller_of(request).client)))


def _take_apart(body: Mapping[str, Any]) -> tuple[str, str, Role, float | None]:
    """Name, namespace, role and USD a day. Raises InvalidRequest."""
    refuse_unknown(body, ("name", "namespace", "role", "usd_per_day"))
    name, namespace, role, usd = (body.get(member) for member in ("name", "namespace", "role", "usd_per_day"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidRequest(f"name must be {_NAMED}", param="name")
    if role is not None and (not isinstance(role, str) or role not in _ROLES):
        raise InvalidRequest(f"role must be one of: {', '.join(_ROLES)}", param="role")
    given = _ROLES[role] if isinstance(role, str) else "client"
    if namespace is not None and (not isinstance(namespace, str) or not NAME.fullmatch(namespace)):
        raise InvalidRequest(f"namespace must be {_NAMED}", param="namespace")
    if usd is not None and not (
        isinstance(usd, int | float) and not isinstance(usd, bool) and math.isfinite(usd) and 0 <= usd <= 1e9
    ):
        raise InvalidRequest("usd_per_day must be a number of USD, 0 or more", param="usd_per_day")
    if given != "client" and (namespace is not None or usd is not None):
        raise InvalidRequest("only the key of a client has a namespace and a budget", param="role")
    return name, (namespace or name) if given == "client" else "", given, None if usd is None else float(usd)


def _shown(key: StoredKey) -> dict[str, Any]:
    """Without the digest: a digest that leaks could be compared with."""
    return {
        "id": key.id,
        "name": key.name,
        "namespace": key.namespace or None,
        "role": key.role,
        "usd_per_day": key.usd_per_day,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "revoked_at": key.revoked_at,
    }


def _json(answer: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(answer), status, media_type="application/json")
