"""What an exact hit costs over HTTP, beside the least that it could cost, in one run and in turns.

What it shows: answers a second and percentiles of `cache-service serve` with its default settings, on one core, with the load client on
the other; raw ASGI and a FastAPI route (parse a POST, SHA-256, look into a dict) under the same uvicorn settings are measured in turns
with it, so that a busy machine is busy for all. 1,000 chat entries, requests and answers of 2 KB; pictures of 1.5 MB, read for the
first time (after a restart) and again. Ratios are medians over the rounds.
What it doesn't: a network, TLS, client keys, clients that open a connection for each request, a store larger than memory, writes beside.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
from _load import Load, drive, request
from latency import Service, service

HERE = Path(__file__).resolve().parent
SERVER, CLIENT = 0, 1  # cores
CHAT, IMAGES = "/v1/chat/completions", "/v1/images/generations"
ENTRIES = 1000
PICTURES = 24
WAKE = 0.3  # seconds before a measurement
REPEATED = 8  # pictures that are asked again and again
BARS = {
    "2 KB, 16 connections": ("at least", 0.60),
    "2 KB, 1 connection": ("at most", 1.6),
    "picture, again": ("at least", 0.60),
    "picture, first": ("at least", 0.9),
}


def chat_body(number: int) -> bytes:
    """A conversation of about 2 KB."""
    system = {"role": "system", "content": "You are a careful assistant of a shop for garden tools. " * 30}
    user = {"role": "user", "content": f"Which spade fits a heavy clay soil, article {number}?"}
    return orjson.dumps({"model": "gpt-6-luna", "messages": [system, user], "temperature": 0.2})


def image_body(number: int) -> bytes:
    """A request for a picture of its own."""
    return orjson.dumps({"model": "gpt-image-2", "prompt": f"picture {number}", "size": "auto"})


def pinned(core: int) -> Callable[[], None]:
    """For a child, before it begins."""
    return lambda: os.sched_setaffinity(0, {core})


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def app(name: str, core: int, folder: Path = HERE) -> Iterator[int]:
    """One of `_exact_apps`, on the core; its port, once it listens."""
    port = free_port()
    command = [sys.executable, str(HERE / "_exact_apps.py"), name, str(port), str(folder)]
    process = subprocess.Popen(command, preexec_fn=pinned(core))
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert process.poll() is None, f"{name} did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def filled(extra: Mapping[str, str]) -> Iterator[Service]:
    """A running service that has every entry."""
    with app("upstream", CLIENT) as upstream:
        settings = {
            "UPSTREAM_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
            "UPSTREAM_API_KEYS": "any",
            "LOG_LEVEL": "info",
            **extra,
        }
        with service(core=SERVER, **settings) as running:
            running.start()
            drive(running.port, [request(CHAT, chat_body(n)) for n in range(ENTRIES)], connections=8)
            drive(running.port, [request(IMAGES, image_body(n)) for n in range(PICTURES)], connections=1)
            yield running


def small(running: Service, rounds: int, seconds: float) -> dict[str, list[Load]]:
    """Answers of 2 KB, by who answered and how many connections."""
    messages = [request(CHAT, chat_body(n)) for n in range(ENTRIES)]
    loads: dict[str, list[Load]] = {}
    with app("raw", SERVER) as raw, app("reference", SERVER) as reference:
        servers = {"raw ASGI": (raw, b""), "FastAPI": (reference, b""), "service": (running.port, b"; hit;")}
        for port, wanted in servers.values():
            drive(port, messages, connections=16, wanted=wanted)
        for _ in range(rounds):
            for connections in (16, 1):
                for name, (port, wanted) in servers.items():
                    # its work of the background waited while the others had the core
                    drive(port, messages, connections=1, seconds=WAKE, wanted=wanted)
                    load = drive(port, messages, connections=connections, seconds=seconds, wanted=wanted)
                    loads.setdefault(f"{name}, {connections}", []).append(load)
    return loads


def again(running: Service, rounds: int, seconds: float) -> dict[str, list[Load]]:
    """Pictures that were asked for before."""
    messages = [request(IMAGES, image_body(n)) for n in range(REPEATED)]
    loads: dict[str, list[Load]] = {"raw ASGI, picture": [], "service, picture": []}
    with app("raw-picture", SERVER) as raw:
        drive(running.port, messages, connections=1, wanted=b"; hit;")
        for _ in range(rounds):
            loads["raw ASGI, picture"].append(drive(raw, messages, connections=4, seconds=seconds))
            loads["service, picture"].append(
                drive(running.port, messages, connections=4, seconds=seconds, wanted=b"; hit;")
            )
    return loads


def first(running: Service, folder: Path, rounds: int) -> dict[str, list[Load]]:
    """Pictures that were not asked for since the service's start. Both find the files in the machine's page cache."""
    digests = [path.name for path in sorted((folder / "blobs").glob("??/*")) if len(path.name) == 64]
    loads: dict[str, list[Load]] = {"read, hash, encode, send": [], "service, first": []}
    with app("pictures", SERVER, folder / "blobs") as bare:
        for _ in range(rounds):
            running.stop()
            running.start()
            drive(running.port, [request(CHAT, chat_body(0))] * 50, connections=1, wanted=b"; hit;")
            # the first connections and files are dearer, for both
            names = [request("/", name.encode()) for name in digests]
            drive(bare, names[:4], connections=1)
            warm = [request(IMAGES, image_body(n)) for n in range(4)]
            drive(running.port, warm, connections=1, wanted=b"; hit;")
            loads["read, hash, encode, send"].append(drive(bare, names[4:], connections=1))
            cold = [request(IMAGES, image_body(n)) for n in range(4, PICTURES)]
            loads["service, first"].append(drive(running.port, cold, connections=1, wanted=b"; hit;"))
    return loads


def ratio(ours: Sequence[Load], theirs: Sequence[Load], measure: Callable[[Load], float]) -> float:
    """Ours to theirs, round by round; the median."""
    return statistics.median(measure(one) / measure(other) for one, other in zip(ours, theirs, strict=True))


def show(loads: Mapping[str, Sequence[Load]]) -> None:
    """One line for each, of all rounds together."""
    for name, runs in loads.items():
        rate = statistics.median(run.rate for run in runs)
        size = statistics.median(run.bytes_a_second for run in runs) / 1e6
        p50, p95, p99 = (statistics.median(run.percentile(share) for run in runs) for share in (50, 95, 99))
        print(f"{name:26}{rate:10.0f}/s{size:10.1f} MB/s   p50 {p50:7.0f}   p95 {p95:7.0f}   p99 {p99:7.0f} µs")


def memory(pid: int) -> float:
    """MB that belong to the process alone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Measures all in turn and prints the ratios beside their bars."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    arguments.add_argument("--only", choices=("small", "pictures"), help="a part of it")
    arguments.add_argument("--json", action="store_true", help="print the ratios alone")
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    options = arguments.parse_args()
    os.sched_setaffinity(0, {CLIENT})
    extra = dict(pair.split("=", 1) for pair in options.set)
    loads: dict[str, list[Load]] = {}
    found: dict[str, float] = {}
    with filled(extra) as running:
        if options.only != "pictures":
            loads |= small(running, options.rounds, options.seconds)
            rate, p50 = (lambda load: load.rate), (lambda load: load.percentile(50))
            found["2 KB, 16 connections"] = ratio(loads["service, 16"], loads["FastAPI, 16"], rate)
            found["2 KB, 1 connection"] = ratio(loads["service, 1"], loads["FastAPI, 1"], p50)
        if options.only != "small":
            loads |= again(running, options.rounds, options.seconds)
            loads |= first(running, running.folder, options.rounds)
            bytes_ = lambda load: load.bytes_a_second  # noqa: E731
            found["picture, again"] = ratio(loads["service, picture"], loads["raw ASGI, picture"], bytes_)
            found["picture, first"] = ratio(loads["service, first"], loads["read, hash, encode, send"], bytes_)
        megabytes = memory(running.pid)
    if options.json:
        print(orjson.dumps({"ratios": found}).decode())
        return
    print(
        f"{options.rounds} rounds of {options.seconds:g} s, server on core {SERVER}, client on core {CLIENT} of "
        f"{os.cpu_count()}; uvloop, httptools, keep-alive; log level {extra.get('LOG_LEVEL', 'info')}, to a file"
    )
    show(loads)
    for name, value in found.items():
        side, bar = BARS[name]
        holds = value >= bar if side == "at least" else value <= bar
        print(f"{'holds' if holds else 'FAILS'}  {name}: {value:.2f} x, {side} {bar:g}")
    print(f"memory of the service's own at the end: {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
