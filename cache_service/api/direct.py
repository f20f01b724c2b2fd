"""Routes that generate, without the framework's own way to them: that costs as much as all the rest of an exact hit.

FastAPI still knows these routes (they are in the API's description, and it answers other methods); here their endpoint is called with
the same access dependency before it. ASGI middleware, inside the edge, which renders what is raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send


class Direct:
    """Calls the endpoints of `routes` (by path) for POST. access: raises where the caller may not ask."""

    def __init__(
        self, app: ASGIApp, *, routes: Mapping[str, APIRoute], access: Callable[[Request], Awaitable[None]]
    ) -> None:
        self._app = app
        self._routes = routes
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; all others go on to the framework."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        await self._access(request)
        response = await route.endpoint(request)
        await response(scope, receive, send)
