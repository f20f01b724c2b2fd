"""The limiter over real sockets and in real time, beside real clients: the official one, aiolimiter, LiteLLM's router.

Each client has three keys of 50 requests a minute each, in pools of its own, at one simulator (a leaky bucket; answers take 2 s). All run
at once, each in a process of its own; after a minute the simulator counts what it admits and refuses. Ours is
compared with the same scenario on the virtual clock of `limiter.py`: they must agree within 2 %.

aiolimiter and LiteLLM are no part of the project. In an environment of their own they are found with `--peers`:

    python -m venv peers && peers/bin/pip install aiolimiter litellm && python benchmarks/limiter_sockets.py --peers peers/bin/python

What it doesn't show: the real upstream, other ways of counting, TLS. Where the processor is busy, sending is late; that costs all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._limiter_clients import CLIENTS, NOT_INSTALLED
from benchmarks._limiter_lab import Scenario, run_ours
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.limits import Admitted, Cost, Dimension, Level, Limit, LimitPool, Verdict, Wait
from cache_service.simulator.server import SimulatorServer
from tests.fakes.virtual_time import run_virtual

LIMIT = 50
KEYS = 3
WARM_UP = 60.0
AGREE = 0.02
"""Of the maximum: by so much the share over sockets may differ from that on the virtual clock."""
PEERS = ("aiolimiter", "LiteLLM's router")
STARTED = 15.0
"""Seconds that the slowest client may take to begin."""


class Counted:
    """The simulator's limit pools, and what they decided from the end of the warm-up on, by client."""

    def __init__(self, server: SimulatorServer, clients: Mapping[str, str]) -> None:
        self._pools = server.simulator.pools
        self._admit = self._pools.admit
        self._clients = clients
        self._clock = server.simulator.clock
        self.admitted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.from_time = self.until = float("inf")
        self._pools.admit = self.admit  # type: ignore[method-assign]

    def count(self, start_in: float, seconds: float) -> None:
        """Counts for so many seconds."""
        self.from_time = self._clock.now() + start_in
        self.until = self.from_time + seconds

    def admit(self, owners: Mapping[Level, str], model: str, cost: Cost, now: float) -> Verdict:
        """Decides, and counts."""
        verdict = self._admit(owners, model, cost, now)
        if self.from_time <= now < self.until:
            client = self._clients[owners["project"]]
            self.admitted[client] += isinstance(verdict, Admitted)
            self.refused[client] += isinstance(verdict, Wait)
        return verdict


async def run(minutes: float, peers: str) -> Counted:
    """All clients at once."""
    projects = {f"proj-{c}-{n}": name for c, name in enumerate(CLIENTS) for n in range(KEYS)}
    keys = {name: [f"sk-{project}" for project, whose in projects.items() if whose == name] for name in CLIENTS}
    server = SimulatorServer(
        SimulatorConfig(
            accounts=tuple(Account(f"sk-{project}", f"org-{project}", project) for project in projects),
            pools=tuple(LimitPool(f"org-{project}", {Dimension.REQUESTS: Limit(LIMIT)}) for project in projects),
            latency=2.0,
        )
    )
    counted = Counted(server, projects)
    url = await server.start()
    seconds = minutes * 60.0
    setting = {"base_url": url, "limit": LIMIT, "seconds": STARTED + WARM_UP + seconds}
    clients = {}
    for name in CLIENTS:
        python = peers if name in PEERS else sys.executable
        clients[name] = await asyncio.create_subprocess_exec(
            python,
            str(Path(__file__).with_name("_limiter_clients.py")),
            name,
            json.dumps({**setting, "keys": keys[name]}),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
    counted.count(STARTED + WARM_UP, seconds)
    try:
        for name, client in clients.items():
            _, said = await client.communicate()
            if client.returncode == NOT_INSTALLED:
                print(f"{name:34} skipped: {said.decode().strip().splitlines()[-1]}; see --peers")
            elif client.returncode:
                print(f"{name:34} failed: {said.decode().strip().splitlines()[-1:]}")
    finally:
        for client in clients.values():
            if client.returncode is None:
                client.kill()
        await server.stop()
    return counted


def main() -> int:
    """Prints the table; exit code 1 where ours is refused or doesn't agree with the virtual run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0, help="counted, after one of warm-up")
    parser.add_argument("--peers", default=sys.executable, help="a Python that has aiolimiter and litellm")
    asked = parser.parse_args()
    print(
        f"3 keys of {LIMIT} requests a minute, {asked.minutes:g} minutes after 1 of warm-up; share of the maximum / refused"
    )
    counted = asyncio.run(run(asked.minutes, asked.peers))
    most = KEYS * LIMIT * asked.minutes
    for name in CLIENTS:
        admitted, refused = counted.admitted[name], counted.refused[name]
        if admitted + refused:
            print(f"{name:34} {admitted / most:6.1%} / {refused / (admitted + refused):.2%}   {admitted} of {most:.0f}")
    virtual = run_virtual(run_ours(Scenario("quiet", 0.99, 0.0, images=LIMIT), 1, asked.minutes)).share
    share = counted.admitted["ours"] / most
    good = abs(share - virtual) <= AGREE and not counted.refused["ours"]
    print(
        f"on the virtual clock {virtual:.1%}; over sockets {share - virtual:+.1%} (bar {AGREE:.0%}): {'ok' if good else 'NOT'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
