"""How far a long command is: a bar with time and money on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache_service.jobs.warm import WarmReport


@contextlib.contextmanager
def shown(total: int, *, quiet: bool, dry_run: bool = False) -> Iterator[Callable[[WarmReport], None]]:
    """Gives what to call after each row. quiet: shows nothing. dry_run: what is missing is counted, not generated."""
    if quiet:
        yield lambda report: None
    elif sys.stderr.isatty():
        with _bar(total, dry_run) as update:
            yield update
    else:
        yield _lines(total, dry_run)


@contextlib.contextmanager
def _bar(total: int, dry_run: bool) -> Iterator[Callable[[WarmReport], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[money]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("counting" if dry_run else "warming", total=total, money="")
        yield lambda report: progress.update(task, completed=report.done, money=_counted(report, dry_run))


def _lines(total: int, dry_run: bool) -> Callable[[WarmReport], None]:
    step = max(1, total // 20)

    def update(report: WarmReport) -> None:
        if report.done % step == 0 or report.done == total:
            text = f"{report.done}/{total}: {_counted(report, dry_run)}"
            print(text, file=sys.stderr, flush=True)  # noqa: T201  a command's output

    return update


def _counted(report: WarmReport, dry_run: bool) -> str:
    generated, most = ("to generate", "at most about ") if dry_run else ("generated", "")
    return f"{report.hits} hits, {report.generated} {generated}, {report.failed} failed, {most}{report.usd:.4f} USD"
