"""Reads the catalog of models: the dated data file beside this one, and what the operator's own file lays over it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from cache_service.errors import ConfigurationError
from cache_service.upstream.cost import Catalog, parse_catalog
from cache_service.upstream.offers import Offers, parse_offers


def packaged_catalog() -> Traversable:
    """The catalog that comes with the package."""
    return files("cache_service.upstream") / "catalog.toml"


def load_catalog(path: Traversable | Path, over: Path | None = None) -> Catalog:
    """Tokens and prices in that file, with `over` laid over it. Raises ConfigurationError."""
    return parse_catalog(read_catalog(path, over))


def load_offers(path: Traversable | Path, over: Path | None = None) -> Offers:
    """Models, presets and profiles in that file, with `over` laid over it. Raises ConfigurationError."""
    return parse_offers(read_catalog(path, over))


def read_catalog(path: Traversable | Path, over: Path | None = None) -> Mapping[str, Any]:
    """The file's tables; a table of `over` is merged into the one of its name, any other value takes its place."""
    data = _read(path)
    return data if over is None else _laid_over(data, _read(over))


def _read(path: Traversable | Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the catalog of models {path} can't be read: {error}") from error


def _laid_over(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(data)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
