"""What a semantic hit costs over HTTP beside the bare model: one request at a time, then from many clients at once.

Shows: the time from sending a request to having read its answer, of a client on the same machine, against tokenising and one bare forward
pass of the same prompt in the same run (an engine of the same kind in this process); every step's mean, the verifier's own time apart; and
the lookups per second of many clients against the bare engine's best over the same prompts sorted by length. Each client asks for
a 64x64 picture whose stored prompt lacks the "please". Doesn't show: a large store, a network, a miss; and the clients, the service and the bare
engine share the machine's cores, so with few cores the many-clients ratio is of the whole machine, not of the embedder (shown apart).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from latency import Client, Service, engine_in_force

from cache_service.embedding.batching import BatchingEmbedder, Engine, passes
from cache_service.embedding.packed import LANE_PIECES, PASS_PIECES
from cache_service.server import SWITCH_INTERVAL

ROOT = Path(__file__).resolve().parent.parent
PATH = "/v1/images/generations"
STEPS = ("key", "exact", "embed", "search", "verify")


class Running(Service):
    """A service that ends with its block."""

    close = Service.stop


def prompts(many: int) -> list[str]:
    """Prompts of pictures, of the export's comparison."""
    lines = (ROOT / "models" / "comparison_prompts.jsonl").read_text("utf-8").splitlines()
    found = [prompt for prompt in map(json.loads, lines) if 30 <= len(prompt) <= 150 and prompt.isascii()]
    return [prompt for prompt in found if "?" not in prompt and "\n" not in prompt][:many]


def body(prompt: str) -> dict[str, str]:
    """A request."""
    return {"model": "gpt-image-2", "size": "64x64", "prompt": prompt}


def metrics(port: int) -> dict[str, float]:
    """Every sample by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def mean(before: dict[str, float], after: dict[str, float], name: str, labels: str) -> float:
    """Of a histogram between two looks, in milliseconds for each observation."""
    total, count = (after[f"{name}_{what}{labels}"] - before[f"{name}_{what}{labels}"] for what in ("sum", "count"))
    return total / count * 1e3 if count else 0.0


def steps(before: dict[str, float], after: dict[str, float]) -> str:
    """The mean of each step between two looks, and the verifier's own time."""
    labels = {step: f'{{operation="images",step="{step}"}}' for step in STEPS}
    took = {step: mean(before, after, "cache_service_step_duration_seconds", each) for step, each in labels.items()}
    means = "  ".join(f"{step} {each:.2f}" for step, each in took.items())
    return f"mean of each step, ms: {means}  (verifier's own, each candidate: {verifying(before, after):.2f})"


def verifying(before: dict[str, float], after: dict[str, float]) -> float:
    """Milliseconds that the verifier took for a candidate."""
    return mean(before, after, "cache_service_verification_duration_seconds", '{operation="images"}')


def computed(pid: int) -> float:
    """Seconds that the process's first thread, which runs the loop, has had a core."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def p(times: Sequence[float], at: int) -> float:
    """That percentile, in milliseconds."""
    return statistics.quantiles(times, n=100)[at - 1] * 1e3


def one_at_a_time(port: int, asked: Sequence[str], engine: Engine, rounds: int) -> None:
    """Request and bare pass in turn, in stretches, so that a busy machine is busy for both and each finds its caches warm."""
    client = Client(port)
    hits: list[float] = []
    bare: list[float] = []
    for prompt in asked:
        client.post(PATH, body(prompt))
        engine.forward([engine.read(prompt)])
    before = metrics(port)
    for start in range(0, rounds, 20):
        turns = [asked[number % len(asked)] for number in range(start, start + 20)]
        for prompt in turns:
            began = time.perf_counter()
            client.post(PATH, body(prompt))
            hits.append(time.perf_counter() - began)
        for prompt in turns:
            began = time.perf_counter()
            engine.forward([engine.read(prompt)])
            bare.append(time.perf_counter() - began)
    after = metrics(port)
    print(f"semantic hit            p50 {p(hits, 50):6.2f}   p90 {p(hits, 90):6.2f}   p99 {p(hits, 99):6.2f} ms")
    print(f"tokenise + bare pass    p50 {p(bare, 50):6.2f}   p90 {p(bare, 90):6.2f}   p99 {p(bare, 99):6.2f} ms")
    print(steps(before, after))
    verifier, bar = verifying(before, after), 1.25 * p(bare, 50) + 1.0
    print(
        f"one at a time: {p(hits, 50):.2f} ms less the verifier's {verifier:.2f}, against 1.25 x bare + 1.0 = {bar:.2f}"
    )


async def many_clients(port: int, asked: Sequence[str], clients: int, seconds: float) -> list[float]:
    """Every client asks again as soon as it is answered; how long each request took."""
    times: list[float] = []
    requests = []
    for prompt in asked:
        content = json.dumps(body(prompt)).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        requests.append(head.encode() + content)
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            number += 1
            began = time.perf_counter()
            writer.write(requests[number * 7 % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - began)
            assert b"semantic" in head, head
        writer.close()

    await asyncio.gather(*(client(number * 11) for number in range(clients)))
    return times


def bare_best(engine: Engine, asked: Sequence[str], seconds: float) -> tuple[float, float]:
    """Prompts/s of the engine alone, every prompt tokenised, sorted by length, in full passes: one at a time, and one in each lane at once."""
    alone = best_of(lambda: [in_turn(engine, asked, PASS_PIECES, None)], len(asked), seconds)
    if engine.lanes == 1:
        return alone, 0.0
    with ThreadPoolExecutor(engine.lanes) as threads:

        def at_once() -> list[None]:
            return list(threads.map(lambda lane: in_turn(engine, asked, LANE_PIECES, lane), range(engine.lanes)))

        return alone, best_of(at_once, len(asked) * engine.lanes, seconds)


def in_turn(engine: Engine, asked: Sequence[str], most: int, lane: int | None) -> None:
    """All of them, one pass after the other."""
    for one in passes(sorted(map(engine.read, asked), key=lambda reading: len(reading.ids)), most):
        engine.forward(one, lane)


def best_of(work: Callable[[], list[None]], many: int, seconds: float) -> float:
    """The quickest of as many turns as fit: so many a second."""
    end, best = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        best = max(best, many / (time.perf_counter() - began))
    return best


async def embedder_alone(
    engine: Engine, asked: Sequence[str], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Clients of the embedder in this process; and the longest that the loop was held up."""
    embedder = BatchingEmbedder(engine)
    times: list[float] = []
    end, longest = time.perf_counter() + seconds, 0.0

    async def client(number: int) -> None:
        while time.perf_counter() < end:
            number += 1
            began = time.perf_counter()
            await embedder.embed([asked[number * 7 % len(asked)]])
            times.append(time.perf_counter() - began)

    async def watch() -> None:
        nonlocal longest
        while time.perf_counter() < end:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)

    await asyncio.gather(watch(), *(client(number * 11) for number in range(clients)))
    await embedder.aclose()
    return times, longest


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument(
        "--threads", type=int, default=0, help="of one pass, here and in the service; 0 takes the cores"
    )
    parser.add_argument("--verifier", default="rules", choices=("rules", "learned"))
    parser.add_argument("--json", action="store_true", help="print the ratios as the last line")
    options = parser.parse_args()
    engine = engine_in_force(options.threads)
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, threads {options.threads or 'as cores'}"
    )
    settings = {"VERIFIER": options.verifier, "EMBEDDING_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Running(Path(folder), **settings)) as running:
        running.start()
        client = Client(running.port)
        stored = prompts(options.prompts)
        for prompt in stored:
            client.post(PATH, body(prompt))
        asked = []
        for prompt in stored:
            please = f"{prompt}, please"
            if "semantic" in client.post(PATH, body(please)):
                asked.append(please)
        pieces = sum(len(engine.read(prompt).ids) for prompt in asked) / len(asked)
        print(
            f"{len(asked)} prompts of {pieces:.0f} word pieces that are semantic hits; embedder {type(engine).__name__}"
        )
        one_at_a_time(running.port, asked, engine, options.rounds)
        alone, lanes = bare_best(engine, asked, options.seconds / 2)
        best = max(alone, lanes)
        before, loop, began = metrics(running.port), computed(running.pid), time.perf_counter()
        times = asyncio.run(many_clients(running.port, asked, options.clients, options.seconds))
        rate, loop = len(times) / (time.perf_counter() - began), computed(running.pid) - loop
        print(f"{options.clients} clients: {steps(before, metrics(running.port))}")
    sys.setswitchinterval(SWITCH_INTERVAL)
    beside, longest = asyncio.run(embedder_alone(engine, asked, options.clients, options.seconds / 2))
    in_process = len(beside) / (options.seconds / 2)
    print(f"bare engine, sorted     {alone:6.0f} prompts/s one pass at a time, {lanes:.0f} in {engine.lanes} lanes")
    for what, each, found in (("over HTTP", rate, times), ("embedder in process", in_process, beside)):
        print(
            f"{options.clients} clients, {what:<19} {each:6.0f}/s, {each / best:.2f} of it; "
            f"p50 {p(found, 50):.1f} p99 {p(found, 99):.1f} ms, ratio {p(found, 99) / p(found, 50):.2f}"
        )
    print(f"over HTTP the service's loop computed {loop / len(times) * 1e3:.2f} ms for each request")
    print(f"the loop was held up for {longest * 1e3:.1f} ms at most while the embedder worked")
    if options.json:
        name = f"{options.clients} clients"
        print(json.dumps({"ratios": {f"{name}, over HTTP": rate / best, f"{name}, in process": in_process / best}}))


if __name__ == "__main__":
    main()
