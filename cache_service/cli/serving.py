"""`serve`, `simulate` and `config show`."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from cache_service import config
from cache_service.cli.common import AsJson, ConfigFile, Overrides, print_json, settings_from


def serve(config_file: ConfigFile = None, overrides: Overrides = None) -> None:
    """Serve in the foreground until TERM or Ctrl-C."""
    from cache_service.server import run

    sys.exit(run(settings_from(config_file, overrides), lambda: settings_from(config_file, overrides)))


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


def config_show(config_file: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Every setting, its value (secrets masked) and where it came from."""
    settings, origin = config.load(os.environ, config_file=config_file, overrides=overrides or ())
    values = config.masked(settings)
    if as_json:
        print_json({name: {"value": value, "origin": origin[name]} for name, value in values.items()})
        return
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name:{width}}  {json.dumps(value)}  ({origin[name]})")
