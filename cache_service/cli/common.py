"""What the commands share: options, exit codes, settings read from them, JSON on stdout."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cache_service import config

if TYPE_CHECKING:
    from cache_service.config import Settings

EXIT_ERROR = 1
EXIT_PARTLY = 3

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; else CACHE_SERVICE_CONFIG.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable, wins over all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
OperationName = Annotated[str, typer.Option("--operation", help="images or chat.")]


def settings_from(config_file: Path | None, overrides: list[str] | None) -> Settings:
    """The settings that the options name. Raises ConfigurationError."""
    return config.load(os.environ, config_file=config_file, overrides=overrides or ())[0]


def with_profile(overrides: list[str] | None, profile: str | None) -> list[str]:
    """The overrides, a profile among them where one is named."""
    return [*(overrides or ()), *([f"profile={profile}"] if profile else ())]


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns, run in a loop of its own: uvloop's, as in the server, where there is one."""
    try:
        from uvloop import run
    except ImportError:
        return asyncio.run(work)
    return run(work)


def print_json(value: Any) -> None:
    """Indented, in the characters as they are."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
