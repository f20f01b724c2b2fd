"""A connection of a client without a socket: the server's protocol on a transport that keeps what it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from cache_service.api.connection import Connection, Crowd
from cache_service.server import KEEP_ALIVE


class Wire(asyncio.Transport):
    """What a client sends and gets. unsent: bytes that it doesn't take."""

    def __init__(self, app: ASGIApp, crowd: Crowd) -> None:
        super().__init__()
        self.sent = bytearray()
        self.unsent = 0
        self.closing = self.aborted = self.ended = False
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            lifespan="off", ws="none", log_config=None, access_log=False, timeout_keep_alive=KEEP_ALIVE,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        self.protocol = Connection(config=config, server_state=ServerState(), app_state={}, _loop=loop, crowd=crowd)
        self.protocol.connection_made(self)

    async def send(self, *pieces: bytes) -> None:
        """The pieces arrive one after the other, and the service does what it can."""
        for piece in pieces:
            if not self.ended:
                self.protocol.data_received(piece)
            await settle()

    @property
    def status(self) -> int:
        """Of the last answer; 0 for none."""
        heads = [part for part in bytes(self.sent).split(b"HTTP/1.1 ")[1:] if part]
        return int(heads[-1][:3]) if heads else 0

    @property
    def statuses(self) -> list[int]:
        """Of all answers."""
        return [int(part[:3]) for part in bytes(self.sent).split(b"HTTP/1.1 ")[1:]]

    # asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:  # type: ignore[override]
        if self.ended:
            raise RuntimeError("as uvloop does")
        if not self.closing:
            self.sent += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        if not self.unsent:
            self._end()

    def abort(self) -> None:
        self.closing = self.aborted = True
        self._end()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


async def settle() -> None:
    """Lets everything run that waits for no clock."""
    for _ in range(10):
        await asyncio.sleep(0)
