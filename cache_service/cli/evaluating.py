"""`evaluate` and `calibrate`: how right hits are, and thresholds that make them so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    with_profile,
)
from cache_service.errors import ConfigurationError

if TYPE_CHECKING:
    from cache_service.config import Settings


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
    settings = settings_from(config_file, with_profile(overrides, profile))
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
    result = run_to_end(bootstrap.evaluate(settings, pairs, operation=operation))
    if plot is not None:
        title = f"{pairs.name}: {result.total.same} same pairs, {result.total.pairs - result.total.same} different ones"
        picture.draw(picture.curves(result, verifier=settings.verifier), plot, title=title)
    if as_json:
        wrong = {"wrong": result.wrong_as_json()} if show_wrong else {}
        print_json(result.as_json() | result.bounds_as_json() | wrong)
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
    result = run_to_end(bootstrap.replay(settings, log, operation=operation))
    chosen = result.pairs(refused=refused)
    replay.write(chosen, out, known)
    if as_json:
        print_json(result.as_json() | {"pairs_file": str(out)})
        return
    for line in report.replayed(result):
        typer.echo(line)
    typer.echo(f"{len(chosen)} pairs to judge in {out}: fill in `same`, then `cache-service evaluate --pairs {out}`")


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
    settings = settings_from(config_file, with_profile(overrides, profile))
    files = {name: paths for name, paths in (("images", images), ("chat", chat)) if paths}
    result = run_to_end(bootstrap.calibrate(settings, files, allowed=allowed, keep=keep, out=out))
    if as_json:
        print_json(result.as_json())
    else:
        for line in report.calibration(result, verifier=settings.verifier):
            typer.echo(line)
        if out is not None and result.routes:
            typer.echo(
                f"\nwritten to {out}; CACHE_SERVICE_VERIFIER=learned CACHE_SERVICE_VERIFIER_THRESHOLDS={out} uses it"
            )
    if not result.routes:
        sys.exit(EXIT_PARTLY)
