"""The comparison with peers asks all the same, counts what it says, and tells a peer that isn't there."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import _peers_environments as environments
import _peers_libraries as libraries
import _peers_servers as servers
import peers
from _peers_http import Connection, port_of, timed, upstream
from _peers_workload import ANSWER_BYTES, Phase, again, answer, fillers, percentile, workload

PROMPTS = ["a red fox in a cave", "two owls on a bridge", "an oil painting of a horse"]


def test_a_workload_is_the_same_each_time_and_stores_nothing_twice() -> None:
    paraphrases = {PROMPTS[0]: "a red fox in a cave, please", "never stored": "never stored, please"}
    one, other = (workload(PROMPTS, paraphrases, entries=50, fresh=40) for _ in range(2))
    assert one == other
    assert len(set(one.prompts) | set(one.fresh)) == len(one.prompts) + len(one.fresh) == 90
    assert one.prompts[:3] == PROMPTS
    assert one.paraphrases == {PROMPTS[0]: "a red fox in a cave, please"}, "only what is stored is asked for"


def test_fewer_entries_than_prompts_are_the_first_of_them() -> None:
    assert workload(PROMPTS, {}, entries=2, fresh=1).prompts == PROMPTS[:2]


def test_made_up_prompts_are_distinct_and_of_the_same_words() -> None:
    made = list(islice(fillers(PROMPTS), 500))
    assert len(set(made)) == 500
    assert {word for one in made for word in one.split()} <= {word for prompt in PROMPTS for word in prompt.split()}


def test_every_prompt_has_an_answer_of_its_own_and_of_the_usual_length() -> None:
    assert len({answer(prompt) for prompt in PROMPTS}) == len(PROMPTS)
    assert {len(answer(prompt)) for prompt in PROMPTS} == {ANSWER_BYTES}


@pytest.mark.parametrize(("share", "milliseconds"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_a_percentile_is_a_time_that_was_measured(share: float, milliseconds: float) -> None:
    assert percentile([number / 1000 for number in range(100, 0, -1)], share) == milliseconds


def test_an_answer_to_a_third_prompt_is_wrong_and_a_generated_one_a_miss() -> None:
    asked = "a red fox in a cave, please"
    texts = [answer(PROMPTS[0]), answer(asked), None, answer(PROMPTS[1])]
    row = Phase.of("semantic", 1, 2.0, [(0.1, PROMPTS[0], asked, text) for text in texts]).row()
    assert (row["right"], row["wrong"], row["per_second"], row["p50"]) == (0.25, 0.25, 2.0, 100.0)


def test_a_phase_in_which_nothing_was_done_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="nothing was done"):
        Phase.of("exact", 1, 1.0, [])


def test_what_is_asked_again_is_all_of_it_in_no_pattern() -> None:
    pairs = [(str(number), str(number)) for number in range(50)]
    first = list(islice(again(pairs), 50))
    assert sorted(first) == sorted(pairs)
    assert first != pairs


def test_a_peer_without_an_environment_is_skipped_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gptcache" / "bin").mkdir(parents=True)
    (tmp_path / "gptcache" / "bin" / "python").touch()
    found = [name for name, _ in peers.present(["gptcache", "gptcache-server", "mneme"], tmp_path)]
    assert found == ["gptcache", "gptcache-server"], "a server shares its library's environment"
    assert "mneme: skipped" in capsys.readouterr().err


def test_a_peer_that_fails_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(name: str, *_: object) -> list[dict[str, object]]:
        if name == "mneme":
            raise peers.DidNotStart("it did not start")
        return [{"kind": "exact"}]

    async def prepare(*_: object) -> Path:
        return tmp_path

    python = tmp_path / "mneme" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(peers, "_one", one)
    monkeypatch.setattr(peers, "prepare", prepare)
    monkeypatch.setattr(peers, "_filled", lambda work: work)
    arguments = ["peers.py", "--peers", str(tmp_path), "--only", "mneme", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert [row["peer"] for row in peers.measured(peers.options())] == ["ours", "ours, in memory", "ours"]
    assert "mneme: left out, it did not start" in capsys.readouterr().err


def test_every_peer_has_an_environment_with_exact_versions_and_a_way_to_be_asked() -> None:
    assert set(peers.LIBRARIES) == set(libraries.PEERS)
    assert set(servers.ENVIRONMENT) | {"ours-server"} == set(servers.SERVERS)
    assert {*peers.LIBRARIES, *servers.ENVIRONMENT.values()} == set(environments.ENVIRONMENTS)
    for installed, bare in environments.ENVIRONMENTS.values():
        assert all("==" in name for name in (*installed, *bare)), "a figure belongs to a version"


def test_tables_compare_a_run_with_itself() -> None:
    """Ours is ahead by the run's own ratio, whatever the machine did in another run."""

    def row(run: int, peer: str, p50: float) -> dict[str, object]:
        times = {"p50": p50, "p95": p50, "p99": p50, "per_second": 1000 / p50, "right": 1.0, "wrong": 0.0}
        return {"run": run, "entries": 10, "kind": "exact", "clients": 1, "peer": peer, "durable": "no", **times}

    rows = [
        row(1, "ours", 1.0),
        row(1, "mneme", 2.0),
        row(2, "ours", 10.0),
        row(2, "mneme", 40.0),
        row(2, "cachellm", 1),
    ]
    (line,) = (line for line in peers.tables(rows) if line.startswith("mneme"))
    assert "3.0x     3.0x" in line
    assert not any("x" in line.removeprefix("cachellm") for line in peers.tables(rows) if line.startswith("cachellm"))


async def test_threads_and_connections_are_timed_the_same_way() -> None:
    """Eight clients of each kind share the work; each operation is counted once, with what came back."""

    class Known:
        durable = "no"

        def get(self, prompt: str) -> str | None:
            return answer(prompt)

    pairs = [(prompt, prompt) for prompt in PROMPTS]
    in_threads = await asyncio.to_thread(libraries.timed, "exact", 8, 0.05, again(pairs), Known().get)
    async with upstream() as url:
        work = ((one, one, servers.chat_body(one)) for one, _ in again(pairs))
        port = port_of(url)
        over_http = await timed("exact", 8, 0.05, work, "/v1/chat/completions", port, servers.chat_text)
    for phase in (in_threads, over_http):
        assert (phase.right, phase.wrong, phase.clients) == (1.0, 0.0, 8)


async def test_the_upstream_answers_pieces_of_requests_and_several_at_once() -> None:
    body = servers.chat_body(PROMPTS[0])
    async with upstream() as url:
        port = port_of(url)
        connection = await Connection(port).open()
        assert servers.chat_text(await connection.post("/v1/chat/completions", body)) == answer(PROMPTS[0])
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        whole = (head + body) * 2
        for start in range(0, len(whole), 70):
            writer.write(whole[start : start + 70])
            await writer.drain()
        for _ in range(2):
            length = int((await reader.readuntil(b"\r\n\r\n")).rpartition(b": ")[2])
            assert servers.chat_text(await reader.readexactly(length)) == answer(PROMPTS[0])
        writer.close()
        connection.close()


def test_ours_alone_fills_and_answers_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole harness with a few made-up prompts: what is asked for by other words is a hit on the right answer."""
    work = tmp_path / "12"
    work.mkdir()
    prompts = peers.MADE_UP[:4]
    load = workload(prompts, {one: f"{one}, please" for one in prompts}, entries=12, fresh=400)
    (work / "workload.json").write_text(json.dumps(vars(load)))
    np.save(work / "vectors.npy", np.eye(12, 384, dtype=np.float32))
    kept = tmp_path / "kept.jsonl"
    arguments = ["peers.py", "--entries", "12", "--clients", "1", "--seconds", "0.2", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--keep", str(kept)])
    peers.main()
    rows = {(row["peer"], row["kind"]): row for row in map(json.loads, kept.read_text().splitlines())}
    everything = {(peer, kind) for peer in ("ours", "ours-server") for kind in peers.KINDS}
    assert set(rows) == everything | {(peers.IN_MEMORY, "store")}
    assert all(rows[peer, kind]["right"] == 1.0 for peer in ("ours", "ours-server") for kind in ("exact", "semantic"))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["peers.py", "--report", str(kept)])
    peers.main()
    assert "in process: semantic, 12 entries, clients: 1" in capsys.readouterr().out
