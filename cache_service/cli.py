"""The commands: `cache-service serve | simulate | warm | purge | alerts | roi | check | reindex | backup | restore | evaluate | calibrate | config show`.

Exit codes: 0 done; 1 an error, said on stderr; 2 wrong usage; 3 done in part (failed rows, problems found, alerts that fire); 70 storage failed for good.
Each command imports what it needs when it runs, so that `--help` is quick and none pays for another's libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cache_service import config
from cache_service.errors import CacheServiceError, ConfigurationError

if TYPE_CHECKING:
    import httpx

    from cache_service.config import Settings
    from cache_service.jobs.warm import WarmReport

EXIT_ERROR = 1
EXIT_PARTLY = 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help=__doc__.splitlines()[0] if __doc__ else "",
)
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
app.add_typer(config_app, name="config")

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; else CACHE_SERVICE_CONFIG.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable, wins over all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
OperationName = Annotated[str, typer.Option("--operation", help="images or chat.")]


def main() -> None:
    """Runs the command line; turns the service's own errors into one line on stderr."""
    try:
        app()
    except CacheServiceError as error:
        typer.echo(f"cache-service: {error}", err=True)
        sys.exit(EXIT_ERROR)


@app.command()
def serve(config_file: ConfigFile = None, overrides: Overrides = None) -> None:
    """Serve in the foreground until TERM or Ctrl-C."""
    from cache_service.server import run

    sys.exit(run(_settings(config_file, overrides), lambda: _settings(config_file, overrides)))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 9000,
    latency: Annotated[
        str, typer.Option(help="Seconds an answer takes, or `real` (6 to 120 s, by model and size).")
    ] = "real",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse unknown models and odd parameters as OpenAI does.")
    ] = False,
    tier: Annotated[int | None, typer.Option(min=1, max=5, help="Limits of that OpenAI tier; none if unset.")] = None,
) -> None:
    """Serve a faithful upstream that costs nothing, in the foreground."""
    from cache_service import bootstrap

    bootstrap.simulate(host=host, port=port, latency=latency, strict=strict, tier=tier)


@config_app.command("show")
def config_show(config_file: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Every setting, its value (secrets masked) and where it came from."""
    settings, origin = config.load(os.environ, config_file=config_file, overrides=overrides or ())
    values = config.masked(settings)
    if as_json:
        _print_json({name: {"value": value, "origin": origin[name]} for name, value in values.items()})
        return
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name:{width}}  {json.dumps(value)}  ({origin[name]})")


@app.command()
def purge(
    key: Annotated[str | None, typer.Option(help="Exact key (as in Cache-Status).")] = None,
    prompt: Annotated[str | None, typer.Option(help="This prompt, whatever its parameters.")] = None,
    similar_to: Annotated[str | None, typer.Option(help="Prompts similar to this one.")] = None,
    similarity: Annotated[float | None, typer.Option(min=0, max=1, help="Least cosine for --similar-to.")] = None,
    tag: Annotated[str | None, typer.Option(help="Entries with this Cache-Tag.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Entries of this namespace.")] = None,
    operation: Annotated[str | None, typer.Option(help="images or chat.")] = None,
    model: Annotated[str | None, typer.Option(help="Entries asked of this model.")] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Entries generated more than so many seconds ago.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything; asks, or needs --yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and change nothing.")] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Delete entries; all conditions given must match. Goes to the running service, if there is one."""
    from cache_service.jobs.purge import CONFIRMATION

    if everything and not dry_run and not yes:
        typer.confirm("Delete every entry?", abort=True, err=True)
    body: dict[str, Any] = {
        "key": key,
        "prompt": prompt,
        "similar_to": similar_to,
        "similarity": similarity,
        "tag": tag,
        "namespace": namespace,
        "operation": operation,
        "model": model,
        "older_than": older_than,
        "all": everything or None,
        "confirm": CONFIRMATION if everything else None,
    }
    body = {name: value for name, value in body.items() if value is not None} | {"dry_run": dry_run}
    answer = _run(_post_admin("/admin/purge", body, _settings(config_file, overrides)))
    if as_json:
        _print_json(answer)
    else:
        typer.echo(f"{answer['count']} entries {'would be deleted' if dry_run else 'deleted'}")


@app.command()
def alerts(
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the alerts as a rule file for Prometheus instead; needs no service.")
    ] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Which alerts fire in the running service. Exit code 3 if any does."""
    settings = _settings(config_file, overrides)
    if rules:
        from cache_service import bootstrap
        from cache_service.instrumentation.alert_rules import as_yaml

        typer.echo(as_yaml(bootstrap.alert_thresholds(settings)), nl=False)
        return
    answer = _run(_get_admin("/admin/alerts", {}, settings))
    if as_json:
        _print_json(answer)
    else:
        for alert in answer["alerts"]:
            typer.echo(f"{alert['severity']:8} {alert['name']}: {alert['text']}")
        typer.echo(f"{len(answer['alerts'])} alerts" if answer["alerts"] else "nothing fires")
    if answer["alerts"]:
        sys.exit(EXIT_PARTLY)


@app.command()
def roi(
    days: Annotated[int, typer.Option(min=1, max=3660, help="Days back, today included.")] = 30,
    operation: Annotated[str | None, typer.Option(help="images or chat; else both.")] = None,
    wrong_answer_usd: Annotated[float, typer.Option(min=0, help="What one wrong answer costs.")] = 0.0,
    wrong_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of semantic hits that are wrong; else what feedback says.")
    ] = None,
    running_usd_per_month: Annotated[float, typer.Option(min=0, help="What running the service costs.")] = 0.0,
    one_off_usd: Annotated[float, typer.Option(min=0, help="What it cost to set up.")] = 0.0,
    labour_hours: Annotated[float, typer.Option(min=0, help="Hours of work saved a month.")] = 0.0,
    labour_rate: Annotated[float, typer.Option(min=0, help="USD an hour.")] = 0.0,
    failure_before: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that failed without it.")
    ] = 0.0,
    failure_after: Annotated[float, typer.Option(min=0, max=1, help="Share that fails with it.")] = 0.0,
    failure_usd: Annotated[float, typer.Option(min=0, help="What a failed request costs; else a generation.")] = 0.0,
    compare: Annotated[bool, typer.Option("--compare", help="Also price the same traffic by every model.")] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """What the cache saved by measured traffic, with ranges, and at which hit rate it pays for itself."""
    from cache_service.roi_text import lines

    query = {
        "days": days,
        "operation": operation,
        "wrong_answer_usd": wrong_answer_usd,
        "wrong_share": wrong_share,
        "running_usd_per_month": running_usd_per_month,
        "one_off_usd": one_off_usd,
        "labour_hours": labour_hours,
        "labour_rate": labour_rate,
        "failure_before": failure_before,
        "failure_after": failure_after,
        "failure_usd": failure_usd,
        "compare": "true" if compare else None,
    }
    given = {name: value for name, value in query.items() if value is not None}
    answer = _run(_get_admin("/admin/roi", given, _settings(config_file, overrides)))
    if as_json:
        _print_json(answer)
    else:
        typer.echo("\n".join(lines(answer)))


@app.command()
def check(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended; no server may be running.")] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compare database, pictures and index with each other. Exit code 3 if anything is wrong (and not mended)."""
    from cache_service import bootstrap

    problems = _run(bootstrap.check(_settings(config_file, overrides), fix=fix))
    if as_json:
        _print_json([{"kind": p.kind, "detail": p.detail, "fixed": p.fixed} for p in problems])
    else:
        for problem in problems:
            typer.echo(f"{'fixed' if problem.fixed else 'found'}: {problem.kind}: {problem.detail}")
        typer.echo(f"{len(problems)} problems" if problems else "nothing found")
    if any(not problem.fixed for problem in problems):
        sys.exit(EXIT_PARTLY)


@app.command()
def reindex(
    model: Annotated[str, typer.Option("--model", help="Name in manifest.toml of the model to compare with.")],
    sample: Annotated[int, typer.Option(min=1, help="Stored prompts looked up with either model.")] = 10_000,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Embed what is stored with another model too, and say what would be decided otherwise; what is served stays as it is."""
    from cache_service import bootstrap

    done, failed, found = _run(bootstrap.reindex(_settings(config_file, overrides), model, most=sample))
    if as_json:
        _print_json({"embedded": done, "failed": failed, "agreement": asdict(found)})
    else:
        typer.echo(f"{done} entries embedded with {model}, {failed} failed")
        changed = found.compared - found.same
        typer.echo(f"of {found.compared} stored prompts {changed} would be decided otherwise: {found.gained} hits gained, "
                   f"{found.lost} lost, {found.other} another entry")  # fmt: skip
        typer.echo(
            f"switch with embedding_model={model} and a restart; the old vectors stay, so the way back is the same"
        )
    if failed:
        sys.exit(EXIT_PARTLY)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Copy database and pictures, checked, to a new folder; the service may go on meanwhile."""
    from cache_service import bootstrap

    manifest = _run(bootstrap.back_up(_settings(config_file, overrides), target))
    if as_json:
        _print_json(asdict(manifest))
    else:
        typer.echo(
            f"{target}: database of {manifest.database_bytes} bytes, {manifest.blobs} pictures of {manifest.blob_bytes}"
        )
        for digest in manifest.damaged:
            typer.echo(f"not copied, being missing or damaged: picture {digest}", err=True)
    if manifest.damaged:
        sys.exit(EXIT_PARTLY)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="Folder that `backup` made.")],
    allow_damaged: Annotated[
        bool, typer.Option("--allow-damaged", help="Leave out pictures that don't match their digest.")
    ] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a data directory out of a backup. The settings say where; on PostgreSQL, pg_restore the database first."""
    from cache_service import bootstrap

    settings = _settings(config_file, overrides)
    manifest, damaged = _run(bootstrap.restore(settings, source, allow_damaged=allow_damaged))
    same_settings = bootstrap.settings_digest(settings) == manifest.settings
    if as_json:
        _print_json({**asdict(manifest), "damaged_now": damaged, "same_settings": same_settings})
    else:
        typer.echo(f"restored {manifest.blobs} pictures and the database into {settings.data_dir}")
        if not same_settings:
            typer.echo("the backup was made under other settings; `cache-service config show` prints the present ones")
    if damaged:
        sys.exit(EXIT_PARTLY)


@app.command()
def evaluate(
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="JSON lines of {a, b, same, category}, gzipped or not.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="LOG", help="A log of requests, replayed in order; as `warm` reads it."),
    ] = None,
    operation: OperationName = "images",
    profile: Annotated[str | None, typer.Option(help="strict or verified; else the settings'.")] = None,
    show_wrong: Annotated[bool, typer.Option("--wrong", help="Also list the pairs wrongly served.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw true hits against false hits: .svg or .png.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --replay: where pairs to judge go; else LOG.pairs.jsonl.")
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="With --replay: also the pairs that were compared and not served.")
    ] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Decide labelled pairs as the service would, b asked when a is stored; or replay a log, and see what would be served."""
    settings = _settings(config_file, _with_profile(overrides, profile))
    if (pairs is None) == (replay is None):
        raise ConfigurationError("name either labelled pairs (--pairs FILE) or a log of requests (--replay LOG)")
    if replay is not None:
        if plot is not None or show_wrong:
            raise ConfigurationError("a log has no labels: judge its pairs first, then --pairs with --plot or --wrong")
        target = out or replay.with_name(f"{replay.name}.pairs.jsonl")
        _replay(settings, replay, target, operation=operation, refused=refused, as_json=as_json)
    elif pairs is not None:
        _evaluate(settings, pairs, plot, operation=operation, show_wrong=show_wrong, as_json=as_json)


def _evaluate(
    settings: Settings, pairs: Path, plot: Path | None, *, operation: str, show_wrong: bool, as_json: bool
) -> None:
    from cache_service import bootstrap
    from cache_service.jobs import picture, report

    if plot is not None:
        picture.check(plot)
    result = _run(bootstrap.evaluate(settings, pairs, operation=operation))
    if plot is not None:
        title = f"{pairs.name}: {result.total.same} same pairs, {result.total.pairs - result.total.same} different ones"
        picture.draw(picture.curves(result, verifier=settings.verifier), plot, title=title)
    if as_json:
        wrong = {"wrong": result.wrong_as_json()} if show_wrong else {}
        _print_json(result.as_json() | result.bounds_as_json() | wrong)
        return
    for line in report.evaluation(result):
        typer.echo(line)
    if show_wrong:
        for row in result.wrong_as_json():
            typer.echo(f"{row['similarity']:.3f} {row['category']}: {row['a']!r} / {row['b']!r} ({row['reason']})")


def _replay(settings: Settings, log: Path, out: Path, *, operation: str, refused: bool, as_json: bool) -> None:
    from cache_service import bootstrap
    from cache_service.jobs import replay, report

    known = replay.judgements(out)
    result = _run(bootstrap.replay(settings, log, operation=operation))
    chosen = result.pairs(refused=refused)
    replay.write(chosen, out, known)
    if as_json:
        _print_json(result.as_json() | {"pairs_file": str(out)})
        return
    for line in report.replayed(result):
        typer.echo(line)
    typer.echo(f"{len(chosen)} pairs to judge in {out}: fill in `same`, then `cache-service evaluate --pairs {out}`")


@app.command()
def calibrate(
    images: Annotated[
        list[Path] | None, typer.Option("--images", metavar="FILE", help="Labelled pairs of image prompts; repeatable.")
    ] = None,
    chat: Annotated[
        list[Path] | None, typer.Option("--chat", metavar="FILE", help="Labelled pairs of chat turns; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the thresholds go; nothing is written if unset.")
    ] = None,
    allowed: Annotated[
        float | None,
        typer.Option(help="Share of hits that may be wrong; else the settings wrong_hits_images and _chat."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Where pairs are too few to show anything, keep the threshold in force.")
    ] = False,
    profile: Annotated[str | None, typer.Option(help="strict or verified; else the settings'.")] = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Choose the verifier's thresholds from labelled pairs, so that wrong hits stay within what is allowed, and say on what evidence."""
    from cache_service import bootstrap
    from cache_service.jobs import report

    if not images and not chat:
        raise ConfigurationError("name labelled pairs: --images FILE, --chat FILE or both")
    if allowed is not None and not 0 < allowed < 1:
        raise ConfigurationError(f"--allowed {allowed:g}: expected a share between 0 and 1, such as 0.01")
    settings = _settings(config_file, _with_profile(overrides, profile))
    files = {name: paths for name, paths in (("images", images), ("chat", chat)) if paths}
    result = _run(bootstrap.calibrate(settings, files, allowed=allowed, keep=keep, out=out))
    if as_json:
        _print_json(result.as_json())
    else:
        for line in report.calibration(result, verifier=settings.verifier):
            typer.echo(line)
        if out is not None and result.routes:
            typer.echo(
                f"\nwritten to {out}; CACHE_SERVICE_VERIFIER=learned CACHE_SERVICE_VERIFIER_THRESHOLDS={out} uses it"
            )
    if not result.routes:
        sys.exit(EXIT_PARTLY)


@app.command()
def warm(
    file: Annotated[Path, typer.Argument(help="txt (a prompt a line), jsonl or csv.")],
    operation: OperationName = "images",
    model: Annotated[str | None, typer.Option(help="Model for rows that name none.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Parameter for rows without it; repeatable."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="Requests at once; the limiter paces them anyway.")
    ] = 16,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="Begin nothing that could cost more in all.")] = None,
    allow_unknown_price: Annotated[
        bool, typer.Option("--allow-unknown-price", help="With a budget, begin also what has no known price.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there and what the rest may cost; generate nothing.")
    ] = False,
    via_batch_api: Annotated[
        bool,
        typer.Option("--via-batch-api", help="Generate through the upstream's Batch API: half price, within a day."),
    ] = False,
    client_name: Annotated[
        str | None, typer.Option("--client", help="Warm as this client of `client_keys`; else the first.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Warm as the first client of this namespace.")] = None,
    failures: Annotated[
        Path | None, typer.Option(help="Where failed rows go, readable by warm; else FILE.failed.jsonl.")
    ] = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fill the cache from a file. Run it again to resume: what is there is a hit and costs nothing."""
    from cache_service.jobs.warm import read_rows

    defaults = dict(_parameter(text) for text in parameter or ())
    if model:
        defaults["model"] = model
    rows = read_rows(file, operation=operation, defaults=defaults)
    settings = _settings(config_file, overrides)
    failed_file = failures or file.with_name(file.name + ".failed.jsonl")
    if not dry_run:
        _check_failures_file(failed_file, file)
    report = _run(
        _warm(
            settings,
            rows,
            concurrency=concurrency,
            budget_usd=budget_usd,
            allow_unknown_price=allow_unknown_price,
            via_batch_api=via_batch_api,
            dry_run=dry_run,
            quiet=as_json,
            client_name=client_name,
            namespace=namespace,
        )
    )
    if not dry_run:
        _write_failures(failed_file, report)
    if as_json:
        _print_json(report.as_json() | {"failures_file": str(failed_file) if report.failures and not dry_run else None})
    else:
        _print_warm(report, failed_file, dry_run=dry_run)
    if report.failed or report.skipped:
        sys.exit(EXIT_PARTLY)


async def _warm(
    settings: Settings,
    rows: list[Any],
    *,
    quiet: bool,
    client_name: str | None,
    namespace: str | None,
    **how: Any,
) -> WarmReport:
    from cache_service import bootstrap
    from cache_service.jobs.warm import warm as warm_rows
    from cache_service.progress import shown

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)  # what runs is paid: it ends, nothing more is begun
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    as_client = bootstrap.ClientChoice(client_name, namespace)
    async with bootstrap.client(settings, admin=False, choice=as_client) as client:
        with shown(len(rows), quiet=quiet, dry_run=how["dry_run"]) as progress:
            return await warm_rows(
                rows, client, estimate=bootstrap.estimate_usd(settings), stop=stop, progress=progress, **how
            )


async def _post_admin(path: str, body: dict[str, Any], settings: Settings) -> dict[str, Any]:
    from cache_service import bootstrap

    async with bootstrap.client(settings, admin=True) as client:
        answer = await client.post(path, json=body)
    return _told(answer)


async def _get_admin(path: str, query: dict[str, Any], settings: Settings) -> dict[str, Any]:
    from cache_service import bootstrap

    async with bootstrap.client(settings, admin=True) as client:
        answer = await client.get(path, params=query)
    return _told(answer)


def _told(answer: httpx.Response) -> dict[str, Any]:
    """What an admin route answered. Raises ConfigurationError."""
    if not answer.is_success:
        problem = answer.json()
        raise ConfigurationError(f"{answer.status_code}: {problem.get('detail') or problem.get('title')}")
    result: dict[str, Any] = answer.json()
    return result


def _check_failures_file(failed_file: Path, file: Path) -> None:
    """Before anything is paid: what fails must find its place. Raises ConfigurationError."""
    try:
        if failed_file.exists() and failed_file.samefile(file):
            raise ConfigurationError(f"{file} can't hold its own failures: name another file with --failures")
        failed_file.open("ab").close()
    except OSError as error:
        raise ConfigurationError(f"failed rows can't be written: {error}; name another file with --failures") from error


def _write_failures(failed_file: Path, report: WarmReport) -> None:
    """The failed rows in ASCII, so that half a surrogate pair can be written too. Without any, an older run's file goes."""
    if report.failures:
        failed_file.write_text("".join(json.dumps(row) + "\n" for row in report.failures), "ascii")
    elif failed_file.is_file():
        failed_file.unlink()


def _print_warm(report: WarmReport, failed_file: Path, *, dry_run: bool) -> None:
    generated = "to generate, at most about" if dry_run else "generated for"
    typer.echo(
        f"{report.total} rows: {report.hits} hits, {report.generated} {generated} {report.usd:.4f} USD, {report.failed} failed"
    )
    if report.unknown_price:
        typer.echo(f"no price is known for {report.unknown_price} of them")
    if report.skipped and report.stopped:
        typer.echo(f"{report.skipped} not begun ({report.stopped}); run it again to go on")
    elif report.skipped:
        typer.echo(f"{report.skipped} not begun: a budget can't hold what has no price (see --allow-unknown-price)")
    if report.failures and not dry_run:
        typer.echo(f"failed rows are in {failed_file}; `cache-service warm` reads it")


def _settings(config_file: Path | None, overrides: list[str] | None) -> Settings:
    return config.load(os.environ, config_file=config_file, overrides=overrides or ())[0]


def _with_profile(overrides: list[str] | None, profile: str | None) -> list[str]:
    return [*(overrides or ()), *([f"profile={profile}"] if profile else ())]


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
