"""How much of the upstream's limits is used, and how often it refuses: our caller beside models of the published algorithms.

What runs is the real caller (queue, pools, retries, the text of refusals, headers), in virtual time, over the built-in simulator's limit pools:
35 minutes with endless demand, of which the first 5 don't count; five seeds, of which the worst is shown. The maximum is the
pools' own limits, less what others took. Answers take 10 to 60 s (lognormal, median 22 s); a call is on its way for up to 0.25 s.
The limiter's figures were chosen with the seeds 1 to 5; `--seeds 101,102,103,104,105` shows whether they hold for others.

The others are models of the idea, not the products: `workers` are ten that call and repeat after the told wait; `burst` a leaky
bucket that lets a minute's worth go at once; `random` a pool drawn by weight, paced in sum; `minute` counters per minute of
the client's own clock. All know the configured limits. In rows whose limits, keys or faults are for ours to find out, they aren't run.

What it doesn't show: the real upstream (nobody measured it), sockets (`limiter_sockets.py`), several processes, the time that our own
code takes, the burst with which a full bucket begins.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._limiter_algorithms import MODELS
from benchmarks._limiter_lab import MODEL, WARM_UP, Outcome, Scenario, run_model, run_ours, waits
from cache_service.simulator.meters import Mode
from cache_service.upstream import base, memory
from cache_service.upstream.key_pool import KeyPools, NamedKey, PoolConfig, Wanted
from cache_service.upstream.rate_limit import Limits
from tests.fakes.virtual_time import run_virtual

MODES = {Mode.BUCKET: "bucket", Mode.FIXED: "fixed minute", Mode.SLIDING: "sliding", Mode.BUCKET_10S: "bucket of 10 s"}
OURS = "ours"
EQUAL = 0.002
"""Two shares this close are equal."""


def scenarios() -> list[Scenario]:
    """The table's rows."""
    quiet = [
        Scenario(f"quiet, {limit}, {MODES[mode]}", 0.98 if limit == 5 else 0.99, 0.0, images=limit, mode=mode)
        for limit in (50, 20, 5)
        for mode in (Mode.BUCKET, Mode.FIXED, Mode.SLIDING)
    ]
    ten = [
        Scenario(f"quiet, {limit}, bucket of 10 s", 0.95, 0.01, images=limit, mode=Mode.BUCKET_10S) for limit in (50, 5)
    ]
    mixed = [
        Scenario(f"mixed sizes, tokens, {MODES[mode]}", 0.95, 0.005, images=0, tokens=250_000, mode=mode)
        for mode in (Mode.BUCKET, Mode.FIXED, Mode.SLIDING)
    ]
    bars = {Mode.BUCKET: 0.97, Mode.FIXED: 0.97, Mode.SLIDING: 0.91, Mode.BUCKET_10S: 0.91}
    shared = [
        Scenario(f"40 % taken, 50, {MODES[mode]}", share, 0.005, mode=mode, others=0.4) for mode, share in bars.items()
    ]
    shared += [replace(row, name=row.name.replace("taken", "taken evenly"), burst=1) for row in shared]
    shared += [Scenario(f"40 % taken, 5, {MODES[mode]}", 0.87, 0.05, images=5, mode=mode, others=0.4) for mode in bars]
    return [*quiet, *ten, *mixed, *shared, *_to_find_out()]


def _to_find_out() -> list[Scenario]:
    """Rows in which something is told wrongly, or not at all."""
    own = Scenario("", 0.99, 0.0, baselines=False)
    at_start = replace(own, refused=1.0, most_refusals=2, changed_at=0.0)
    halved = replace(
        own, refused=1.0, most_refusals=2, halved_at=900.0, changed_at=900.0, right_within=120, count_from=1_020.0
    )
    spell = replace(own, share=0.95, spell=(600.0, 660.0), count_from=720.0, most_attempts=1.12)
    return [
        replace(at_start, name="configured twice too high", configured=2.0, right_within=60),
        replace(at_start, name="the same, no headers", configured=2.0, right_within=60, headers="none"),
        replace(at_start, name="assumed twice too low", configured=None, assumed=0.5, right_within=120, refused=0.0),
        replace(at_start, name="not configured, headers", configured=None, most_refusals=25),
        replace(at_start, name="not configured, no headers", configured=None, most_refusals=25, headers="none"),
        replace(halved, name="halved while running"),
        replace(halved, name="halved, no headers", headers="none"),
        replace(own, name="no rate headers", headers="none"),
        replace(own, name="headers of -1", headers="-1"),
        replace(own, name="a day's limit in the header", daily=10_000),
        replace(own, name="3 keys in 3 pools"),
        replace(own, name="6 keys in 3 pools", keys=2, share_as="3 keys in 3 pools"),
        replace(own, name="6 keys configured as 6 pools", keys=2, apart=True, share_as="3 keys in 3 pools"),
        replace(own, name="one pool without quota, one key revoked", keys=2, out_of_quota=True, revoked=True),
        replace(spell, name="503 for 60 s, then"),
        replace(spell, name="10 % time-outs, a spell of 503", timeouts=0.1),
    ]


def meets(case: Scenario, outcomes: Sequence[Outcome], same: Sequence[Outcome] = ()) -> bool:
    """Whether every seed is within the row's bars. same: what the row of `share_as` came to."""
    return all(
        one.share >= case.share
        and one.refused_share <= case.refused
        and (case.most_refusals is None or max(one.of_pool.values(), default=0) <= case.most_refusals)
        and (case.most_attempts is None or one.calls <= case.most_attempts * one.requests)
        and (case.right_within is None or one.right_after <= case.right_within)
        and max(one.firsts.values(), default=0) <= 1
        for one in outcomes
    ) and all(abs(one.share - other.share) <= EQUAL for one, other in zip(outcomes, same, strict=False))


def run_one(name: str, algorithm: str, seed: int, minutes: float) -> Outcome:
    """One cell, one seed; in a process of its own."""
    case = next(case for case in scenarios() if case.name == name)
    if algorithm == OURS:
        return run_virtual(run_ours(case, seed, minutes))
    return run_virtual(run_model(case, seed, minutes, MODELS[algorithm]))


def show(case: Scenario, found: Mapping[str, Sequence[Outcome]], good: bool) -> None:
    """Prints one row."""
    ours = found[OURS]
    cells = [_cell(found[name]) if name in found else "" for name in (OURS, *MODELS)]
    notes = []
    if case.most_refusals is not None:
        worst = max((max(one.of_pool.values(), default=0) for one in ours), default=0)
        notes.append(f"at most {worst} refusals in a pool")
    if case.changed_at is not None:
        notes.append(f"right after {max(one.right_after for one in ours):.0f} s")
    if case.out_of_quota or case.revoked:
        firsts = {kind: max(one.firsts[kind] for one in ours) for kind in ("quota", "key")}
        probes = {kind: max(one.probes[kind] for one in ours) for kind in ("quota", "key")}
        notes.append(f"refusals {firsts}, probes {probes}")
    if case.most_attempts is not None:
        notes.append(f"attempts {max(one.calls / one.requests for one in ours):.3f} of requests")
    if case.share_as:
        notes.append(f"equal to {case.share_as}")
    limit = f"<={case.refused:.1%}" if case.refused < 1 else f"<={case.most_refusals} a pool"
    columns = "".join(f"{cell:>14}" for cell in cells)
    print(
        f"{case.name:42} {f'>={case.share:.0%} / {limit}':>18} {'ok ' if good else 'NOT'} {columns}  {'; '.join(notes)}".rstrip(),
        flush=True,
    )


def _cell(outcomes: Sequence[Outcome]) -> str:
    share, refused = min(one.share for one in outcomes), max(one.refused_share for one in outcomes)
    return f"{share:.1%}/{refused:.2%}"


def reservation() -> bool:
    """Time of one reservation: three pools in three dimensions, headers learnt, one clock."""
    limits = Limits(requests=1e6, images=1e6, tokens=1e9)
    pools = KeyPools([PoolConfig(f"p{n}", (NamedKey(f"k{n}"),), limits, 10**6, limits) for n in range(3)])
    wanted = Wanted(base.Cost(images=1, tokens=1_756), MODEL)
    times, now = [], 0.0
    for _ in range(30_000):
        now += 0.001
        began = time.thread_time()
        pools.take(wanted, now)
        times.append(time.thread_time() - began)
    times.sort()
    mean = sum(times) / len(times)
    print(
        f"reservation: mean {mean * 1e6:.0f} µs, p50 {times[15_000] * 1e6:.0f}, p99 {times[29_700] * 1e6:.0f} (bar 50)"
    )
    return mean <= 50e-6


def fairness(seeds: Sequence[int]) -> bool:
    """The longest wait beside that in order of arrival, among calls of one priority."""
    worst = 0.0
    for seed in seeds:
        found = run_virtual(waits(seed, fifo=False))
        looked, memory.LOOK_AHEAD = memory.LOOK_AHEAD, 0  # nobody slips through
        try:
            fifo = run_virtual(waits(seed, fifo=True))
        finally:
            memory.LOOK_AHEAD = looked
        worst = max(worst, max(one / other for one, other in zip(found, fifo, strict=True) if other > 1.0))
    print(f"fairness: the longest wait is {worst:.2f} of that in order of arrival (bar 2), 400 calls")
    return worst <= 2.0


def main() -> int:
    """Prints the table; exit code 1 where ours misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="15 minutes, 2 seeds: shows that it works, not how well")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="comma-separated")
    parser.add_argument(
        "--baseline-seeds", type=int, default=5, help="so many of them for the others' columns; 0: none"
    )
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    seeds, minutes = (seeds[:2], 15.0) if asked.quick else (seeds, 30.0)
    rows = [case for case in scenarios() if asked.only in case.name]
    print(f"3 pools, {minutes:.0f} minutes after {WARM_UP}, seeds {seeds}, the worst; share of the maximum / refused")
    print(f"{'':42} {'bar':>18}     " + "".join(f"{name:>14}" for name in (OURS, *MODELS)))
    began = time.perf_counter()
    good: list[bool] = []
    by_name: dict[str, Sequence[Outcome]] = {}
    with ProcessPoolExecutor(asked.processes) as processes:
        runs = {}
        for case in rows:
            others = MODELS if case.baselines and asked.baseline_seeds else ()
            for name in (OURS, *others):
                chosen = seeds if name == OURS else seeds[: asked.baseline_seeds]
                runs[case.name, name] = [processes.submit(run_one, case.name, name, seed, minutes) for seed in chosen]
        for case in rows:
            found = {name: [run.result() for run in done] for (row, name), done in runs.items() if row == case.name}
            by_name[case.name] = found[OURS]
            good.append(meets(case, found[OURS], by_name.get(case.share_as, ())))
            show(case, found, good[-1])
    good += [reservation(), fairness(seeds)]
    print(f"{sum(good)} of {len(good)} within their bars, {time.perf_counter() - began:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
