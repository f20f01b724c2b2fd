"""The simulator on a socket: inside a running event loop for tests and the service, in the foreground for a command."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Generator
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from cache_service.simulator.app import create_app
from cache_service.simulator.clock import Clock, RealClock
from cache_service.simulator.config import SimulatorConfig
from cache_service.simulator.delivery import BrokenOff
from cache_service.simulator.simulator import Simulator

BACKLOG = 2048


class SimulatorServer:
    """A simulator that listens as long as it is needed.

    Runs in the current event loop and leaves signal handlers and logging alone. certificate, certificate_key: files for
    TLS, both or none.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        clock: Clock | None = None,
        certificate: str | None = None,
        certificate_key: str | None = None,
    ) -> None:
        self._app = app = create_app(config, clock=clock or RealClock())
        self.simulator: Simulator = app.state.simulator
        self._server = _QuietServer(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                log_config=None,
                access_log=False,
                lifespan="off",
                backlog=BACKLOG,
                ssl_certfile=certificate,
                ssl_keyfile=certificate_key,
            )
        )
        self._calls: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._scheme = "https" if certificate else "http"
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens and gives the base URL, with the API's version: "http://127.0.0.1:PORT/v1". Raises OSError."""
        listener = _listen(host, port)
        self._stopping = False
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{shown}:{listener.getsockname()[1]}/v1"

    async def serve_until_stopped(self) -> None:
        """Returns once the server has stopped."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Stops at once: connections are cut, calls in flight forgotten. Idempotent."""
        if self._task is None:
            return
        self._stopping = True
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._server.should_exit = True
        await self._task
        self._task = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call; one that breaks off, or that `stop` cancels, leaves without a word."""
        call = asyncio.current_task()
        if call is not None:
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        try:
            await self._app(scope, receive, send)
        except BrokenOff:
            pass  # the server closes a connection whose answer isn't complete
        except asyncio.CancelledError:
            if not self._stopping:
                raise


def run(config: SimulatorConfig, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serves in the foreground until INT or TERM; prints the base URL first."""

    async def serve() -> None:
        server = SimulatorServer(config)
        base_url = await server.start(host, port)
        sys.stdout.write(f"Simulator: {base_url}\n")
        sys.stdout.flush()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in uvicorn.server.HANDLED_SIGNALS:
            loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
        await server.stop()

    asyncio.run(serve())


class _QuietServer(uvicorn.Server):
    """Leaves the process's signal handlers to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
