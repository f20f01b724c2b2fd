"""The commands, beside a running service and without one."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.acceptance.conftest import Server, run

ASKED = {"model": "gpt-image-2", "size": "64x64"}


def test_warm_purge_and_check_through_the_running_service(server: Server, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox in snow\na blue whale\n")
    warm = ("warm", str(prompts), "--model", "gpt-image-2", "-p", "size=64x64", "--json")
    dry = json.loads(run(server.data_dir, *warm, "--dry-run").stdout)
    assert (dry["hits"], dry["generated"]) == (0, 2)
    first = json.loads(run(server.data_dir, *warm).stdout)
    assert (first["hits"], first["generated"], first["failed"]) == (0, 2, 0)
    assert 0 < first["usd"] <= dry["usd"]
    assert json.loads(run(server.data_dir, *warm).stdout)["hits"] == 2
    with server.client() as client:
        asked = client.post("/v1/images/generations", json={**ASKED, "prompt": "a blue whale"})
        assert "; hit" in asked.headers["cache-status"]
        assert client.post("/admin/purge", json={"prompt": "x"}).status_code == 401
    purge = ("purge", "--prompt", "a blue whale", "--json")
    assert json.loads(run(server.data_dir, *purge, "--dry-run").stdout)["count"] == 1
    assert json.loads(run(server.data_dir, *purge).stdout)["count"] == 1
    with server.client(headers={"cache-control": "only-if-cached"}) as client:
        assert client.post("/v1/images/generations", json={**ASKED, "prompt": "a blue whale"}).status_code == 504
    assert json.loads(run(server.data_dir, "check", "--json").stdout) == []
    refused = run(server.data_dir, "check", "--fix")
    assert refused.returncode == 1
    assert "stop it before mending" in refused.stderr


def test_without_a_service_the_commands_work_by_themselves(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '"a red fox in snow"\n{"prompt": ""}\n{"prompt": "\\ud800"}\n{"prompt": "a", "seed": NaN}\n{"prompt": "a", "model": ["b"]}\n'
    )
    warmed = run(data, "warm", str(prompts), "--model", "gpt-image-2", "-p", "size=64x64", "--json")
    report = json.loads(warmed.stdout)
    assert (warmed.returncode, report["generated"], report["failed"]) == (3, 1, 4)
    failures = Path(report["failures_file"])
    assert sorted(json.loads(line)["line"] for line in failures.read_text().splitlines()) == [2, 3, 4, 5]
    again = run(data, "warm", str(failures), "-p", "size=64x64", "--budget-usd", "1", "--json")
    assert (again.returncode, json.loads(again.stdout)["failed"]) == (3, 4)
    prompts.write_text('"a red fox in snow"\n')
    mended = run(
        data, "warm", str(prompts), "--model", "gpt-image-2", "-p", "size=64x64", "--budget-usd", "0", "--json"
    )
    assert (mended.returncode, json.loads(mended.stdout)["hits"]) == (0, 1)
    assert not failures.exists()
    unknown = run(data, "purge", "--operation", "video", "--dry-run")
    assert (unknown.returncode, "chat, images" in unknown.stderr) == (1, True)
    assert json.loads(run(data, "purge", "--all", "--yes", "--json").stdout)["count"] == 1
    assert run(data, "purge").returncode == 1
    checked = run(data, "check", "--fix", "--json")
    assert (checked.returncode, json.loads(checked.stdout)) == (0, [])


def test_settings_are_shown_with_their_origin_and_secrets_are_not(tmp_path: Path) -> None:
    shown = run(
        tmp_path / "data", "config", "show", "--json", "--set", "port=7", upstream_api_keys="sk-canary-1,sk-canary-2"
    )
    values = json.loads(shown.stdout)
    assert values["port"] == {"value": 7, "origin": "--set"}
    assert values["upstream_api_keys"]["origin"] == "variable CACHE_SERVICE_UPSTREAM_API_KEYS"
    assert "canary" not in shown.stdout + shown.stderr


def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    for arguments, settings, said in (
        (("serve",), {"prot": 1}, "did you mean 'port'"),
        (("serve", "--set", "port"), {}, "NAME=VALUE"),
        (("serve",), {"host": "0.0.0.0"}, "client_keys"),  # noqa: S104  it must be refused
        (("serve",), {"client_keys": "no-colon"}, "entry 1"),
        (("serve",), {"models_dir": "/nowhere"}, "make model"),
        (("serve",), {"database_url": "mysql://x/y"}, "sqlite"),
        (("evaluate", "--pairs", "none.jsonl"), {}, "none.jsonl"),
        (("warm", "none.txt"), {}, "none.txt"),
    ):
        failed = run(tmp_path / "data", *arguments, **settings)
        assert failed.returncode == 1, (arguments, failed.stderr)
        assert said in failed.stderr, (arguments, failed.stderr)
        assert "Traceback" not in failed.stderr, failed.stderr


def test_evaluate_prints_what_it_promises(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {
            "a": "a red cube on a blue sphere",
            "b": "a red cube on top of a blue sphere",
            "same": True,
            "category": "paraphrase",
        },
        {"a": "a red cube on a blue sphere", "b": "a blue cube on a red sphere", "same": False, "category": "swap"},
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    result = json.loads(run(tmp_path / "data", "evaluate", "--pairs", str(pairs), "--json").stdout)
    assert (result["pairs"], result["hits"], result["true_hit_rate"], result["false_hit_rate"]) == (2, 1, 1.0, 0.0)
    assert result["gate"] == 0.92
    assert result["by_category"]["swap"]["true_hit_rate"] is None


def test_a_log_is_replayed_judged_measured_and_drawn(tmp_path: Path) -> None:
    log, data = tmp_path / "log.txt", tmp_path / "data"
    log.write_text("a red cube on a blue sphere\na red cube on top of a blue sphere\na blue cube on a red sphere\n")
    replayed = json.loads(run(data, "evaluate", "--replay", str(log), "--refused", "--json").stdout)
    assert (replayed["requests"], replayed["semantic_hits"], replayed["pairs_refused"]) == (3, 1, 1)
    pairs = Path(replayed["pairs_file"])
    served, refused = (json.loads(line) for line in pairs.read_text().splitlines())
    pairs.write_text("\n".join(map(json.dumps, (served | {"same": True}, refused | {"same": False}))))
    drawn = run(data, "evaluate", "--pairs", str(pairs), "--plot", str(tmp_path / "hits.svg"), "--json")
    assert json.loads(drawn.stdout)["gates"]["0.92"]["wrong_of_hits"] == 0.0
    assert "<svg" in (tmp_path / "hits.svg").read_text()
    again = json.loads(run(data, "evaluate", "--replay", str(log), "--json").stdout)
    judged = [json.loads(line)["same"] for line in Path(again["pairs_file"]).read_text().splitlines()]
    assert judged == [True, False]
    neither = run(data, "evaluate")
    assert (neither.returncode, "--pairs FILE" in neither.stderr) == (1, True)


def test_calibrated_thresholds_are_written_and_used(tmp_path: Path) -> None:
    pairs, out, data = tmp_path / "pairs.jsonl", tmp_path / "thresholds.json", tmp_path / "data"
    rows = [
        {"a": "a man standing next to his bicycle", "b": "a man stands beside his bike", "same": True},
        {"a": "a dog chasing a cat", "b": "a cat chasing a dog", "same": False},
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    calibrate = ("calibrate", "--images", str(pairs), "--out", str(out))
    rules = run(data, *calibrate, verifier="rules")
    assert (rules.returncode, out.exists(), "nothing was calibrated" in rules.stdout) == (3, False, True)
    learned = run(data, *calibrate, verifier="learned")
    assert (learned.returncode, learned.stderr) == (0, "")
    assert "too few pairs: it takes 296 different ones" in learned.stdout
    used = run(data, "evaluate", "--pairs", str(pairs), "--json", verifier="learned", verifier_thresholds=out)
    assert json.loads(used.stdout)["pairs"] == 2
    out.write_text(json.dumps(json.loads(out.read_text()) | {"model": "0" * 64}))
    refused = run(data, "serve", verifier="learned", verifier_thresholds=out)
    assert (refused.returncode, "run `cache-service calibrate` again" in refused.stderr) == (1, True)


def test_serving_needs_no_torch(server: Server) -> None:
    assert server.process is not None
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in mapped
    assert httpx.get(f"{server.url}/livez", trust_env=False).is_success
