"""Writes the pages of the reference that are tables of the code: `python docs/generate_reference.py`."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from prometheus_client import Counter
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from cache_service.config import CONFIG_VARIABLE, PREFIX, NamespaceBound, Settings
from cache_service.config_upstreams import Alternative, LimitPool, OrganizationLimits
from cache_service.instrumentation import alert_rules, gauges, hot, prometheus
from cache_service.instrumentation.alerts import PROFILES

sys.path.insert(0, str(Path(__file__).parent))  # as Python does itself where this file is run
from dashboard import dashboard

REFERENCE = Path(__file__).parent / "reference"
SETTINGS = f"""# Settings

<!-- Written by docs/generate_reference.py from cache_service/config.py: change the descriptions there. -->

A value comes from the first of these that has one: `--set name=value`, a variable `{PREFIX}NAME`, the TOML file that
`--config` or `{CONFIG_VARIABLE}` names, the default. `cache-service config show` prints every value, secrets masked, and
where it came from. An unknown name is an error that names the nearest one.

Durations are seconds, sizes bytes, money USD. Lists are separated by commas in variables, arrays in TOML. In TOML a setting
is written in lower case and without the prefix: `port = 8000`.
"""

METRICS = """# Metrics

<!-- Written by docs/generate_reference.py from cache_service/instrumentation/prometheus.py: change the words there. -->

`GET /metrics` answers in Prometheus's text format. Where client keys are configured it needs one: `authorization` in the scrape
configuration. Durations are seconds, money is USD. Tenants and prompts are no labels, models only those of the catalog, and API keys appear by name only.
Every series that can be known is there from the start.
Beside these there are the usual `process_*` and `python_gc_*`.
"""


def settings_page() -> str:
    """Every setting."""
    pools = (
        "## `[[upstream_pools]]`\n\n"
        "One limit pool of the upstream: an organisation's or a project's limits, shared by its keys. In the TOML file only.\n\n"
        '```toml\n[[upstream_pools]]\nname = "design-team"\napi_keys = ["sk-…", "sk-…"]\n'
        "images_per_minute = 50\ntokens_per_minute = 800000\n```\n\n"
        "A limit that is left out is the profile's (`upstream_profile` where the pool has none), else it isn't held; `max_in_flight` is\n"
        "then `upstream_max_in_flight`.\n\n"
    )
    bounds = (
        "## `[[namespace_bounds]]`\n\n"
        "Bounds of one namespace, in place of `namespace_max_entries` and `namespace_max_blob_bytes`; one that is left out isn't held. "
        "In the TOML file only.\n\n"
        '```toml\n[[namespace_bounds]]\nname = "design-team"\nmax_entries = 100000\n```\n\n'
    )
    organizations = (
        "\n## `[[upstream_organizations]]`\n\n"
        "An organisation's limits, shared by all pools that name it. In the TOML file only.\n\n"
    )
    alternatives = (
        "## `[[upstream_alternatives]]`\n\n"
        "A provider that the fallback's `alternative-provider` may ask, in the order of the file. In the TOML file only.\n\n"
        '```toml\n[[upstream_alternatives]]\nname = "second"\nbase_url = "https://images.example/v1"\napi_keys = ["…"]\n'
        'models = { "gpt-image-2" = "their-model" }\n```\n\n'
        "`models` is what it calls a model (`\"*\"` for any other); a model that isn't named isn't asked for there, unless there is no such\n"
        "table. `drop` names parameters that it doesn't take. `pools` are as `[[upstream_pools]]`; the limits beside `api_keys` are of those keys.\n\n"
    )
    tables = (
        f"{pools}{_table(LimitPool, '')}{organizations}{_table(OrganizationLimits, '')}\n"
        f"{alternatives}{_table(Alternative, '')}\n{bounds}{_table(NamespaceBound, '')}"
    )
    return f"{SETTINGS}\n{_table(Settings, PREFIX)}\n{tables}"


def metrics_page() -> str:
    """Every metric, and the words that its labels may hold."""
    rows = [["metric", "type", "labels", "meaning"], ["---"] * 4]
    for name, (kind, text, labels) in prometheus.METRICS.items():
        full = f"`cache_service_{name}{'_total' if kind is Counter else ''}`"
        rows.append([full, kind.__name__.lower(), ", ".join(f"`{label}`" for label in labels), text])
    for name, (text, labels) in gauges.GAUGES.items():
        rows.append([f"`cache_service_{name}`", "gauge", ", ".join(f"`{label}`" for label in labels), text])
    for name, text in hot.HOT.items():
        counts = name not in ("hot_held", "hot_held_bytes")
        rows.append(
            [f"`cache_service_{name}{'_total' if counts else ''}`", "counter" if counts else "gauge", "`tier`", text]
        )
    words = {
        "operation": prometheus.OPERATIONS,
        "decision": tuple(dict.fromkeys(decision for decision, _ in prometheus.DECISIONS)),
        "kind": tuple(dict.fromkeys(kind for _, kind in prometheus.DECISIONS if kind)),
        "reason (of a miss)": prometheus.REASONS,
        "reason (not stored)": prometheus.NOT_STORED,
        "class": prometheus.ERRORS,
        "quality": tuple(quality or "(none)" for quality in prometheus.QUALITIES),
        "dimension": tuple(gauges.DIMENSIONS),
        "scope": ("client", "day", "total"),
        "step": prometheus.STEPS,
        "verdict": prometheus.VERDICTS,
        "verdict (feedback)": prometheus.JUDGEMENTS,
        "mode": prometheus.MODES,
        "outcome (of a call)": prometheus.OUTCOMES,
        "outcome (of an item)": prometheus.BATCH_OUTCOMES,
        "outcome (recovered)": prometheus.RECOVERED,
        "stage": prometheus.STAGES,
        "tier": prometheus.TIERS,
        "tier (held in memory)": hot.TIERS,
        "cause": prometheus.CAUSES,
        "reason (of a cut)": prometheus.CUT,
    }
    values = [
        ["label", "values"],
        ["---"] * 2,
        *([label, ", ".join(f"`{v}`" for v in known)] for label, known in words.items()),
    ]
    return (
        f"{METRICS}\n{_rows(rows)}\n## Labels\n\nA word that isn't listed is counted as `{prometheus.OTHER}`; `key` is the name of "
        f"an API key and `pool` of its limit pool, at most {prometheus.MAX_KEY_NAMES} keys; `model` is one of the catalog.\n\n{_rows(values)}"
    )


def _rows(rows: Iterable[list[str]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _table(model: type[BaseModel], prefix: str) -> str:
    fields = model.model_fields
    described = any(field.description for field in fields.values())
    rows = [["setting", "value", "default", "meaning"], ["---"] * 4]
    for name, field in fields.items():
        shown = f"`{prefix}{name.upper()}`" if prefix else f"`{name}`"
        rows.append([shown, _type(field), _default(field), (field.description or "").replace("|", "\\|")])
    return _rows(row if described else row[:3] for row in rows)


def _type(field: FieldInfo) -> str:
    words = " or ".join(_words(field.annotation))
    bounds = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if getattr(limit, attribute, None) is not None
    ]
    return " ".join([words, ", ".join(bounds)]).strip()


def _words(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin is Literal:
        return [f"`{value}`" for value in get_args(annotation)]
    if origin in (Union, types.UnionType):
        return [word for part in get_args(annotation) if part is not types.NoneType for word in _words(part)]
    if origin is tuple and get_origin(get_args(annotation)[0]) is tuple:
        return ["list of `name=seconds`"]
    if origin is dict:
        return ["table"]
    if origin is Annotated:
        return _words(get_args(annotation)[0])
    if origin is tuple:
        words = _words(get_args(annotation)[0])
        return [f"list of {', '.join(words) if words[0].startswith('`') else words[0] + 's'}"]
    names = {
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
        LimitPool: "table",
        NamespaceBound: "table",
        OrganizationLimits: "table",
        Alternative: "table",
        bool: "boolean",
    }
    return [names[annotation]]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}

OPERATIONS_FILES = {
    "prometheus-alerts.yml": lambda: alert_rules.as_yaml(PROFILES["own-baseline"]),
    "prometheus-alerts-fixed.yml": lambda: alert_rules.as_yaml(PROFILES["fixed"]),
    "grafana-dashboard.json": dashboard,
}

if __name__ == "__main__":
    for name, render in OPERATIONS_FILES.items():
        (REFERENCE.parent / "ops" / name).write_text(render(), "utf-8")
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render(), "utf-8")
