"""The simulated upstream as an ASGI app: START HERE for its routes, then `simulator.py` for the way of one call."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cache_service.simulator.clock import Clock, RealClock
from cache_service.simulator.config import SimulatorConfig
from cache_service.simulator.control import Control
from cache_service.simulator.delivery import Whole, to_json
from cache_service.simulator.refusals import Refusal
from cache_service.simulator.simulator import Simulator
from cache_service.simulator.stats import Stats


def create_app(config: SimulatorConfig, *, clock: Clock | None = None) -> Starlette:
    """The app. `app.state.simulator` is its `Simulator`, to be looked at and steered by tests."""
    simulator = Simulator(config, clock or RealClock())
    control = Control(simulator)
    app = Starlette(
        routes=[
            Route("/v1/images/generations", simulator.images, methods=["POST"]),
            Route("/v1/chat/completions", simulator.chat, methods=["POST"]),
            Route("/v1/models", simulator.models, methods=["GET"]),
            Route("/v1/models/{model:path}", simulator.model, methods=["GET"]),
            Route("/v1/organization/projects/{project}/rate_limits", simulator.rate_limits, methods=["GET"]),
            Route("/v1/files", simulator.batch_api.upload, methods=["POST"]),
            Route("/v1/files/{id}", simulator.batch_api.file, methods=["GET"]),
            Route("/v1/files/{id}/content", simulator.batch_api.content, methods=["GET"]),
            Route("/v1/batches", simulator.batch_api.create, methods=["POST"]),
            Route("/v1/batches", simulator.batch_api.list, methods=["GET"]),
            Route("/v1/batches/{id}", simulator.batch_api.batch, methods=["GET"]),
            Route("/v1/batches/{id}/cancel", simulator.batch_api.cancel, methods=["POST"]),
            Route("/_simulator/stats", control.show_stats, methods=["GET"]),
            Route("/_simulator/faults", control.change_faults, methods=["POST", "DELETE"]),
            Route("/_simulator/limits", control.change_limit, methods=["POST"]),
            Route("/_simulator/release", control.release_held, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _not_served},
    )
    app.add_middleware(_InFlight, stats=simulator.stats)
    app.state.simulator = simulator
    return app


class _InFlight:
    """Counts the calls that are being answered."""

    def __init__(self, app: ASGIApp, stats: Stats) -> None:
        self._app = app
        self._stats = stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        self._stats.in_flight += 1
        self._stats.most_in_flight = max(self._stats.most_in_flight, self._stats.in_flight)
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            pass  # gone before its request was read: there is nobody to answer
        finally:
            self._stats.in_flight -= 1


async def _not_served(request: Request, exc: Exception) -> Any:
    """Unknown paths and methods, in the upstream's envelope."""
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    told = f"Invalid URL ({request.method} {request.url.path})" if status == 404 else str(getattr(exc, "detail", exc))
    headers = dict(getattr(exc, "headers", None) or {})
    return Whole(to_json(Refusal(status, told).envelope()), status=status, headers=headers)
