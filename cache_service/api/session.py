"""Logging in to the console: an admin token or key becomes a cookie that no script can read and no other site can send.

Sessions are in memory, by the digest of the cookie: a restart logs everyone out, and so does revoking the key that opened one.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import admin_descriptions as described
from cache_service.api.access import COOKIE, Access, Operator
from cache_service.api.exchange import exchange_of, read_object
from cache_service.api.generate import refuse_unknown
from cache_service.errors import InvalidRequest
from cache_service.service import Service
from cache_service.store.records import Act

LIFETIME: Final = 12 * 3600.0  # seconds: a working day
MOST: Final = 1000  # sessions; the oldest goes first
MAX_TOKEN: Final = 1024  # characters


@dataclass(frozen=True, slots=True)
class _Session:
    operator: Operator
    expires: float


class Sessions:
    """Who is logged in. now: Unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._open: dict[str, _Session] = {}

    def open(self, operator: Operator) -> str:
        """A new session; the cookie's value."""
        while len(self._open) >= MOST:
            self._open.pop(next(iter(self._open)))
        value = secrets.token_urlsafe(32)
        self._open[_digest(value)] = _Session(operator, self._now() + LIFETIME)
        return value

    def find(self, value: str) -> Operator | None:
        """Whose session it is, None for none or one that has ended."""
        session = self._open.get(_digest(value))
        return None if session is None or session.expires <= self._now() else session.operator

    def close(self, value: str) -> None:
        """Ends it; an unknown one is no error."""
        self._open.pop(_digest(value), None)


class SessionRoutes:
    """`/admin/session`: who is logged in, log in, log out."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self._access = access
        self.router = APIRouter(default_response_class=Response)
        add = self.router.add_api_route
        reading = [Depends(access.reader)]
        add("/admin/session", self.show, methods=["GET"], dependencies=reading, **described.SESSION)
        add("/admin/session", self.log_in, methods=["POST"], **described.LOG_IN)
        add("/admin/session", self.log_out, methods=["DELETE"], **described.LOG_OUT)

    async def show(self, request: Request) -> Response:
        """Says who asks, and whether they may change anything."""
        exchange = exchange_of(request.scope)
        who = exchange.caller.client if exchange.caller is not None else ""
        return _json({"who": who, "role": exchange.role})

    async def log_in(self, request: Request) -> Response:
        """Takes an admin token or the key of a viewer or admin, and sets the cookie."""
        body = await read_object(request)
        refuse_unknown(body, ("token",))
        token = body.get("token")
        if not isinstance(token, str) or not 1 <= len(token) <= MAX_TOKEN:
            raise InvalidRequest(
                f"token must be a string of 1 to {MAX_TOKEN} characters", param="token", code="invalid_type"
            )
        operator = self._access.operator_of(hashlib.sha256(token.strip().encode()).digest())
        value = self._access.sessions.open(operator)
        await self._service.admin.add_act(Act(operator.who, "login"), count=0)
        response = _json({"who": operator.who, "role": operator.role})
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, value, max_age=int(LIFETIME), path="/", httponly=True, samesite="strict", secure=secure
        )
        return response

    async def log_out(self, request: Request) -> Response:
        """Ends the session, if there is one."""
        self._access.sessions.close(request.cookies.get(COOKIE, ""))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _json(answer: object) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
