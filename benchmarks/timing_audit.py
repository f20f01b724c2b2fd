"""Can one tenant tell by time what another asked? The audit of "Auditing Prompt Caching" (arXiv 2502.07776), over real sockets.

A victim asks 250 prompts. Then an attacker, who has a key of another namespace, asks for those 250 and for 250 that nobody has asked, mixed at random, and
times each answer. If both come from one distribution (two-sided Kolmogorov–Smirnov, p > 0.01) the times tell nothing. The control is the
same within the victim's own namespace, where hits must be told from misses (p < 1e-8): else the audit itself would be blind.

What it shows: no difference that 250 samples reveal on this machine, over loopback, with an upstream that answers at once and always the same, which is the
attacker's best case. What it doesn't: differences far below the noise. By chance one audit in a hundred fails; `--rounds` repeats it, and the median counts.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from latency import Client, Service
from scipy.stats import ks_2samp

PROMPTS = 250
APART, TELLING = 0.01, 1e-8
VICTIM, ATTACKER = "victim-key-1", "attacker-key-2"
WORDS = (
    ("weathered", "gleaming", "tiny", "colossal", "transparent", "rusty", "velvet", "frozen", "painted", "broken"),
    ("lighthouse", "violin", "heron", "tractor", "cathedral", "teapot", "astronaut", "bicycle", "octopus", "windmill"),
    ("at dawn", "in fog", "under neon light", "during a storm", "at noon", "by candlelight", "in moonlight"),
    ("on a beach", "in a library", "on a rooftop", "in a desert", "beside a canal", "in a greenhouse", "on the moon"),
    ("in oil", "as a woodcut", "as a photograph", "in watercolour", "as a blueprint", "in charcoal", "as a mosaic"),
)  # fmt: skip
PATHS = {"images": "/v1/images/generations", "chat": "/v1/chat/completions"}


def prompts(draw: random.Random, count: int) -> list[str]:
    """That many different ones."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choice(words) for words in WORDS)] = None
    return list(found)


def body(operation: str, prompt: str) -> dict[str, object]:
    """A request, as small as it may be."""
    if operation == "images":
        return {"model": "m", "prompt": prompt, "size": "64x64"}
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


def audit(port: int, operation: str, draw: random.Random) -> tuple[float, float]:
    """The p-values across namespaces and within one."""
    asked = prompts(draw, 3 * PROMPTS)
    known, fresh, fresh_too = (asked[i * PROMPTS : (i + 1) * PROMPTS] for i in range(3))
    victim, attacker = (Client(port, key) for key in (VICTIM, ATTACKER))
    for prompt in known:
        victim.post(PATHS[operation], body(operation, prompt))
    for prompt in prompts(draw, 50):
        attacker.post(PATHS[operation], body(operation, f"warm-up, {prompt}"))
    across = _p(attacker, operation, known, fresh, draw)
    within = _p(Client(port, VICTIM), operation, known, fresh_too, draw)
    return across, within


def _p(client: Client, operation: str, known: list[str], fresh: list[str], draw: random.Random) -> float:
    times: dict[bool, list[float]] = {True: [], False: []}
    for prompt, is_known in draw.sample([*((p, True) for p in known), *((p, False) for p in fresh)], k=2 * PROMPTS):
        started = time.perf_counter()
        client.post(PATHS[operation], body(operation, prompt))
        times[is_known].append(time.perf_counter() - started)
    return float(ks_2samp(times[True], times[False]).pvalue)


def main() -> None:
    """Exits with 1 where a median isn't on its side of the bar."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--operation", choices=list(PATHS), default="images")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    draw, found = random.Random(options.seed), []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Path(folder), CLIENT_KEYS=f"victim:{VICTIM},attacker:{ATTACKER}")
            try:
                service.start()
                found.append(audit(service.port, options.operation, draw))
            finally:
                service.stop()
        print(
            f"round {number + 1}: across namespaces p = {found[-1][0]:.3f}, within one p = {found[-1][1]:.1e}",
            flush=True,
        )
    across, within = (statistics.median(pair[i] for pair in found) for i in range(2))
    print(
        f"{options.operation}, median of {options.rounds}: across {across:.3f} (bar > {APART}), within {within:.1e} (bar < {TELLING})"
    )
    sys.exit(not (across > APART and within < TELLING))


if __name__ == "__main__":
    main()
