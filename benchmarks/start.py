"""How long a service with many entries takes to be ready, what memory it holds, and whether it stays as fast: start, memory, growth.

Each folder of `--filled` (as `_filled.py` makes it; without one, 10,000 entries are written) is served twice: with its index rebuilt
from SQL, while exact hits are asked for, and from the snapshot. Then all of them are served at once and asked in turn: new
questions, which are generated at once by the simulator and stored; the same in other words, which are semantic hits; and again word for
word. What is asked is in the partition of the entries, so that it is as large as they are many.

What it doesn't show: a cold page cache, pictures, a disk under load, the trained verifier (`verifier=rules` here). The folders are written to.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import _filled
import numpy as np
from _prompts import ACTIONS, CIRCUMSTANCES
from latency import Client, Service

CHAT = "/v1/chat/completions"


def anonymous_megabytes(pid: int) -> float:
    """Memory of the process that no file backs."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1e3


def asked(client: Client, prompt: str, word: str) -> list[float]:
    """Seconds until the answer was read; nothing if it was found in another way (two of the questions may be the same one)."""
    body = _filled.body_of(prompt, _filled.MODEL_NAMES[0])
    began = time.perf_counter()
    status = client.post(CHAT, body)
    took = time.perf_counter() - began
    return [took] if word in status else []


def started(service: Service, folder: Path, what: str) -> None:
    """Starts it and prints how long that took."""
    began = time.perf_counter()
    service.start()
    ready = time.perf_counter() - began
    print(
        f"{folder.name:12} {what:18} ready after {ready:5.2f} s, {anonymous_megabytes(service.pid):4.0f} MB anonymous",
        flush=True,
    )


def rebuilt(service: Service, folder: Path, known: str) -> None:
    """Asks for an exact hit again and again until the snapshot is there."""
    client, hits, began = Client(service.port), [], time.perf_counter()
    while not (folder / "index" / "snapshot.json").exists():
        hits += asked(client, known, "; hit")
        time.sleep(0.01)
    took, peak = time.perf_counter() - began, anonymous_megabytes(service.pid)
    p50, p99 = (float(np.percentile(hits or [0.0], q)) * 1e3 for q in (50, 99))
    print(
        f"{folder.name:12} {'rebuilt':18} {took:6.1f} s after that, {peak:4.0f} MB; "
        f"{len(hits)} exact hits meanwhile, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True,
    )  # fmt: skip


def serve_in_turn(services: dict[str, Service], count: int) -> None:
    """Asks all of them the same things in turn."""
    clients = {name: Client(service.port) for name, service in services.items()}
    words_of_run = random.sample(_filled.WORDS, 2)  # so that another run on the same folder asks something new
    tail = " for the {} {}".format(*words_of_run)
    kinds = {
        "miss and store": ("How do I {}{}?", "stored"),
        "semantic hit": ("How can I {}{}?", 'detail="semantic'),
        "exact hit": ("How do I {}{}?", "; hit"),
    }
    took: dict[tuple[str, str], list[float]] = {(kind, name): [] for kind in kinds for name in services}
    actions = list(itertools.islice(itertools.product(ACTIONS, CIRCUMSTANCES), count))
    for kind, (form, word) in kinds.items():
        for words in actions:
            for name, client in clients.items():
                prompt = form.format(" ".join(words), tail)
                took[kind, name] += asked(client, prompt, word)
    first = next(iter(services))
    for (kind, name), seconds in took.items():
        p50, p99 = statistics.median(seconds) * 1e3, float(np.percentile(seconds, 99)) * 1e3
        ratio = p50 / (statistics.median(took[kind, first]) * 1e3)
        print(
            f"{kind:16} {name:12} {len(seconds)} times, p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {ratio:5.2f} x {first}"
        )
    for name, service in services.items():
        print(f"{name:12} {anonymous_megabytes(service.pid):4.0f} MB anonymous after that")


def main() -> None:
    """Starts each twice, then asks all of them."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument(
        "--filled", type=Path, action="append", help="a folder; the first is what the others are compared with"
    )
    arguments.add_argument("--questions", type=int, default=300)
    arguments.add_argument("--keep-index", action="store_true", help="don't rebuild from SQL where a snapshot is there")
    options = arguments.parse_args()
    with ExitStack() as stack:
        folders = options.filled or [Path(stack.enter_context(tempfile.TemporaryDirectory()))]
        if not options.filled:
            _filled.fill(folders[0], 10_000)
        services = {folder.name: Service(folder, VERIFIER="rules") for folder in folders}
        for folder, service in zip(folders, services.values(), strict=True):
            stack.callback(service.stop)
            if not (options.keep_index and (folder / "index" / "snapshot.json").exists()):
                shutil.rmtree(folder / "index", ignore_errors=True)
                started(service, folder, "from SQL")
                rebuilt(service, folder, _filled.first_prompt(folder))
                service.stop()
            started(service, folder, "from the snapshot")
        serve_in_turn(services, options.questions)


if __name__ == "__main__":
    main()
