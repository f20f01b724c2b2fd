"""How far a long command is: a bar with time and money on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache_service.jobs.warm import WarmReport


@contextlib.contextmanager
def shown(total: int, *, quiet: bool) -> Iterator[Callable[[WarmReport], None]]:
    """Gives what to call after each row. quiet: shows nothing."""
    if quiet:
        yield lambda report: None
    elif sys.stderr.isatty():
        with _bar(total) as update:
            yield update
    else:
        yield _lines(total)


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[WarmReport], None]]:
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
        task = progress.add_task("warming", total=total, money="")
        yield lambda report: progress.update(
            task, completed=report.done, money=f"{report.hits} hits, {report.failed} failed, {report.usd:.4f} USD"
        )


def _lines(total: int) -> Callable[[WarmReport], None]:
    step = max(1, total // 20)

    def update(report: WarmReport) -> None:
        if report.done % step == 0 or report.done == total:
            text = f"{report.done}/{total}: {report.hits} hits, {report.generated} generated, {report.failed} failed, {report.usd:.4f} USD"
            print(text, file=sys.stderr, flush=True)  # noqa: T201  a command's output

    return update
