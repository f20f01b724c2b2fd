"""The commands: `cache-service serve | simulate | warm | purge | alerts | roi | check | reindex | backup | restore | evaluate | calibrate | config show`.

Exit codes: 0 done; 1 an error, said on stderr; 2 wrong usage; 3 done in part (failed rows, problems found, alerts that fire); 70 storage failed for good.
Each command imports what it needs when it runs, so that `--help` is quick and none pays for another's libraries.
"""

from __future__ import annotations

import sys

import typer

from cache_service.cli.admin import alerts, purge, roi
from cache_service.cli.common import EXIT_ERROR
from cache_service.cli.evaluating import calibrate, evaluate
from cache_service.cli.maintenance import backup, check, reindex, restore
from cache_service.cli.serving import config_show, serve, simulate
from cache_service.cli.warming import warm
from cache_service.errors import CacheServiceError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help=__doc__.splitlines()[0] if __doc__ else "",
)
for command in (serve, simulate, purge, alerts, roi, check, reindex, backup, restore, evaluate, calibrate, warm):
    app.command()(command)  # `--help` lists them in this order
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
config_app.command("show")(config_show)
app.add_typer(config_app, name="config")


def main() -> None:
    """Runs the command line; turns the service's own errors into one line on stderr."""
    try:
        app()
    except CacheServiceError as error:
        typer.echo(f"cache-service: {error}", err=True)
        sys.exit(EXIT_ERROR)
