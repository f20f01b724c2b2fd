"""A load client with next to no cost of its own: prepared bytes, plain sockets, one thread; as fast as a client in Python gets."""

from __future__ import annotations

import itertools
import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

RECEIVE = 4 * 2**20  # bytes asked for at once; more than one answer


@dataclass
class Load:
    """What came back. seconds: of each request, from its first byte out to its last byte in; elapsed: of all of them."""

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    received: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.elapsed

    @property
    def bytes_a_second(self) -> float:
        """Of bodies and headers."""
        return self.received / self.elapsed

    def percentile(self, share: int) -> float:
        """Microseconds."""
        return statistics.quantiles(self.seconds, n=100)[share - 1] * 1e6


def request(path: str, body: bytes) -> bytes:
    """A POST as clients of the API send it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nAuthorization: Bearer any\r\n"
        f"Content-Type: application/json\r\nUser-Agent: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection:
    """One request at a time on one kept-alive socket."""

    def __init__(self, port: int, buffer: memoryview) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = buffer
        self._head = b""
        self._left = -1
        self.began = 0.0

    def send(self, message: bytes) -> None:
        self.began = time.perf_counter()
        self.socket.sendall(message)
        self._head, self._left = b"", -1

    def receive(self, wanted: bytes) -> tuple[int, bool]:
        """Bytes read now, and whether the answer is whole. Fails unless it is a 200 whose headers hold `wanted`."""
        count = self.socket.recv_into(self._buffer)
        assert count, "the server closed the connection"
        if self._left >= 0:
            self._left -= count
        else:
            self._head += bytes(self._buffer[:count])
            end = self._head.find(b"\r\n\r\n")
            if end >= 0:
                head = self._head[:end].lower()
                assert head.startswith(b"http/1.1 200"), head
                assert wanted in head, head
                at = head.index(b"content-length: ") + 16
                length = int(head[at : at + 12].split(b"\r", 1)[0])
                self._left = length - (len(self._head) - end - 4)
        return count, self._left == 0


def drive(
    port: int,
    messages: Sequence[bytes],
    *,
    connections: int,
    seconds: float | None = None,
    wanted: bytes = b"",
) -> Load:
    """Sends the messages in turn, over and over for so many seconds, or each of them once. wanted: in every answer's headers, lower case."""
    load, buffer = Load(), memoryview(bytearray(RECEIVE))
    going = iter(messages) if seconds is None else itertools.cycle(messages)
    with selectors.DefaultSelector() as selector:
        opened = [_Connection(port, buffer) for _ in range(connections)]
        began = time.perf_counter()
        until = float("inf") if seconds is None else began + seconds
        busy = 0
        for connection in opened:
            message = next(going, None)
            if message is not None:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.send(message)
                busy += 1
        while busy:
            for key, _ in selector.select():
                connection = key.data
                count, whole = connection.receive(wanted)
                load.received += count
                if not whole:
                    continue
                now = time.perf_counter()
                load.seconds.append(now - connection.began)
                message = next(going, None) if now < until else None
                if message is None:
                    selector.unregister(connection.socket)
                    busy -= 1
                else:
                    connection.send(message)
        load.elapsed = time.perf_counter() - began
        for connection in opened:
            connection.socket.close()
    return load
