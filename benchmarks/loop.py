"""How late the event loop is while a service does everything at once: the longest that any request waits for another's work.

What it shows: a real service in this process, asked in process (no sockets) 200 times a second: repeats, paraphrases, new prompts for chat
and pictures, purges, and an eviction that never ends because more is stored than may be. A timer that should fire each millisecond says
how late the loop was. Whatever the loop is late by beyond `--bar` is shown with what Python was doing (the stack of the loop's
thread, taken by another one while it was late). Before and after, a process that does nothing but the beats says how late the machine alone makes them.
What it doesn't: a machine with other work (then the kernel is late, not the loop: pin it with `taskset` and give it priority),
a disk that stalls, a store of millions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import uvloop

from cache_service.answer import Caller, Failed
from cache_service.bootstrap import open_service
from cache_service.bootstrap.settling import settle
from cache_service.config import Settings
from cache_service.decision import Directives
from cache_service.jobs.purge import PurgeRequest
from cache_service.server import SWITCH_INTERVAL
from cache_service.service import Service

ROOT = Path(__file__).resolve().parent.parent
A_SECOND = 200
BEAT = 0.001  # seconds
THINGS = ("spade", "rake", "hose", "ladder", "lamp", "chair", "table", "clock", "bridge", "harbour", "violin", "teapot")
WAYS = ("a photograph of a {} {} in a garden", "a photo of a {} {} in a garden", "in a garden, a photograph of a {} {}")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey")


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds: of the wall, computed by all of this process, and for which this thread waited for a core."""

    wall: float
    computed: float
    no_core: float


class Watch:
    """Notes how late a timer fires, and where the loop's thread was meanwhile. late, ours: seconds, in all and what we are to blame for."""

    def __init__(self, bar: float) -> None:
        self.late: list[float] = []
        self.ours: list[float] = []
        self.places: Counter[str] = Counter()
        self._bar = bar
        self._due = time.perf_counter()
        self._ended = threading.Event()
        self._thread = threading.get_ident()
        self._scheduled = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    async def beat(self) -> None:
        """For ever."""
        while True:
            before = self._read()
            self._due = before.wall + BEAT
            await asyncio.sleep(BEAT)
            now = self._read()
            late = max(0.0, now.wall - self._due)
            self.late.append(late)
            self.ours.append(max(0.0, min(late - (now.no_core - before.no_core), now.computed - before.computed)))

    def _read(self) -> Clocks:
        no_core = int(os.pread(self._scheduled, 100, 0).split()[1]) / 1e9
        return Clocks(time.perf_counter(), time.process_time(), no_core)

    def look(self) -> None:
        """In a thread of its own, until `end`."""
        while not self._ended.wait(self._bar / 2):
            if time.perf_counter() - self._due > self._bar:
                frame = sys._current_frames().get(self._thread)  # noqa: SLF001  there is no other way to it
                places = [
                    f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_stack(frame)
                ]
                self.places[" < ".join(reversed(places[-4:]))] += 1

    def end(self) -> None:
        """Stops looking."""
        self._ended.set()


def request(draw: random.Random) -> tuple[str, dict[str, object]]:
    """Operation and body: of a few hundred scenes, so most were asked before, in these words or others."""
    thing, colour = draw.choice(THINGS), draw.choice(COLOURS)
    prompt = draw.choice(WAYS).format(colour, thing)
    if draw.random() < 0.05:
        prompt += f", number {draw.randrange(10**6)}"
    if draw.random() < 0.5:
        return "chat", {"model": "gpt-6-luna", "messages": [{"role": "user", "content": f"Describe {prompt}."}]}
    return "images", {"model": "gpt-image-2", "size": "1024x1024", "prompt": prompt}


async def traffic(service: Service, seconds: float) -> Counter[str]:
    """Asks at a steady rate, whether or not the last ones were answered."""
    draw, decisions = random.Random(1), Counter[str]()

    async def ask() -> None:
        operation, body = request(draw)
        result = await service.cache.get_or_generate(operation, body, caller=Caller(), directives=Directives())
        kind = "error" if isinstance(result, Failed) else result.report.kind or result.report.decision
        decisions[kind] += 1

    began, asked = time.perf_counter(), set()
    for number in range(int(seconds * A_SECOND)):
        await asyncio.sleep(max(0.0, began + number / A_SECOND - time.perf_counter()))
        asked.add(asyncio.create_task(ask()))
        if number % A_SECOND == A_SECOND - 1:
            colour = draw.choice(COLOURS)
            asked.add(asyncio.create_task(_purge(service, WAYS[0].format(colour, draw.choice(THINGS)), decisions)))
    await asyncio.gather(*asked)
    return decisions


async def _purge(service: Service, prompt: str, decisions: Counter[str]) -> None:
    await service.purger.purge(PurgeRequest(prompt=prompt))
    decisions["purge"] += 1


async def only_beat(seconds: float) -> None:
    """What a loop with nothing to do is late by."""
    watch = Watch(1.0)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(watch.beat(), seconds)
    print(json.dumps(watch.late))


def of_a_bare_process(seconds: float) -> list[float]:
    """The same from a process of its own."""
    command = [sys.executable, __file__, "--only-beat", "--seconds", str(seconds)]
    late: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return late


async def measure(options: argparse.Namespace) -> None:
    """One service, warm; prints what was measured."""
    bare = of_a_bare_process(options.seconds / 2)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), models_dir=ROOT / "models", simulator_latency=0.05, max_entries=options.entries,
            verifier=options.verifier,
        )  # fmt: skip
        async with open_service(settings) as service:
            await traffic(service, 3.0)
            settle()
            watch = Watch(options.bar / 1e3)
            looking = threading.Thread(target=watch.look, daemon=True)
            looking.start()
            beating = asyncio.create_task(watch.beat())
            decisions = await traffic(service, options.seconds)
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
            watch.end()
            looking.join()
    print(
        f"{options.seconds:g} s, {A_SECOND} requests a second, verifier {options.verifier}, at most {options.entries} entries"
    )
    print("answered by:", ", ".join(f"{name} {count}" for name, count in decisions.most_common()))
    bare += of_a_bare_process(options.seconds / 2)
    named = (("a bare process's", bare), ("loop late by", watch.late), ("of that ours", watch.ours))
    for name, seconds in named:
        times = [1e3 * one for one in seconds]
        cuts = statistics.quantiles(times, n=1000)
        over = sum(one > options.bar for one in times)
        print(
            f"{name}: p50 {cuts[499]:.2f}   p99 {cuts[989]:.2f}   p99.9 {cuts[998]:.2f}   most {max(times):.2f} ms, "
            f"more than {options.bar:g} ms {over} of {len(times)} times"
        )
    print(f"{'FAILS' if over else 'holds'}  never blocked for more than {options.bar:g} ms")
    for place, count in watch.places.most_common(8):
        print(f"  {count:4} {place}")


def main() -> None:
    """Measures with the interpreter set as the server sets it."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--bar", type=float, default=5.0, help="milliseconds")
    arguments.add_argument("--entries", type=int, default=300, help="more than that are evicted")
    arguments.add_argument("--verifier", choices=("rules", "learned"), default="rules")
    arguments.add_argument("--only-beat", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.only_beat:
        uvloop.run(only_beat(options.seconds))
        return
    sys.setswitchinterval(SWITCH_INTERVAL)
    uvloop.run(measure(options))


if __name__ == "__main__":
    main()
