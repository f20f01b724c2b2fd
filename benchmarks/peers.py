"""The service beside its peers: exact hit, semantic hit, store and throughput, in one process as a library and over HTTP as a server.

    python benchmarks/_peers_environments.py DIR                  # once: an environment for each peer, some GB
    python benchmarks/peers.py --peers DIR --prompts FILE         # measures those that are there
    python benchmarks/peers.py --report FILE…                     # tables of what `--keep FILE` kept

Without `--peers` only ours is measured. All are asked the same: `--entries` stored prompts (the file's, then made-up ones), the file's
prompts again and a paraphrase of each, and new prompts to store. All embed with the same MiniLM, one text a call, and take a cosine of
0.92; the paraphrases are those near enough for everyone that our verifier serves too. Ours is measured first and last in the same run.
Libraries have both cores, and 8 clients are threads (tasks where it is async, as ours). Servers are one process on one core, the clients
and the upstream on the other. A store of ours is a miss: looked up, asked of an upstream that answers at once, and durable before it is answered.

What it doesn't show: right and wrong hits at other gates (benchmarks/quality.py), a network, an upstream that takes time, peers with another
backend than the named one (LiteLLM with Redis, CacheLLM with Redis), and several processes.
Where the disk is busy a store waits for it; `ours in memory` is the same store on a file system in memory, where peers keep theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import _peers_ours as ours
import uvloop
from _peers_http import Connection, Refused, timed, upstream
from _peers_prepare import ROOT, prepare, read
from _peers_servers import ENVIRONMENT, SERVERS, Asked
from _peers_workload import KINDS, Phase, again

HERE = Path(__file__).resolve().parent
LIBRARIES = ("gptcache", "redisvl", "betterdb", "khazad", "mneme", "hybrid")
OURS = "ours"
OURS_SERVED = "ours-server"
STARTS_WITHIN = 900.0  # seconds: "those that load within 15 minutes"
IN_MEMORY = "ours, in memory"
MEMORY = Path("/dev/shm")  # noqa: S108  a folder of our own in it: what a store takes where no disk is waited for
MADE_UP = [
    f"{style} of a {animal} {place}"
    for style in ("oil painting", "pencil drawing", "photograph", "watercolor")
    for animal in ("fox", "owl", "horse", "whale", "spider", "penguin")
    for place in ("in a cave", "on a bridge", "at night")
]
"""Prompts enough to try the harness with."""


class DidNotStart(Exception):
    """A server that ended, or that wasn't ready in time."""


FAILURES = (DidNotStart, Refused, OSError, asyncio.IncompleteReadError, subprocess.CalledProcessError)
"""What one peer may come to without an end of the comparison."""


def main() -> None:
    """Measures what is asked for and present, or prints what was kept."""
    asked = options()
    if asked.report:
        print("\n".join(tables([json.loads(line) for file in asked.report for line in file.read_text().splitlines()])))
        return
    rows = []
    for row in measured(asked):
        rows.append(row)
        if asked.keep:
            with asked.keep.open("a") as kept:
                kept.write(json.dumps(row) + "\n")
    print("\n".join(tables(rows)))


def options() -> argparse.Namespace:
    """What the command line says."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--peers", type=Path, help="folder of environments")
    arguments.add_argument("--only", nargs="*", default=[*LIBRARIES, *ENVIRONMENT], help="these peers")
    arguments.add_argument("--prompts", type=Path, help="a prompt a line; without it, made-up ones")
    arguments.add_argument("--entries", type=int, nargs="+", default=[1000])
    arguments.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--seconds", type=float, default=2.0, help="of each phase")
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cache-service-peers")
    arguments.add_argument("--models", type=Path, default=ROOT / "models" / "cache")
    arguments.add_argument("--prepare", action="store_true", help="only make what the measurement needs, and stop")
    arguments.add_argument("--keep", type=Path, help="appends the measurements to this file")
    arguments.add_argument("--report", type=Path, nargs="+", help="files that were kept: print their tables")
    return arguments.parse_args()


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each phase, as it is done: ours first, the peers, ours again."""
    prompts = options.prompts.read_text().splitlines() if options.prompts else MADE_UP
    run = round(time.time())
    for entries in options.entries:
        work = asyncio.run(prepare(prompts, entries, options.work))
        filled = _filled(work)
        if options.prepare:
            continue
        found = dict(present(options.only, options.peers))
        libraries = [(OURS, None), *((name, found[name]) for name in LIBRARIES if name in found), (IN_MEMORY, None)]
        servers = [(OURS_SERVED, None), *((name, found[name]) for name in ENVIRONMENT if name in found)]
        for runs in (libraries, servers):
            if len(found) and not any(python for _, python in runs):
                continue  # only the others were asked for
            for name, python in [*runs, runs[0]] if len(found) else runs:  # ours at the end again
                print(f"{entries} entries: {name}", file=sys.stderr, flush=True)
                where = MEMORY if name == IN_MEMORY and MEMORY.is_dir() else options.work
                with tempfile.TemporaryDirectory(dir=where) as scratch:
                    try:
                        rows = _one(name, python, work, filled, Path(scratch) / "peer", options)
                    except FAILURES as error:
                        if python is None:
                            raise
                        print(f"{name}: left out, {error}", file=sys.stderr)
                        continue
                yield from ({"run": run, "entries": entries, "peer": name, **row} for row in rows)


def present(wanted: Iterable[str], peers: Path | None) -> Iterator[tuple[str, Path]]:
    """Those with an environment, and its Python; the others are said."""
    for name in wanted if peers else ():
        assert peers is not None
        python = peers / ENVIRONMENT.get(name, name) / "bin" / "python"
        if python.exists():
            yield name, python
        else:
            print(f"{name}: skipped, {python} isn't there", file=sys.stderr)


def _one(
    name: str, python: Path | None, work: Path, filled: Path, scratch: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """What one of them did."""
    if name in SERVERS:
        return uvloop.run(served(name, python, work, filled, scratch, options))
    if python is not None:
        return _library(name, python, work, scratch, options)
    shutil.copytree(filled, scratch)
    kinds, durable = (["store"], "no") if name == IN_MEMORY else (KINDS, ours.DURABLE)
    phases = uvloop.run(ours.phases(work, scratch, options.seconds, options.clients, kinds))
    return [{"durable": durable, **phase.row()} for phase in phases]


def _library(name: str, python: Path, work: Path, scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    command = [python, HERE / "_peers_libraries.py", name, work, options.models, scratch, str(options.seconds)]
    done = subprocess.run([*command, *map(str, options.clients)], stdout=subprocess.PIPE, check=True, text=True)
    head, *rows = map(json.loads, done.stdout.splitlines())
    return [head | row for row in rows]


async def served(
    name: str, python: Path | None, work: Path, filled: Path, scratch: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Starts the server on one core, fills it, and asks it from the other."""
    how, (load, _) = SERVERS[name], read(work)
    cores = sorted(os.sched_getaffinity(0))
    port = _free_port()
    async with upstream(ours.filled_from(filled)) as url:
        if python is None:
            shutil.copytree(filled, scratch)
            values = ours.settings(scratch, url) | {"port": port, "upstream_api_keys": "sk-peers"}
            command = [Path(sys.executable).with_name("cache-service"), "serve"]
            more = {f"CACHE_SERVICE_{key.upper()}": str(value) for key, value in values.items()}
        else:
            command = [python, HERE / "_peers_servers.py", name, work, options.models, scratch, str(port), url]
            more = {}
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: ASYNC220  before anything waits
            ["taskset", "--cpu-list", str(cores[0]), *map(str, command)], env=_clean() | more, stdout=subprocess.DEVNULL
        )
        os.sched_setaffinity(0, cores[1:] or cores)
        try:
            await _until_ready(process, port)
            if how.fill:
                await _fill(how, load.prompts, port)
            took = time.perf_counter() - started
            rows = [phase.row() for phase in await _phases(how, load, port, options)]
        finally:
            os.sched_setaffinity(0, cores)
            process.terminate()
            process.wait()
    return [{"filled": took, "durable": how.durable, **row} for row in rows]


async def _phases(how: Asked, load: Any, port: int, options: argparse.Namespace) -> list[Phase]:
    exact = again((one, one) for one in load.paraphrases)
    semantic, fresh, done = again(load.paraphrases.items()), iter(load.fresh), []
    for count in options.clients:

        async def phase(
            kind: str, work: Iterator[tuple[str, str]], path: str, body: Any, text: Any, count: int
        ) -> None:
            asked = ((meant, said, body(said)) for meant, said in work)
            done.append(await timed(kind, count, options.seconds, asked, path, port, text))

        await phase("exact", exact, how.lookup, how.lookup_body, how.text, count)
        if how.semantic:
            await phase("semantic", semantic, how.lookup, how.lookup_body, how.text, count)
        await phase("store", ((one, one) for one in fresh), how.store, how.store_body, lambda _: None, count)
    return done


async def _fill(how: Asked, prompts: list[str], port: int) -> None:
    waiting = iter(prompts)

    async def writer() -> None:
        connection = await Connection(port).open()
        for prompt in waiting:
            await connection.post(how.store, how.store_body(prompt))
        connection.close()

    await asyncio.gather(*(writer() for _ in range(8)))


async def _until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.perf_counter() + STARTS_WITHIN
    while time.perf_counter() < until and process.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise DidNotStart("it did not start")


def _filled(work: Path) -> Path:
    """A data folder of ours with all entries in it, made once for each state of the code."""
    command = ["git", "-C", ROOT, "log", "-1", "--format=%h", "--", "cache_service", "alembic", "models"]
    commit = subprocess.run(command, capture_output=True, text=True)
    folder = work / f"ours-{commit.stdout.strip() or 'here'}"
    if not folder.exists():
        making = folder.with_name(folder.name + ".part")
        shutil.rmtree(making, ignore_errors=True)
        asyncio.run(ours.fill(work, making))
        making.rename(folder)
    return folder


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CACHE_SERVICE_")}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """A table for each number of entries, kind of work, number of clients and way to ask: medians over the runs, ours first."""
    lines = []
    for entries in sorted({row["entries"] for row in rows}):
        for ours_here, way in ((OURS, "in process"), (OURS_SERVED, "over HTTP")):
            for kind in KINDS:
                for clients in sorted({row["clients"] for row in rows}):
                    found = [
                        row
                        for row in rows
                        if (row["entries"], row["kind"], row["clients"]) == (entries, kind, clients)
                        and (row["peer"] in SERVERS) == (ours_here in SERVERS)
                    ]
                    lines += _table(f"{way}: {kind}, {entries} entries, clients: {clients}", found, ours_here)
    return lines


def _table(title: str, rows: list[dict[str, Any]], ours_here: str) -> list[str]:
    """A line for each, with how many times ours is ahead of it; a run is compared with itself, and the median of the runs shown."""
    if not rows:
        return []
    lines = [
        "",
        f"{title}",
        f"{'':16} {'p50':>9} {'p95':>9} {'p99':>9} {'/s':>9} {'right':>6} {'wrong':>6} {'ahead: p50':>11} {'/s':>8}  durable",
    ]
    own = {run: [r for r in rows if r["run"] == run and r["peer"] == ours_here] for run in {r["run"] for r in rows}}
    for name in dict.fromkeys(row["peer"] for row in rows):
        theirs = [row for row in rows if row["peer"] == name]
        beside = [row for row in theirs if own[row["run"]]]
        ahead = ""
        if beside and name != ours_here:
            slower = statistics.median(row["p50"] / _middle(own[row["run"]], "p50") for row in beside)
            more = statistics.median(_middle(own[row["run"]], "per_second") / row["per_second"] for row in beside)
            ahead = f"{slower:10.1f}x {more:7.1f}x"
        lines.append(
            f"{name:16} {_middle(theirs, 'p50'):9.2f} {_middle(theirs, 'p95'):9.2f} {_middle(theirs, 'p99'):9.2f} "
            f"{_middle(theirs, 'per_second'):9.0f} {_middle(theirs, 'right'):6.0%} {_middle(theirs, 'wrong'):6.1%} {ahead:20}  "
            f"{theirs[0]['durable']}"
        )
    return lines


def _middle(rows: list[dict[str, Any]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


if __name__ == "__main__":
    main()
