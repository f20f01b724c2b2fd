"""`serve`: the service on a socket, in the foreground, until TERM or Ctrl-C.

Exit codes: 0 stopped as told; 1 could not start; 70 (EX_SOFTWARE) the storage failed for good and a restart is needed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from cache_service.bootstrap import open_service
from cache_service.bootstrap.settling import settle
from cache_service.config import Settings
from cache_service.errors import ConfigurationError
from cache_service.instrumentation import logs
from cache_service.service import Service

log = logging.getLogger(__name__)

EXIT_STORAGE_FAILED = 70
BACKLOG = 2048
FILES_OF_A_REQUEST = (
    5  # its connection, one to the upstream, the spool, a picture being written; and one that is refused
)
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes has to let another one go on; Python's own 5 ms are what the loop may be late at most.

A busy loop is a thread that computes too: whoever reads the database waits for it as often as rows change hands.
"""
KEEP_ALIVE = 75  # seconds an idle connection stays open; more than a proxy's usual 60


def run(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    """Serves until told to stop; the process's exit code. read_settings: for a reload. Raises CacheServiceError where it can't start."""
    logs.configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, read_settings))


async def _serve(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    from cache_service.api.access import refuse_open_address
    from cache_service.api.app import create_app
    from cache_service.api.connection import Bounds, Crowd

    refuse_open_address(settings)  # before anything is opened
    listener = _listen(settings)
    url = _announced(settings.host, listener.getsockname()[1])
    async with open_service(settings, url=None, read_settings=read_settings) as service:
        crowd = Crowd(_most_connections(settings), service.hook, Bounds())
        server = _Server(
            uvicorn.Config(
                create_app(service),
                http=crowd.protocol(),  # type: ignore[arg-type]  # it asks for a class, and calls it
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
            ),
            service,
            url,
        )
        settle()
        watch = asyncio.create_task(_watch_storage(service, server))
        _reload_on_hangup(service)
        try:
            await server.serve(sockets=[listener])
        finally:
            watch.cancel()
        return EXIT_STORAGE_FAILED if service.not_ready() else 0


class _Server(uvicorn.Server):
    """Says where it listens once it does, and goes on listening while it drains.

    Uvicorn's own stop closes the socket first, so that probes fail although the process works on. Here the first signal
    leaves the socket open until nothing is in flight or the grace has passed; only then uvicorn stops. A second signal
    moves that deadline, which is one for requests and generations, to now.
    """

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
        """The first signal drains, a second one stops at once. Either ends with exit code 0, not by the signal."""
        log.info("stopping on %s", signal.Signals(sig).name)
        if self._service.stop_by is None:
            self.drain()
        else:
            self._service.stop_by = time.monotonic()
            self.should_exit = self.force_exit = True

    def drain(self) -> None:
        """Stops once what is in flight has ended, or at the end of the grace. Idempotent."""
        if self._service.stop_by is None:
            self._service.draining = True
            self._service.batches.drain()
            self._service.stop_by = time.monotonic() + self._service.settings.shutdown_grace

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop; asked ten times a second."""
        by = self._service.stop_by
        if by is not None and (time.monotonic() >= by or not (self._service.in_flight or self._service.generating())):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the socket and idle connections, and cuts off at the deadline what still runs."""
        left = max(0.0, (self._service.stop_by or 0.0) - time.monotonic())
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]  # asyncio takes fractions
        await super().shutdown(sockets=sockets)


def _reload_on_hangup(service: Service) -> None:
    """HUP reads the settings anew; a bad file changes nothing, and the log says why."""
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await service.reloader.reload()
        except ConfigurationError as error:
            log.error("the settings were not reloaded, and all is as it was: %s", error)  # noqa: TRY400  the text says all

    def begin() -> None:
        task = asyncio.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)


async def _watch_storage(service: Service, server: _Server) -> None:
    """Stops serving once nothing can be stored any more, unless a new process couldn't either; what is in flight is still answered."""
    while True:
        await asyncio.sleep(1.0)
        if reasons := service.not_ready():
            log.critical("%s", "; ".join(reasons))
            if await asyncio.to_thread(_is_read_only, service.settings.data_dir):
                log.critical(
                    "the file system is read-only: hits are served on, and nothing is stored until it is mended"
                )
            else:
                server.drain()
            return


def _is_read_only(folder: Path) -> bool:
    """Tried, not asked: a file system that turned read-only by an error may still say that it isn't."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return False
    except OSError as error:
        return error.errno == errno.EROFS


def _most_connections(settings: Settings) -> int:
    """As set, or as many as the files that may still be opened are enough for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _open_files() + FILES_OF_A_REQUEST * settings.max_connections
    if soft < wanted:  # what a process may have without asking is often 1,024
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = max(1, (soft - _open_files()) // FILES_OF_A_REQUEST)
    if most < min(settings.max_connections, settings.max_in_flight_requests):
        log.warning("only %d connections at once: the process may open no more than %d files (ulimit -n)", most, soft)
    return min(most, settings.max_connections)


def _open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def _announced(host: str, port: int) -> str:
    """Where commands on this machine reach the service: a wildcard is an address to listen on, not one to connect to."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(settings: Settings) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, settings.port))
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
