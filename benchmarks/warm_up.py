"""How fast `warm` fills the cache: against an upstream that binds, and against the embedding engine where the upstream doesn't.

Both through the installed command and a service of its own process, from a file of prompts to stored, durable answers. The upstream that binds
answers so many calls a second and not one more, by places that are each taken for a while; the other one answers at once. The engine's
throughput is that of its own batches on the same prompts with nothing beside it, in turn with the warm-ups.

What it doesn't show: pictures, a real upstream's limits (`limiter.py`), a network. All of it (client, service, upstream, engine) shares the
machine's cores, so the second ratio is that of a whole miss to an embedding on as many cores, not of the engine's idle time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latency import engine_in_force

from cache_service.embedding.batching import BatchingEmbedder

ROOT = Path(__file__).resolve().parents[1]
PLACES = 20
SECONDS = 0.2
"""The binding upstream: so many calls at once, each so long; 100 a second."""


def prompts(rows: int) -> list[str]:
    """Those by which the models are compared: of all kinds and languages, of usual lengths, each once."""
    lines = (ROOT / "models" / "comparison_prompts.jsonl").read_text("utf-8").splitlines()
    usual = [one for one in map(json.loads, lines) if 20 <= len(one) <= 120 and "\n" not in one]
    assert len(usual) >= rows, f"there are {len(usual)} prompts"
    return usual[:rows]


async def upstream(port: int, *, binding: bool) -> None:
    """Chat completions of 500 characters: at once, or by `PLACES`."""
    import uvicorn

    places = asyncio.Semaphore(PLACES)
    answer = json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 1_700_000_000, "model": "any",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 500}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120},
        }
    ).encode()  # fmt: skip

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        if binding:
            async with places:
                await asyncio.sleep(SECONDS)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(app, port=port, log_level="error", lifespan="off", access_log=False)
    await uvicorn.Server(config).serve()


def free_port() -> int:
    """One that nobody listens on."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def upstream_process(*, binding: bool) -> Iterator[int]:
    """Its port."""
    port = free_port()
    command = [sys.executable, __file__, "--upstream", str(port), *(["--binding"] if binding else [])]
    process = subprocess.Popen(command)
    try:
        while True:
            with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port))):
                break
            assert process.poll() is None, "the upstream did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def warm(rows: int, *, binding: bool) -> float:
    """Rows a second; what the command takes for one row that is there (starting, above all) is taken off."""
    with tempfile.TemporaryDirectory() as name, upstream_process(binding=binding) as port:
        folder = Path(name)
        settings = {
            "UPSTREAM_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "UPSTREAM_API_KEYS": "sk-bench",
            "DATA_DIR": str(folder / "data"),
            "MODELS_DIR": str(ROOT / "models"),
        }

        def run(lines: Sequence[str]) -> tuple[float, dict[str, Any]]:
            file = folder / "prompts.txt"
            file.write_text("\n".join(lines) + "\n", "utf-8")
            clean = {name: value for name, value in os.environ.items() if not name.startswith("CACHE_SERVICE_")}
            command = [Path(sys.executable).with_name("cache-service"), "warm", file, "--operation", "chat"]
            started = time.perf_counter()
            done = subprocess.run(
                [*command, "--model", "gpt-6-luna", "--json"], stdout=subprocess.PIPE, text=True, check=False,
                env=clean | {f"CACHE_SERVICE_{name}": value for name, value in settings.items()},
            )  # fmt: skip
            return time.perf_counter() - started, json.loads(done.stdout)

        wanted = prompts(rows)
        idle, _ = run(wanted[:1])  # makes the database, too, which is a little to our favour
        seconds, report = run(wanted)
        assert report["generated"] + report["hits"] == rows, report
        assert report["generated"] > 0.9 * rows, report
        return rows / (seconds - idle)


def engine_rate(rows: int) -> float:
    """Prompts a second of the engine that `embedder=auto` takes, in its own batches."""

    async def run() -> float:
        embedder = BatchingEmbedder(engine_in_force())
        texts = prompts(rows)
        await embedder.embed(texts[:64])
        started = time.perf_counter()
        await embedder.embed(texts)
        seconds = time.perf_counter() - started
        await embedder.aclose()
        return rows / seconds

    return asyncio.run(run())


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=380, help="there are 386 prompts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--binding", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        asyncio.run(upstream(options.upstream, binding=options.binding))
        return
    rates: dict[str, list[float]] = {"upstream binds": [], "upstream answers at once": [], "engine alone": []}
    for _ in range(options.rounds):
        rates["engine alone"].append(engine_rate(options.rows))
        rates["upstream answers at once"].append(warm(options.rows, binding=False))
        rates["upstream binds"].append(warm(options.rows, binding=True))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        "of the upstream's maximum": medians["upstream binds"] / (PLACES / SECONDS),
        "of the engine": medians["upstream answers at once"] / medians["engine alone"],
    }
    if options.json:
        print(json.dumps({"ratios": ratios, "per_second": medians}))
        return
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{options.rounds} x {options.rows} rows; the binding upstream takes {PLACES / SECONDS:.0f} calls a second")
    for name, rate in medians.items():
        print(f"  {name:26} {rate:7.0f}/s")
    for name, ratio in ratios.items():
        print(f"{name:26} {ratio:5.2f}")


if __name__ == "__main__":
    main()
