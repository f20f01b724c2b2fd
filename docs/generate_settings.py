"""Writes `reference/settings.md` from `cache_service.config.Settings`: `python docs/generate_settings.py`."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from cache_service.config import CONFIG_VARIABLE, PREFIX, LimitPool, Settings

PAGE = Path(__file__).parent / "reference" / "settings.md"
INTRODUCTION = f"""# Settings

<!-- Written by docs/generate_settings.py from cache_service/config.py: change the descriptions there. -->

A value comes from the first of these that has one: `--set name=value`, a variable `{PREFIX}NAME`, the TOML file that
`--config` or `{CONFIG_VARIABLE}` names, the default. `cache-service config show` prints every value, secrets masked, and
where it came from. An unknown name is an error that names the nearest one.

Durations are seconds, sizes bytes, money USD. Lists are separated by commas in variables, arrays in TOML. In TOML a setting
is written in lower case and without the prefix: `port = 8000`.
"""


def render() -> str:
    """The whole page."""
    pools = (
        "## `[[upstream_pools]]`\n\n"
        "One limit pool of the upstream: an organisation's or a project's limits, shared by its keys. In the TOML file only.\n\n"
        '```toml\n[[upstream_pools]]\nname = "design-team"\napi_keys = ["sk-…", "sk-…"]\n'
        "images_per_minute = 50\ntokens_per_minute = 800000\n```\n\n"
        "A limit that is left out isn't held; `max_in_flight` is then `upstream_max_in_flight`.\n\n"
    )
    return f"{INTRODUCTION}\n{_table(Settings, PREFIX)}\n{pools}{_table(LimitPool, '')}"


def _table(model: type[BaseModel], prefix: str) -> str:
    fields = model.model_fields
    described = any(field.description for field in fields.values())
    rows = [["setting", "value", "default", "meaning"], ["---"] * 4]
    for name, field in fields.items():
        shown = f"`{prefix}{name.upper()}`" if prefix else f"`{name}`"
        rows.append([shown, _type(field), _default(field), (field.description or "").replace("|", "\\|")])
    return "".join("| " + " | ".join(row if described else row[:3]) + " |\n" for row in rows)


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
    if origin is tuple:
        return [f"list of {_words(get_args(annotation)[0])[0]}s"]
    names = {
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
        LimitPool: "table",
        bool: "boolean",
    }
    return [names[annotation]]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if value is None or value == ():
        return "–"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
