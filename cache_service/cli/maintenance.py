"""`check`, `reindex`, `backup` and `restore`: what is stored, as a whole."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cache_service.cli.common import EXIT_PARTLY, AsJson, ConfigFile, Overrides, print_json, run_to_end, settings_from


def check(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended; no server may be running.")] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compare database, pictures and index with each other. Exit code 3 if anything is wrong (and not mended)."""
    from cache_service import bootstrap

    problems = run_to_end(bootstrap.check(settings_from(config_file, overrides), fix=fix))
    if as_json:
        print_json([{"kind": p.kind, "detail": p.detail, "fixed": p.fixed} for p in problems])
    else:
        for problem in problems:
            typer.echo(f"{'fixed' if problem.fixed else 'found'}: {problem.kind}: {problem.detail}")
        typer.echo(f"{len(problems)} problems" if problems else "nothing found")
    if any(not problem.fixed for problem in problems):
        sys.exit(EXIT_PARTLY)


def reindex(
    model: Annotated[str, typer.Option("--model", help="Name in manifest.toml of the model to compare with.")],
    sample: Annotated[int, typer.Option(min=1, help="Stored prompts looked up with either model.")] = 10_000,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Embed what is stored with another model too, and say what would be decided otherwise; what is served stays as it is."""
    from cache_service import bootstrap

    done, failed, found = run_to_end(bootstrap.reindex(settings_from(config_file, overrides), model, most=sample))
    if as_json:
        print_json({"embedded": done, "failed": failed, "agreement": asdict(found)})
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


def backup(
    target: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Copy database and pictures, checked, to a new folder; the service may go on meanwhile."""
    from cache_service import bootstrap

    manifest = run_to_end(bootstrap.back_up(settings_from(config_file, overrides), target))
    if as_json:
        print_json(asdict(manifest))
    else:
        typer.echo(
            f"{target}: database of {manifest.database_bytes} bytes, {manifest.blobs} pictures of {manifest.blob_bytes}"
        )
        for digest in manifest.damaged:
            typer.echo(f"not copied, being missing or damaged: picture {digest}", err=True)
    if manifest.damaged:
        sys.exit(EXIT_PARTLY)


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

    settings = settings_from(config_file, overrides)
    manifest, damaged = run_to_end(bootstrap.restore(settings, source, allow_damaged=allow_damaged))
    same_settings = bootstrap.settings_digest(settings) == manifest.settings
    if as_json:
        print_json({**asdict(manifest), "damaged_now": damaged, "same_settings": same_settings})
    else:
        typer.echo(f"restored {manifest.blobs} pictures and the database into {settings.data_dir}")
        if not same_settings:
            typer.echo("the backup was made under other settings; `cache-service config show` prints the present ones")
    if damaged:
        sys.exit(EXIT_PARTLY)
