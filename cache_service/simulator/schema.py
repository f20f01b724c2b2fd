"""A small value that fits a JSON schema, for tool arguments and structured answers. Pure; bounded in depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEEPEST = 12
"""Levels after which a recursive schema gets null."""


def instance(schema: object, *, text: str, root: object = None, depth: int = 0) -> Any:
    """A value that fits, as far as the common keywords go. text: stands where any string fits. root: holds `$defs`."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    root = schema if root is None else root
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return instance(_resolve(root, schema["$ref"]), text=text, root=root, depth=depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return instance(schema[name][0], text=text, root=root, depth=depth + 1)
    return _of_type(schema, text, root, depth)


def _of_type(schema: Mapping[str, Any], text: str, root: object, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None and "properties" in schema:
        kind = "object"
    match kind:
        case "object":
            properties = schema.get("properties")
            members = properties.items() if isinstance(properties, Mapping) else ()
            return {str(name): instance(part, text=text, root=root, depth=depth + 1) for name, part in members}
        case "array":
            least = schema.get("minItems")
            count = min(least, DEEPEST) if isinstance(least, int) and least > 0 else 1
            return [instance(schema.get("items"), text=text, root=root, depth=depth + 1)] * count
        case "integer" | "number":
            least = schema.get("minimum")
            return least if isinstance(least, int | float) else 1
        case "boolean":
            return True
        case "string":
            most = schema.get("maxLength")
            return text[: max(0, most)] if isinstance(most, int) else text
        case _:
            return None


def _resolve(root: object, reference: str) -> object:
    found: object = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found
