"""The dated table of models, token ladders, tiers and latencies (`catalog.toml`), read once into frozen values."""

from __future__ import annotations

import fnmatch
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["image", "chat"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as `GET /models` lists it. created: Unix seconds. shutdown_date: "YYYY-MM-DD" or None."""

    id: str
    kind: Kind
    created: int
    shutdown_date: str | None = None


@dataclass(frozen=True, slots=True)
class Ladder:
    """Output tokens by quality: a factor q for the formula, or fixed figures for three shapes."""

    models: tuple[str, ...]
    q: Mapping[str, int] | None = None
    square: Mapping[str, int] | None = None
    portrait: Mapping[str, int] | None = None
    landscape: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Median seconds of one picture of 1024x1024 by quality."""

    models: tuple[str, ...]
    median: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tier:
    """Limits a minute."""

    tokens: int
    images: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole table."""

    models: Mapping[str, Model]
    ladders: tuple[Ladder, ...]
    latencies: tuple[Latency, ...]
    tiers: Mapping[int, Tier]

    def default_model(self, kind: Kind) -> str:
        """The model that answers where a request names none."""
        return next(model.id for model in self.models.values() if model.kind == kind)

    def ladder(self, model: str) -> Ladder:
        """How the model's pictures are counted in tokens."""
        return next(ladder for ladder in self.ladders if _matches(model, ladder.models))

    def latency(self, model: str) -> Latency:
        """How long the model's pictures take."""
        return next(latency for latency in self.latencies if _matches(model, latency.models))


@functools.cache
def load_catalog() -> Catalog:
    """The table that ships beside this module."""
    table: dict[str, Any] = tomllib.loads(
        resources.files("cache_service.simulator").joinpath("catalog.toml").read_text(encoding="utf-8")
    )
    models = [Model(**row) for row in table["models"]]
    return Catalog(
        models={model.id: model for model in models},
        ladders=tuple(Ladder(**{**row, "models": tuple(row["models"])}) for row in table["ladders"]),
        latencies=tuple(Latency(**{**row, "models": tuple(row["models"])}) for row in table["latencies"]),
        tiers={int(number): Tier(**row) for number, row in table["tiers"].items()},
    )


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns)
