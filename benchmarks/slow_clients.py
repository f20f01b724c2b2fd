"""What a good client notices of a thousand bad ones, over real sockets: p99 of exact hits without and with stalled connections, in turn.

The bad ones are a quarter each: connected and silent; a head that drips a byte a second; a body that drips; a large answer that isn't read. Who is cut off
connects again at once. What it shows: the ratio, for one process with its bounds as they are served. What it doesn't: a flood of requests, or of
bytes; TLS. Bad clients and the good one share the machine with the service, so the ratio holds their own work too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import resource
import selectors
import socket
import statistics
import sys
import time
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

from latency import STORED, Client, percentiles, service, timed

PROMPT = {"model": "m", "prompt": STORED, "size": "1024x1024"}
BAR = 2.0
BODY = json.dumps(PROMPT).encode()
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Bad:
    """Connections that want nothing but to be there, kept at `count`, in a process of their own until it is closed."""

    def __init__(self, port: int, count: int) -> None:
        self._there, self._over = multiprocessing.Event(), multiprocessing.Event()
        self._again = multiprocessing.Value("i", 0)
        self._process = multiprocessing.Process(
            target=_be_there, args=(port, count, self._there, self._over, self._again)
        )
        self._process.start()
        self._there.wait()

    def close(self) -> int:
        """All of them go; how often one was cut off and came again."""
        self._over.set()
        self._process.join()
        return int(self._again.value)


def _be_there(port: int, count: int, there: Event, over: Event, again: Synchronized[int]) -> None:
    connections = _Connections(port, count, over)
    there.set()
    connections.run()
    again.value = connections.again


class _Connections:
    def __init__(self, port: int, count: int, over: Event) -> None:
        self._port, self._over = port, over
        self._open: dict[socket.socket, bytes] = {}
        self._waiting = selectors.DefaultSelector()
        self.again = 0
        self._made = 0
        for _ in range(count):
            self._connect()

    def _connect(self) -> None:
        kind, self._made = self._made % 4, self._made + 1
        one = socket.socket()
        if kind == 3:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", self._port))
        drip = b""
        if kind == 1:
            one.sendall(HEAD)
            drip = b"X"
        elif kind == 2:
            one.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
            drip = b" "
        elif kind == 3:
            one.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        one.setblocking(False)
        self._open[one] = drip
        if kind != 3:  # who doesn't read isn't told that it was cut off before it drips
            self._waiting.register(one, selectors.EVENT_READ)

    def run(self) -> None:
        """Until told that it is over."""
        while not self._over.wait(1.0):
            for one, drip in list(self._open.items()):
                if drip:
                    with contextlib.suppress(OSError):
                        one.send(drip)
            for key, _ in self._waiting.select(0):
                assert isinstance(key.fileobj, socket.socket)
                self._close(key.fileobj)
                self.again += 1
                self._connect()

    def _close(self, one: socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._waiting.unregister(one)
        del self._open[one]
        one.close()


def main() -> None:
    """Exits with 1 where the bar isn't reached."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--connections", type=int, default=1000)
    arguments.add_argument("--hits", type=int, default=1000, help="in each block")
    arguments.add_argument("--blocks", type=int, default=5)
    options = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    alone: list[list[float]] = []
    among: list[list[float]] = []
    again = 0
    with service() as running:
        running.start()
        client = Client(running.port)
        client.post("/v1/images/generations", PROMPT)
        for _ in range(options.blocks):
            alone.append(_block(client, options.hits))
            bad = Bad(running.port, options.connections)
            time.sleep(2.0)
            among.append(_block(client, options.hits))
            again += bad.close()
            p99s = percentiles(alone[-1])[2], percentiles(among[-1])[2]
            print(f"p99 alone {p99s[0]:.2f}, among {p99s[1]:.2f} ms", flush=True)
    ratio = statistics.median(percentiles(b)[2] / percentiles(a)[2] for a, b in zip(alone, among, strict=True))
    for name, blocks in (("alone", alone), (f"among {options.connections}", among)):
        p50, p95, p99 = percentiles([seconds for block in blocks for seconds in block])
        print(f"{name:12}  p50 {p50:.2f}  p95 {p95:.2f}  p99 {p99:.2f} ms")
    print(
        f"p99 among / alone, median of {options.blocks} blocks: {ratio:.2f} (bar {BAR}); cut off and back again: {again}"
    )
    sys.exit(ratio > BAR)


def _block(client: Client, hits: int) -> list[float]:
    times: list[float] = []
    for _ in range(hits):
        timed(times, lambda: client.post("/v1/images/generations", PROMPT))
    return times


if __name__ == "__main__":
    main()
