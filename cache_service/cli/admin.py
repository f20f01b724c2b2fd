"""`purge`, `alerts` and `roi`: what the admin routes of the running service do, or of one that is opened for the moment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache_service.cli.common import EXIT_PARTLY, AsJson, ConfigFile, Overrides, print_json, run_to_end, settings_from
from cache_service.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

    from cache_service.config import Settings


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
    answer = run_to_end(_post_admin("/admin/purge", body, settings_from(config_file, overrides)))
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['count']} entries {'would be deleted' if dry_run else 'deleted'}")


def alerts(
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the alerts as a rule file for Prometheus instead; needs no service.")
    ] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Which alerts fire in the running service. Exit code 3 if any does."""
    settings = settings_from(config_file, overrides)
    if rules:
        from cache_service import bootstrap
        from cache_service.instrumentation.alert_rules import as_yaml

        typer.echo(as_yaml(bootstrap.alert_thresholds(settings)), nl=False)
        return
    answer = run_to_end(_get_admin("/admin/alerts", {}, settings))
    if as_json:
        print_json(answer)
    else:
        for alert in answer["alerts"]:
            typer.echo(f"{alert['severity']:8} {alert['name']}: {alert['text']}")
        typer.echo(f"{len(answer['alerts'])} alerts" if answer["alerts"] else "nothing fires")
    if answer["alerts"]:
        sys.exit(EXIT_PARTLY)


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
    compare: Annotated[
        bool, typer.Option("--compare", help="Also price the same traffic by every model and provider.")
    ] = False,
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
    answer = run_to_end(_get_admin("/admin/roi", given, settings_from(config_file, overrides)))
    if as_json:
        print_json(answer)
    else:
        typer.echo("\n".join(lines(answer)))


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
