"""Has anything become slower? Runs the quick benchmarks that measure themselves beside a reference, and compares their ratios with a baseline.

Ratios of one run are what machines have in common: how fast ours is beside plain SQLite, a bare forward pass or a bare server here and now.
Each benchmark is run a few times, the median counts. One that has left its tolerance on the worse side is a regression: exit status 1.

What it doesn't show: anything below the tolerance, and how fast the machine is. `--update` writes the baseline: do so on a quiet machine, when
a change has made a ratio better for good, or worse for a reason that is worth it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
TOLERANCE = 0.25
"""Share of the baseline; two runs on one idle machine differ by up to half of it."""
REPEATS = 3
LONGEST = 300.0  # seconds of one run


@dataclass(frozen=True)
class Benchmark:
    """A script that prints `{"ratios": {name: number}}` as its last line with `--json`; the script's name goes before each.

    lower: those of its ratios that are better when smaller.
    """

    script: str
    arguments: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()

    def named(self, ratio: str) -> str:
        """Unlike every other script's."""
        return f"{self.script.removesuffix('.py')}: {ratio}"


BENCHMARKS = (
    Benchmark("exact_hits.py", ("--rounds", "3", "--seconds", "0.4"), lower=("2 KB, 1 connection",)),
    Benchmark("semantic.py", ("--rounds", "100", "--prompts", "60", "--seconds", "3")),
    Benchmark("store.py", ("--rounds", "3", "--each", "512", "--pictures", "20"), lower=("picture",)),
    Benchmark("warm_up.py", ("--rows", "300", "--rounds", "1")),
)

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Expected:
    """One ratio of the baseline. tolerance: share of it by which it may be worse."""

    ratio: float
    better: Better
    tolerance: float = TOLERANCE

    @property
    def limit(self) -> float:
        """The worst that is no regression."""
        return self.ratio * (1 - self.tolerance if self.better == "higher" else 1 + self.tolerance)

    def holds(self, ratio: float) -> bool:
        """Whether it isn't worse than the limit."""
        return ratio >= self.limit if self.better == "higher" else ratio <= self.limit


@dataclass(frozen=True)
class Line:
    """What became of one ratio. now: None if it wasn't measured; expected: None if it is in no baseline yet."""

    name: str
    expected: Expected | None
    now: float | None

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.now is None:
            return "NOT MEASURED"
        if self.expected is None:
            return "new"
        return "holds" if self.expected.holds(self.now) else "REGRESSION"

    @property
    def failed(self) -> bool:
        """Whether the check fails for it."""
        return self.verdict.isupper()


def compare(baseline: Mapping[str, Expected], measured: Mapping[str, float]) -> list[Line]:
    """A line for each ratio of either, the baseline's first."""
    names = [*baseline, *(name for name in measured if name not in baseline)]
    return [Line(name, baseline.get(name), measured.get(name)) for name in names]


def renewed(
    baseline: Mapping[str, Expected], measured: Mapping[str, float], lower: Iterable[str]
) -> dict[str, Expected]:
    """The baseline with what was measured; tolerances that were set by hand stay, and so does what wasn't measured."""
    smaller = set(lower)
    now = {
        name: Expected(
            round(ratio, 3),
            "lower" if name in smaller else "higher",
            baseline[name].tolerance if name in baseline else TOLERANCE,
        )
        for name, ratio in measured.items()
    }
    return dict(sorted({**baseline, **now}.items()))


def read(path: Path) -> dict[str, Expected]:
    """The baseline; empty where there is none yet."""
    if not path.exists():
        return {}
    return {name: Expected(**members) for name, members in json.loads(path.read_text("utf-8")).items()}


def write(path: Path, baseline: Mapping[str, Expected]) -> None:
    """A line for each ratio, so that a change shows as one."""
    lines = [f"  {json.dumps(name)}: {json.dumps(vars(one))}" for name, one in baseline.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def table(lines: Sequence[Line]) -> str:
    """For people."""
    rows = [("ratio", "baseline", "now", "change", "limit", "")]
    for line in lines:
        expected, now = line.expected, line.now
        rows.append(
            (
                line.name,
                f"{expected.ratio:.3f}" if expected else "",
                "" if now is None else f"{now:.3f}",
                f"{now / expected.ratio - 1:+.0%}" if expected and now is not None else "",
                f"{'≥' if expected.better == 'higher' else '≤'} {expected.limit:.3f}" if expected else "",
                line.verdict,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column in (0, 5) else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    )  # fmt: skip


def measure(benchmark: Benchmark, repeats: int) -> dict[str, float]:
    """Medians of a few runs; empty where one failed, whose words are on the error stream."""
    runs: list[dict[str, float]] = []
    command = [sys.executable, str(HERE / benchmark.script), *benchmark.arguments, "--json"]
    for number in range(repeats):
        print(f"{benchmark.script} {number + 1}/{repeats} …", file=sys.stderr)
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{benchmark.script}: {error}", file=sys.stderr)
            return {}
        printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        runs.append(printed["ratios"])
    return {benchmark.named(name): statistics.median(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    """Runs, compares, prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write what is measured as the baseline")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", action="append", metavar="SCRIPT", help="only this benchmark; repeatable")
    options = parser.parse_args()
    chosen = [one for one in BENCHMARKS if not options.only or one.script in options.only]
    baseline, measured = read(BASELINE), {}
    for benchmark in chosen:
        ratios = measure(benchmark, options.repeats)
        measured |= ratios
        if options.update:  # at once: what is measured stays so if a later one is broken off
            write(BASELINE, renewed(read(BASELINE), ratios, map(benchmark.named, benchmark.lower)))
    if options.only:
        baseline = {name: one for name, one in baseline.items() if name in measured}
    lines = compare(baseline, measured)
    print(table(lines))
    if not options.update and any(line.failed for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
