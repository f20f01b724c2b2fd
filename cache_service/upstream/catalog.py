"""Reads the catalog of models: the dated data file beside this one, or another that the operator names."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cache_service.errors import ConfigurationError
from cache_service.upstream.cost import Catalog, parse_catalog


def packaged_catalog() -> Traversable:
    """The catalog that comes with the package."""
    return files("cache_service.upstream") / "catalog.toml"


def load_catalog(path: Traversable | Path) -> Catalog:
    """The catalog in that file. Raises ConfigurationError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the catalog of models {path} can't be read: {error}") from error
    return parse_catalog(text)
