"""`warm`: fills the cache from a file."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache_service.cli.common import (
    EXIT_PARTLY,
    AsJson,
    ConfigFile,
    OperationName,
    Overrides,
    print_json,
    run_to_end,
    settings_from,
)
from cache_service.errors import ConfigurationError

if TYPE_CHECKING:
    from cache_service.config import Settings
    from cache_service.jobs.warm import WarmReport


def warm(
    file: Annotated[Path, typer.Argument(help="txt (a prompt a line), jsonl or csv.")],
    operation: OperationName = "images",
    model: Annotated[str | None, typer.Option(help="Model for rows that name none.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Parameter for rows without it; repeatable."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Requests at once; else as many as the service takes. The limiter paces them."
        ),
    ] = None,
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
    settings = settings_from(config_file, overrides)
    failed_file = failures or file.with_name(file.name + ".failed.jsonl")
    if not dry_run:
        _check_failures_file(failed_file, file)
    report = run_to_end(
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
        print_json(report.as_json() | {"failures_file": str(failed_file) if report.failures and not dry_run else None})
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


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


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
