"""Warming: files are read as they are meant, money is never overrun, and what failed can be read again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cache_service import bootstrap
from cache_service.answer import Failed, Report, Result, Served
from cache_service.bootstrap import ClientChoice
from cache_service.bootstrap.http_client import client_key
from cache_service.cli import app
from cache_service.config import Settings
from cache_service.errors import CapacityExceeded, ConfigurationError, NotCached
from cache_service.jobs.warm import Row, WarmReport, read_rows, warm
from tests.fakes.service import BODY, HIT, Asked, at_once, make_bench


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_txt_is_a_prompt_a_line(tmp_path: Path) -> None:
    rows = read_rows(
        write(tmp_path, "p.txt", "\ufeffa fox\n\n  a whale  \n"), operation="images", defaults={"model": "m"}
    )
    assert rows == [
        Row(1, "images", {"model": "m", "prompt": "a fox"}),
        Row(3, "images", {"model": "m", "prompt": "a whale"}),
    ]


def test_txt_for_chat_is_a_user_message_a_line(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, "p.txt", "Hello"), operation="chat", defaults={})
    assert row.request == {"messages": [{"role": "user", "content": "Hello"}]}


def test_jsonl_holds_strings_requests_and_failures_of_an_earlier_run(tmp_path: Path) -> None:
    lines = [
        '"a fox"',
        '{"prompt": "a whale", "size": "1024x1024"}',
        '{"operation": "chat", "request": {"messages": []}, "error": "x"}',
    ]
    rows = read_rows(write(tmp_path, "p.jsonl", "\n".join(lines)), operation="images", defaults={"size": "512x512"})
    assert [row.request for row in rows] == [
        {"size": "512x512", "prompt": "a fox"},
        {"prompt": "a whale", "size": "1024x1024"},
        {"size": "512x512", "messages": []},
    ]
    assert rows[2].operation == "chat"


def test_csv_has_parameters_as_columns_and_prompts_over_several_lines(tmp_path: Path) -> None:
    text = 'prompt,size,n\n"a fox, red",1024x1024,2\n"two\nlines",,\n'
    rows = read_rows(write(tmp_path, "p.csv", text), operation="images", defaults={})
    assert [row.request for row in rows] == [
        {"prompt": "a fox, red", "size": "1024x1024", "n": 2},
        {"prompt": "two\nlines"},
    ]


def test_a_csv_cell_that_is_no_number_of_json_stays_text(tmp_path: Path) -> None:
    text = "prompt,seed,style,size\na fox,nan,inf,1.5\n"
    (row,) = read_rows(write(tmp_path, "p.csv", text), operation="images", defaults={})
    assert row.request == {"prompt": "a fox", "seed": "nan", "style": "inf", "size": 1.5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "\n"),
        ("p.jsonl", '"a"\n{broken'),
        ("p.jsonl", "3"),
        ("p.csv", "words\nx\n"),
        ("p.csv", ""),
        ("p.jsonl", "9" * 5000),
        ("p.jsonl", "[" * 100_000),
        ("p.csv", "prompt\n" + "x" * 200_000),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused_naming_it(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read_rows(write(tmp_path, name, text), operation="images", defaults={})


class Service:
    """A service whose cache hits what was asked before, and pays `usd` for the rest."""

    def __init__(self, usd: float = 1.0, fail: frozenset[str] = frozenset()) -> None:
        self.usd, self.fail = usd, fail
        self.known: set[str] = set()
        self.generated: list[str] = []

    async def __call__(self, asked: Asked) -> Result:
        await asyncio.sleep(0)  # lets the other items in, as a network would
        prompt = asked.body["prompt"]
        if prompt in self.fail:
            return Failed(CapacityExceeded("no capacity"), Report("miss"))
        if prompt in self.known:
            return Served(200, BODY, "application/json", HIT)
        if asked.directives.only_if_cached:
            return Failed(NotCached("nothing is stored"), Report("miss"))
        self.known.add(prompt)
        self.generated.append(prompt)
        return Served(200, BODY, "application/json", Report("miss", forwarded="miss", stored=True, usd=self.usd))


Rows = list[str] | list[dict[str, Any]]


async def warmed(service: Service, rows: Rows, **how: Any) -> WarmReport:
    """The rows asked of the whole interface around that cache."""
    estimate = how.pop("estimate", lambda *_: service.usd)
    bench = make_bench(**how.pop("limits", {}))
    bench.cache.answer = service
    bench.service.batches.begin(replace(bench.service.batches._ready(), estimate=estimate))
    async with bench.client() as client:
        return await asked_of(client, rows, estimate=estimate, **how)


async def asked_of(client: httpx.AsyncClient, rows: Rows, **how: Any) -> WarmReport:
    settings: dict[str, Any] = {
        "concurrency": 1,
        "budget_usd": None,
        "dry_run": False,
        "stop": asyncio.Event(),
        "estimate": lambda *_: None,
        "pause": at_once,
    } | how
    requests = [{"prompt": row} if isinstance(row, str) else row for row in rows]
    made = [Row(n, "images", request) for n, request in enumerate(requests, 1)]
    return await warm(made, client, progress=lambda _: None, **settings)


async def test_running_it_again_resumes_for_nothing() -> None:
    service = Service()
    first = await warmed(service, ["a", "b"])
    again = await warmed(service, ["a", "b", "c"])
    assert (first.generated, first.usd) == (2, 2.0)
    assert (again.hits, again.generated, again.usd) == (2, 1, 1.0)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_the_budget_is_never_overrun(concurrency: int) -> None:
    service = Service()
    report = await warmed(service, list("abcdefgh"), budget_usd=3.5, concurrency=concurrency)
    assert len(service.generated) == 3
    assert (report.generated, report.skipped, report.stopped) == (3, 5, "budget")


@pytest.mark.parametrize("concurrency", [1, 4, 16])
async def test_each_run_with_a_budget_gets_further(concurrency: int) -> None:
    """What an earlier run stored takes nothing of a later run's budget."""
    service, prompts = Service(usd=0.25), [f"prompt {n}" for n in range(40)]
    for run in range(3):
        report = await warmed(service, prompts, budget_usd=1.0, concurrency=concurrency)
        assert (report.hits, report.generated, report.skipped) == (4 * run, 4, 36 - 4 * run)
        assert report.usd == 1.0
    assert (await warmed(service, prompts[:12], budget_usd=0.0, concurrency=concurrency)).hits == 12


@pytest.mark.parametrize("concurrency", [1, 4, 16])
async def test_a_refused_row_waits_for_those_that_cost_less_than_reserved(concurrency: int) -> None:
    """A budget of 1 with estimates of 0.5 and prices of 0.125: 0.625 are paid before 0.5 more don't fit."""
    service = Service(usd=0.125)
    report = await warmed(
        service, [str(n) for n in range(20)], budget_usd=1.0, concurrency=concurrency, estimate=lambda *_: 0.5
    )
    assert (report.generated, report.skipped, report.stopped) == (5, 15, "budget")


async def test_with_a_budget_what_has_no_price_is_not_begun_unless_allowed() -> None:
    def estimate(_: str, request: Any) -> float | None:
        return None if request["prompt"] == "unpriced" else 1.0

    service = Service()
    report = await warmed(service, ["unpriced", "a"], budget_usd=5.0, estimate=estimate)
    assert (report.generated, report.skipped, report.unknown_price, service.generated) == (1, 1, 1, ["a"])
    report = await warmed(service, ["unpriced"], budget_usd=5.0, estimate=estimate, allow_unknown_price=True)
    assert (report.generated, report.skipped) == (1, 0)
    assert (await warmed(service, ["unpriced"], budget_usd=5.0, estimate=estimate)).hits == 1


@pytest.mark.parametrize("how", [{}, {"budget_usd": 9.0}, {"dry_run": True}])
async def test_a_row_that_can_not_be_sent_fails_alone(how: dict[str, Any]) -> None:
    rows = [
        {"prompt": "\ud800"},
        {"prompt": "b", "seed": float("nan")},
        {"prompt": "c"},
        {"prompt": "d", "seed": 10**30},
    ]
    report = await warmed(Service(), rows, **how)
    assert (report.failed, report.generated) == (3, 1)
    assert [failure["line"] for failure in report.failures] == [1, 2, 4]


async def test_a_row_that_its_route_refuses_fails_alone() -> None:
    report = await warmed(Service(), [{"prompt": ""}, {"prompt": "b"}, {"prompt": "c", "stream": True}])
    assert (report.failed, report.generated) == (2, 1)
    assert {failure["line"] for failure in report.failures} == {1, 3}


@pytest.mark.parametrize("limits", [{"max_batch_items": 2}, {"max_batch_bytes": 400}])
async def test_more_rows_than_a_batch_holds_are_several_batches(limits: dict[str, int]) -> None:
    service = Service()
    report = await warmed(service, [str(n) for n in range(9)], limits=limits)
    assert (report.generated, report.failed, report.done) == (9, 0, 9)
    report = await warmed(Service(), [str(n) for n in range(9)], limits=limits, budget_usd=4.0)
    assert (report.generated, report.skipped, report.usd) == (4, 5, 4.0)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"cache": null}'])
@pytest.mark.parametrize("status", [200, 202, 500])
async def test_an_answer_that_is_not_the_service_s_fails_the_row(answer: bytes, status: int) -> None:
    odd = httpx.MockTransport(lambda request: httpx.Response(status, content=answer))
    async with httpx.AsyncClient(transport=odd, base_url="http://service") as client:
        assert (await asked_of(client, ["a", "b"])).failed == 2


def test_the_estimate_counts_every_answer_and_takes_no_nonsense() -> None:
    estimate = bootstrap.estimate_usd(Settings())
    chat = {"model": "gpt-6-luna", "messages": [], "max_tokens": 1000}
    one, three = estimate("chat", chat), estimate("chat", chat | {"n": 3})
    assert one is not None
    assert three is not None
    assert three > 2.9 * one > 0
    negative = estimate("chat", chat | {"max_tokens": -5_000_000})
    assert negative is not None
    assert negative > 0
    image = {"model": "gpt-image-2", "size": "1024x1024", "quality": "low"}
    assert estimate("images", image | {"n": -4}) == estimate("images", image)
    for odd in (["a"], {}, 3, None):
        assert estimate("images", {"model": odd, "size": odd}) is None
        assert estimate("chat", {"model": odd, "max_tokens": odd}) is None
        assert estimate("images", image | {"size": odd, "quality": odd, "n": odd}) is not None


def test_where_failures_can_not_be_written_nothing_is_begun(tmp_path: Path) -> None:
    prompts = write(tmp_path, "p.jsonl", '"a fox"')
    for place in (tmp_path / "no-such" / "x", prompts):
        result = CliRunner().invoke(
            app, ["warm", str(prompts), "--failures", str(place), "--set", f"data_dir={tmp_path}/d"]
        )
        assert isinstance(result.exception, ConfigurationError)
        assert "--failures" in str(result.exception)
    assert prompts.read_text() == '"a fox"'
    assert not (tmp_path / "d").exists()


async def test_a_dry_run_counts_money_and_generates_nothing() -> None:
    service = Service()
    await warmed(service, ["a"])
    report = await warmed(service, ["a", "b", "b", "c"], dry_run=True, budget_usd=0.5)
    assert (report.hits, report.generated, report.usd) == (2, 2, 2.0)
    assert service.generated == ["a"]


async def test_what_failed_can_be_read_again(tmp_path: Path) -> None:
    report = await warmed(Service(fail=frozenset("b")), ["a", "b"])
    assert (report.generated, report.failed) == (1, 1)
    assert report.failures[0]["error"] == "429: no capacity"
    path = write(tmp_path, "failed.jsonl", json.dumps(report.failures[0]))
    assert read_rows(path, operation="images", defaults={}) == [Row(1, "images", {"prompt": "b"})]


async def test_after_an_interruption_nothing_more_is_begun() -> None:
    service, stop = Service(), asyncio.Event()
    stop.set()
    report = await warmed(service, ["a", "b"], stop=stop)
    assert (report.skipped, report.stopped, service.generated) == (2, "interrupted", [])


async def test_a_stop_lets_what_runs_end_and_begins_nothing_more() -> None:
    service, stop = Service(), asyncio.Event()
    begun = asyncio.Event()

    class Slow(Service):
        async def __call__(self, asked: Asked) -> Result:
            stop.set()
            await begun.wait()
            return await service(asked)

    async def pause(seconds: float) -> None:
        if bench_cancelled():
            begun.set()
        await asyncio.sleep(0)

    bench = make_bench()
    bench.cache.answer = Slow()

    def bench_cancelled() -> bool:
        return any(batch.cancelled_at is not None for batch in bench.batches.batches.values())

    async with bench.client() as client:
        report = await asked_of(client, ["a", "b", "c"], stop=stop, pause=pause)
    assert (report.generated, report.skipped, report.stopped) == (1, 2, "interrupted")


async def test_a_service_that_is_started_again_meanwhile_is_asked_again() -> None:
    bench, dropped = make_bench(), [503, 0, 503]
    inner = httpx.ASGITransport(bench.app)

    class Flaky(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET" and dropped:
                if (status := dropped.pop()) == 0:
                    raise httpx.ConnectError("refused")
                return httpx.Response(status, json={"title": "Stopping"})
            return await inner.handle_async_request(request)

    async with httpx.AsyncClient(transport=Flaky(), base_url="http://127.0.0.1:8000") as client:
        report = await asked_of(client, ["a", "b"])
    assert (report.hits, report.failed) == (2, 0)


async def test_a_service_that_is_gone_fails_the_rows_not_the_run() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with httpx.AsyncClient(transport=httpx.MockTransport(gone), base_url="http://service") as client:
        assert (await asked_of(client, ["a"])).failed == 1


KEYS = ("ann:ka:one", "bob:kb", "eve:k:c:one")


@pytest.mark.parametrize(
    ("choice", "key"),
    [
        (ClientChoice(), "ka"),
        (ClientChoice("bob"), "kb"),
        (ClientChoice(namespace="bob"), "kb"),
        (ClientChoice("eve", "one"), "k:c"),
    ],
)
def test_a_command_is_the_client_that_it_names(choice: ClientChoice, key: str) -> None:
    chosen = client_key(Settings(client_keys=KEYS), choice)
    assert chosen is not None
    assert chosen.get_secret_value() == key


@pytest.mark.parametrize("choice", [ClientChoice("joe"), ClientChoice(namespace="two"), ClientChoice("bob", "one")])
def test_a_client_that_is_not_configured_is_an_error_that_names_those_that_are(choice: ClientChoice) -> None:
    with pytest.raises(ConfigurationError, match=r"ann \(one\), bob \(bob\), eve \(one\)"):
        client_key(Settings(client_keys=KEYS), choice)
    with pytest.raises(ConfigurationError, match="there are: none"):
        client_key(Settings(), choice)


async def test_a_service_that_wants_a_key_of_its_database_says_how_to_name_it() -> None:
    """Before anything is asked for: no row fails for it."""
    bench = make_bench(client_keys=["web:cs-secret"])
    async with bench.client() as client:
        with pytest.raises(ConfigurationError, match="--set client_keys=NAME:KEY"):
            await asked_of(client, ["a fox"])
    async with bench.client("cs-secret") as client:
        assert (await asked_of(client, ["a fox"])).hits == 1


async def test_without_a_number_as_many_rows_are_asked_at_once_as_the_service_takes() -> None:
    service = Service()
    assert (await warmed(service, ["a", "b", "c"], concurrency=None)).generated == 3
