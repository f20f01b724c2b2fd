"""How long a hit takes, one request at a time, over a real socket: exact and semantic, beside one bare forward pass.

What it shows: time from sending a request to having read the answer, of a client on the same machine, for a service of one
process with a small store; and the ratio to the model's own time in the same run, which is what machines can be compared by.
What it doesn't: many clients at once, a large store, a network, a miss (that is the upstream's time).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cache_service.embedding import onnx, openvino
from cache_service.embedding.batching import Engine

ROOT = Path(__file__).resolve().parent.parent
STORED = "a photograph of a red cube on a blue sphere in a white room with soft morning light"
ASKED = "a photograph of a red cube on top of a blue sphere in a white room with soft morning light"


def engine_in_force(threads: int = 0) -> Engine:
    """The engine that `embedder=auto` takes."""
    load = openvino.load_engine if openvino.is_quickest(ROOT / "models") else onnx.load_engine
    return load(ROOT / "models", threads=threads)


class Service:
    """A service on a free port, with the simulator answering at once. Its log goes to a file in the folder.

    core: that it must stay on. settings: more of them, in capitals.
    """

    def __init__(self, folder: Path, *, core: int | None = None, **settings: str) -> None:
        self.folder = folder
        self._settings = settings
        self._core = core
        self.port = self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it is ready."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CACHE_SERVICE_")}
        ours = {
            "DATA_DIR": str(self.folder),
            "PORT": "0",
            "SIMULATOR_LATENCY": "0",
            "MODELS_DIR": str(ROOT / "models"),
            "LOG_LEVEL": "error",
            **self._settings,
        }
        command = [sys.executable, "-m", "cache_service", "serve"]
        pin = None if self._core is None else (lambda: os.sched_setaffinity(0, {self._core}))
        with (self.folder / "log").open("ab") as output:
            environment = clean | {f"CACHE_SERVICE_{k}": v for k, v in ours.items()}
            process = subprocess.Popen(command, env=environment, stderr=output, preexec_fn=pin)
        self._process, self.pid, self.port = process, process.pid, 0
        while not self.port:
            if process.poll() is not None:
                sys.exit(f"the service did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)
            self.port = _port(self.folder / "lock", process.pid)

    def stop(self) -> None:
        """Returns once it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def service(
    prepare: Callable[[Path], None] | None = None, *, core: int | None = None, **settings: str
) -> Iterator[Service]:
    """A service in a folder of its own, not started yet. prepare: puts something there first."""
    with tempfile.TemporaryDirectory() as folder:
        if prepare is not None:
            prepare(Path(folder))
        running = Service(Path(folder), core=core, **settings)
        try:
            yield running
        finally:
            running.stop()


def _port(lock: Path, pid: int) -> int:
    try:
        held = json.loads(lock.read_text())
    except (OSError, ValueError):
        return 0
    return int(held["url"].rpartition(":")[2]) if held.get("pid") == pid and held.get("url") else 0


class Client:
    """One kept-alive connection with as little of its own as possible: a socket, some 20 µs a request."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = [f"host: 127.0.0.1:{port}", "content-type: application/json"]
        if key is not None:
            fields.append(f"authorization: Bearer {key}")
        self._fields = "\r\n".join(fields)

    def post(self, path: str, body: object) -> str:
        """Sends and reads it all; the Cache-Status."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\n{self._fields}\r\ncontent-length: {len(content)}\r\n\r\n"
        self._connection.sendall(head.encode() + content)
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._received()
        status, *lines = answer[:end].decode("latin-1").split("\r\n")
        assert status.startswith("HTTP/1.1 200 "), status
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        left = int(headers["content-length"]) - (len(answer) - end - 4)
        while left > 0:
            left -= len(self._received())
        return headers["cache-status"]

    def _received(self) -> bytes:
        piece = self._connection.recv(1 << 20)
        assert piece, "the service closed the connection"
        return piece


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """p50, p95, p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1e3, cuts[94] * 1e3, cuts[98] * 1e3


def timed(times: list[float], work: Callable[[], object]) -> None:
    """Runs the work and notes how long it took."""
    started = time.perf_counter()
    work()
    times.append(time.perf_counter() - started)


def main() -> None:
    """Measures all in turn, so that a busy machine is busy for all of them."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--rounds", type=int, default=500)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    engine = engine_in_force()
    chat = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "How do I reset my password?"}]}
    image = {"model": "gpt-image-2", "size": "64x64", "prompt": STORED}
    picture = {"model": "gpt-image-2", "size": "1024x1024", "prompt": STORED}
    paraphrase = {**image, "prompt": ASKED}
    with service() as running:
        running.start()
        client = Client(running.port)
        for path, body in (("chat/completions", chat), ("images/generations", image), ("images/generations", picture)):
            client.post(f"/v1/{path}", body)
        work: dict[str, Callable[[], str | object]] = {
            "exact hit, chat": lambda: client.post("/v1/chat/completions", chat),
            "exact hit, image 64x64": lambda: client.post("/v1/images/generations", image),
            "exact hit, image 1024x1024": lambda: client.post("/v1/images/generations", picture),
            "semantic hit, image 64x64": lambda: client.post("/v1/images/generations", paraphrase),
            "bare forward pass": lambda: engine.forward([engine.read(ASKED)]),
        }
        for name, one in work.items():
            status = one()
            assert not isinstance(status, str) or f"; {'hit' if 'hit' in name else ''}" in status, (name, status)
            assert "semantic" not in name or "semantic" in str(status), status
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(options.rounds):
            for name, one in work.items():
                timed(times[name], one)
    rows = {
        name: dict(zip(("p50", "p95", "p99"), percentiles(seconds), strict=True)) for name, seconds in times.items()
    }
    bare = rows["bare forward pass"]["p50"]
    semantic = rows["semantic hit, image 64x64"]["p50"]
    verdict = {
        "semantic_bar_ms": 2.0 * bare + 2.0,
        "semantic_p50_ms": semantic,
        "exact_p50_ms": rows["exact hit, chat"]["p50"],
    }
    if options.json:
        print(json.dumps({"rounds": options.rounds, "milliseconds": rows, **verdict}))
        return
    print(
        f"{options.rounds} rounds, one client, {os.cpu_count()} cores, {len(engine.read(ASKED).ids)} word pieces; milliseconds"
    )
    for name, row in rows.items():
        print(f"{name:28} p50 {row['p50']:7.2f}   p95 {row['p95']:7.2f}   p99 {row['p99']:7.2f}")
    print(f"semantic hit {semantic:.2f} against 2 x bare forward pass + 2 ms = {verdict['semantic_bar_ms']:.2f}")


if __name__ == "__main__":
    main()
