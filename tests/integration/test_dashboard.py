"""The Grafana dashboard: it is what its script makes, and every one of its queries finds data in a real Prometheus."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import re
import shutil
import subprocess
import time
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from cache_service.budget import Use
from cache_service.instrumentation import events as happened
from cache_service.instrumentation.events import Event
from cache_service.instrumentation.gauges import Gauges
from cache_service.instrumentation.prometheus import PrometheusMetrics
from cache_service.upstream.base import PoolUse

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = DOCS / "ops" / "grafana-dashboard.json"

EVERY, SCRAPES = 60, 13
"""Seconds between scrapes, and how many: twelve minutes."""

HAPPENS: list[Event] = [
    happened.MaybePaidTwice("images"),
    happened.ModelEnds("gpt-image-2", 90),
    happened.RequestServed("images", "hit", "exact", "equal key", 200, 0.004, 1.0, saved_usd=0.05),
    happened.RequestServed("images", "hit", "semantic", "same", 200, 0.02, 0.97),
    happened.RequestServed("images", "miss", "", "no candidate", 200, 21.0, model="gpt-image-2", quality="low"),
    happened.RequestServed("images", "error", "", "timeout", 504, 60.0, error="timeout"),
    happened.StepTimed("images", "embed", 0.004),
    happened.CandidateJudged("images", "different", 0.95, 0.001),
    happened.UpstreamCalled("images", "art/key-1", "ok", 12.0, 0.5, 2, 392, "art", 7),
    happened.UpstreamCalled("images", "art/key-1", "rate_limit", 0.1, 0.5, pool="art"),
    happened.UsdSpent("images", 0.05),
    happened.UsdSpent("images", 0.05, sure=False),
    happened.StoreFailed("images", "sql"),
    happened.NotStored("images", "purged"),
    happened.TierFailed("chat", "verifier"),
    happened.FellBack("images", "cached-similar", "answered"),
    happened.EntriesRemoved("evicted", 5),
    happened.ShadowHit("images", 0.97),
    happened.FeedbackGiven("images", "wrong", "on"),
    happened.HitsUnrecorded(3),
    happened.StoreHeld(7, 900),
    happened.BatchItemEnded("images", "hit"),
    happened.BatchesInProgress(2),
    happened.Recovered("stored"),
    happened.ConnectionCut("late"),
]
"""At least one of each, between any two scrapes."""

LISTENING = re.compile(r'msg="Listening on" address="?(127\.0\.0\.1:[0-9]+)')

POOL = PoolUse("art", ("art/key-1",), {"images": 50.0, "tokens": 1e6}, {"images": 20.0, "tokens": 4000.0}, 3)
BUDGET = Use("day", "", 100.0, 12.0, 1.0)


def test_the_dashboard_is_what_its_script_makes() -> None:
    """Who changes the script writes the file anew."""
    assert WRITTEN.read_text("utf-8") == _script().dashboard(), "run: python docs/generate_reference.py"


def test_a_query_can_speak_only_of_metrics_that_there_are() -> None:
    """A name that the service doesn't have, and a histogram without its part, are errors while the dashboard is made."""
    script = _script()
    assert script.series("requests", 'kind="exact"').startswith("cache_service_requests_total{")
    for name, part in (("request", ""), ("request_duration_seconds", ""), ("requests", "sum")):
        with pytest.raises(KeyError):
            script.series(name, part=part)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus isn't installed here")
def test_every_query_finds_data_in_prometheus(tmp_path: Path) -> None:
    """Of minutes in which all that can happen did: no error, and an answer with a number in it."""
    assert {type(event) for event in HAPPENS} == set(typing.get_args(Event))
    end = int(time.time())
    _backfill(tmp_path, end)
    with _prometheus(tmp_path) as prometheus:
        answers = {
            f"{title}: {query}": _asked(prometheus, query, end, instance=instance)
            for title, query in _queries()
            for instance in (".*", "127.0.0.1:8000")
        }
    wrong = {query: values for query, values in answers.items() if all(map(math.isnan, values))}
    assert not wrong


def test_every_variable_in_a_query_is_one_of_the_dashboard_or_of_grafana() -> None:
    """Grafana would send any other to Prometheus as it is."""
    named = {variable["name"] for variable in json.loads(WRITTEN.read_text("utf-8"))["templating"]["list"]}
    for _, query in _queries():
        assert "$" not in _filled(query, dict.fromkeys(named, ""))


def _queries() -> Iterator[tuple[str, str]]:
    for panel in json.loads(WRITTEN.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def _filled(query: str, variables: Mapping[str, str]) -> str:
    """With values where Grafana puts some."""
    for name, value in {"__rate_interval": "4m", "__range": "12m", **variables}.items():
        query = query.replace(f"${name}", value)
    return query


def _asked(prometheus: httpx.Client, query: str, at: int, *, instance: str) -> list[float]:
    answer = prometheus.get("/api/v1/query", params={"query": _filled(query, {"instance": instance}), "time": at})
    body: dict[str, Any] = answer.json()
    assert body["status"] == "success", (query, body)
    return [float(series["value"][1]) for series in body["data"]["result"]]


def _backfill(folder: Path, end: int) -> None:
    """Makes blocks of what scrapes of the service's own metrics would have brought."""
    metrics = PrometheusMetrics()
    gauges = Gauges(lambda: [POOL], lambda: [BUDGET])
    metrics.expect([POOL], {"gpt-image-2": ["low"]})
    metrics.collect_from(gauges)
    samples: dict[str, list[str]] = {}
    for scrape in range(SCRAPES):
        at = end - (SCRAPES - 1 - scrape) * EVERY
        for family in metrics.registry.collect():
            for sample in family.samples:
                labels = {**sample.labels, "instance": "127.0.0.1:8000", "job": "cache_service"}
                written = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
                samples.setdefault(sample.name, []).append(f"{sample.name}{{{written}}} {float(sample.value)} {at}")
        for event in HAPPENS:
            metrics(event)
            gauges(event)
    lines = [line for name in samples for line in (f"# TYPE {name} unknown", *samples[name])]
    (folder / "scraped").write_text("\n".join([*lines, "# EOF", ""]), "utf-8")
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "scraped"), str(folder / "data")]
    filled = subprocess.run(made, capture_output=True, text=True, check=False)
    assert filled.returncode == 0, filled.stderr


@contextlib.contextmanager
def _prometheus(folder: Path) -> Iterator[httpx.Client]:
    """One over the blocks and with the alert rules, from the moment in which it says that it is ready."""
    rules = DOCS / "ops" / "prometheus-alerts.yml"
    (folder / "prometheus.yml").write_text(f"rule_files: [{json.dumps(str(rules))}]\n", "utf-8")
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += ["--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle"]
    said = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if "Server is ready to receive web requests" in line:
                break
        listening = LISTENING.search("".join(said))
        assert listening, "".join(said)
        with httpx.Client(base_url=f"http://{listening[1]}", trust_env=False, timeout=None) as client:  # noqa: S113
            yield client
            client.post("/-/quit").raise_for_status()
        process.stderr.read()


def _script() -> ModuleType:
    """`docs/dashboard.py`."""
    spec = importlib.util.spec_from_file_location("dashboard", DOCS / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
