"""`make bench-check`: what has become worse than its tolerance is told from what hasn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import _check
from _check import Benchmark, Expected, compare, measure, read, renewed, table, write

ROOT = Path(__file__).parents[2]
RATE = Expected(0.8, "higher", 0.25)
TIME = Expected(2.0, "lower", 0.1)


@pytest.mark.parametrize(
    ("expected", "now", "verdict"),
    [
        (RATE, 0.8, "holds"), (RATE, 5.0, "holds"), (RATE, 0.61, "holds"), (RATE, 0.59, "REGRESSION"),
        (TIME, 2.0, "holds"), (TIME, 0.1, "holds"), (TIME, 2.19, "holds"), (TIME, 2.21, "REGRESSION"),
        (RATE, None, "NOT MEASURED"), (None, 1.0, "new"),
    ],
)  # fmt: skip
def test_a_ratio_is_a_regression_only_on_its_worse_side(
    expected: Expected | None, now: float | None, verdict: str
) -> None:
    baseline = {} if expected is None else {"it": expected}
    (line,) = compare(baseline, {} if now is None else {"it": now})
    assert line.verdict == verdict
    assert line.failed == verdict.isupper()
    assert verdict in table([line])


def test_the_baseline_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert read(path) == {}
    write(path, {"a": RATE, "b": TIME})
    assert read(path) == {"a": RATE, "b": TIME}


def test_an_update_keeps_tolerances_and_what_was_not_measured() -> None:
    made = renewed({"a": TIME, "z": RATE}, {"a": 1.5, "new": 0.5, "slow": 3.0}, lower=("a", "slow"))
    assert made == {
        "a": Expected(1.5, "lower", 0.1),
        "new": Expected(0.5, "higher"),
        "slow": Expected(3.0, "lower"),
        "z": RATE,
    }


def test_of_several_runs_the_median_counts_and_a_failing_benchmark_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_check, "HERE", tmp_path)
    script = """import json, pathlib, sys
assert sys.argv[-1] == "--json"
seen = pathlib.Path(__file__).with_name("seen")
count = len(seen.read_text()) if seen.exists() else 0
seen.write_text("x" * (count + 1))
print(json.dumps({"ratios": {"it": [1.0, 9.0, 2.0][count]}}))
"""
    (tmp_path / "good.py").write_text(script)
    (tmp_path / "bad.py").write_text("import sys; sys.exit('no')")
    assert measure(Benchmark("good.py"), 3) == {"good: it": 2.0}
    assert measure(Benchmark("bad.py"), 3) == {}
    assert "bad.py" in capfd.readouterr().err


def test_the_committed_baseline_is_of_benchmarks_that_are_run() -> None:
    """And every script that is run is there."""
    scripts = {one.script.removesuffix(".py") for one in _check.BENCHMARKS}
    baseline = {name.partition(":")[0] for name in read(ROOT / "benchmarks" / "baseline.json")}
    assert baseline
    assert baseline <= scripts
    assert all((ROOT / "benchmarks" / one.script).is_file() for one in _check.BENCHMARKS)
    told = subprocess.run(["make", "-n", "bench-check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "benchmarks/_check.py" in told.stdout
