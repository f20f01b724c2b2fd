"""`serve`: the service on a socket, in the foreground, until TERM or Ctrl-C.

Exit codes: 0 stopped as told; 1 could not start; 70 (EX_SOFTWARE) the storage failed for good and a restart is needed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from cache_service.bootstrap import open_service
from cache_service.config import Settings
from cache_service.errors import ConfigurationError
from cache_service.instrumentation import logs
from cache_service.service import Service

log = logging.getLogger(__name__)

EXIT_STORAGE_FAILED = 70
BACKLOG = 2048
KEEP_ALIVE = 75  # seconds an idle connection stays open; more than a proxy's usual 60


def run(settings: Settings) -> int:
    """Serves until told to stop; the process's exit code. Raises CacheServiceError where it can't start."""
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    from cache_service.api.app import create_app

    listener = _listen(settings)
    host, port = settings.host, listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    async with open_service(settings, url=None) as service:
        server = _Server(
            uvicorn.Config(
                create_app(service),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=int(settings.shutdown_grace),
            ),
            service,
            url,
        )
        watch = asyncio.create_task(_watch_storage(service, server))
        try:
            await server.serve(sockets=[listener])
        finally:
            watch.cancel()
        return EXIT_STORAGE_FAILED if service.not_ready() else 0


class _Server(uvicorn.Server):
    """Says where it listens once it does, and that it is draining before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, url: str) -> None:
        super().__init__(config)
        self._service = service
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then announces it: whoever reads the lock file may connect at once."""
        await super().startup(sockets=sockets)
        self._service.announce(self._url)
        log.info("serving at %s; the data is in %s", self._url, self._service.settings.data_dir)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one stops at once."""
        self._service.draining = True
        log.info("stopping on %s", signal.Signals(sig).name)
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # a stop as told ends with exit code 0, not by the signal


async def _watch_storage(service: Service, server: uvicorn.Server) -> None:
    """Stops serving once nothing can be stored any more; what is in flight is still answered."""
    while True:
        await asyncio.sleep(1.0)
        if reasons := service.not_ready():
            log.critical("%s", "; ".join(reasons))
            service.draining = True
            server.should_exit = True
            return


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror}; set CACHE_SERVICE_PORT or CACHE_SERVICE_HOST"
        ) from error
    listener.setblocking(False)
    return listener


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return None
    return uvloop.Loop
