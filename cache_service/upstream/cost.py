"""Tokens before a call and money after it, from the catalog's figures. Pure.

What can't be known before a call (`auto`, an absent parameter, an unknown model) is taken as the most it can be: it is
reserved, and settled by the answer's `usage`. A price that isn't known is None, never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypeAlias

from cache_service.errors import ConfigurationError

Mode: TypeAlias = Literal["images", "chat"]

CHARACTERS_PER_TOKEN = 3.5
"""Below the 4 of English prose, so that an estimate errs upwards."""
USUAL_OUTPUT = 1024
"""Tokens of a chat answer where the request doesn't bound it; few are longer, and the call is settled by its usage."""
USUAL_SIZES = ("1024x1024", "1536x1024", "1024x1536")
MILLION = 1_000_000
_SIZE = re.compile(r"\d{2,5}x\d{2,5}", re.ASCII)
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per million tokens; None is not known."""

    text_in: float | None = None
    cached_text_in: float | None = None
    image_in: float | None = None
    cached_image_in: float | None = None
    text_out: float | None = None
    image_out: float | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share prices and token figures.

    ladder: the formula's q by quality. factor: by quality, 1 where absent. sizes: tokens by size and quality, no formula.
    """

    mode: Mode
    prices: Prices | None = None
    ladder: Mapping[str, int] = field(default_factory=dict)
    factor: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def image_tokens(self, size: str | None, quality: str | None) -> int:
        """Output tokens of one image; of the largest where size or quality isn't given or known."""
        size, quality = size or "auto", quality or "auto"
        if self.sizes:
            rows = [self.sizes[size]] if size in self.sizes else list(self.sizes.values())
            return max(row.get(quality, max(row.values())) for row in rows)
        sizes = [size] if _SIZE.fullmatch(size) else USUAL_SIZES
        edges = [(int(width), int(height)) for width, height in (name.split("x") for name in sizes)]
        qualities = [quality] if quality in self.ladder else list(self.ladder)
        return max(
            (
                math.ceil(self.factor.get(name, 1) * formula_tokens(self.ladder[name], width, height))
                for name in qualities
                for width, height in edges
            ),
            default=0,
        )


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its family, and the day from which it answers 404."""

    family: Family
    ends: date | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models that are known, as of a day. A dated snapshot ("gpt-image-2-2026-05-01") is its model."""

    as_of: date
    models: Mapping[str, Model]
    partial_image_tokens: int

    def find(self, model: str | None) -> Model | None:
        """The model, or None if it isn't known."""
        if model is None:
            return None
        return self.models.get(model) or self.models.get(_SNAPSHOT.sub("", model))

    def price_of(
        self, model: str, operation: str, *, size: str, quality: str, outputs: int, tokens_in: int, tokens_out: int
    ) -> float | None:
        """What so much would have cost, had that model made it; None where it can't, or no price is known.

        A picture by the model's own tokens for that size and quality, an answer by the tokens that it had.
        """
        found = self.find(model)
        if found is None or found.family.mode != operation or found.family.prices is None:
            return None
        prices = found.family.prices
        if operation == "images":
            tokens_out = outputs * self.image_tokens(model, size, quality)
        return _sum(
            (tokens_in, prices.text_in), (tokens_out, prices.image_out if operation == "images" else prices.text_out)
        )

    def alive(self, today: date) -> dict[str, list[str]]:
        """Models that answer on that day and have a price, by operation."""
        found: dict[str, list[str]] = {}
        for name, model in self.models.items():
            if model.family.prices is not None and (model.ends is None or model.ends > today):
                found.setdefault(model.family.mode, []).append(name)
        return found

    def qualities(self) -> dict[str, list[str]]:
        """Every model, and the qualities that a request for it may name; "" is none."""
        found: dict[str, list[str]] = {}
        for name, model in self.models.items():
            family = model.family
            own = {quality for row in family.sizes.values() for quality in row} | set(family.ladder)
            found[name] = ["", *(["auto", *sorted(own)] if family.mode == "images" else [])]
        return found

    def shutdown_date(self, model: str | None) -> date | None:
        """The day from which the model answers 404, if one is announced."""
        found = self.find(model)
        return found.ends if found else None

    def image_tokens(self, model: str | None, size: str | None, quality: str | None, partial_images: int = 0) -> int:
        """Output tokens of one image, at most. For an unknown model: of the model that uses the most."""
        found = self.find(model)
        families = [found.family] if found else [known.family for known in self.models.values()]
        most = max((family.image_tokens(size, quality) for family in families), default=0)
        return most + partial_images * self.partial_image_tokens

    def estimate_usd(self, model: str | None, size: str | None, quality: str | None, n: int) -> float | None:
        """What n images cost at most, without the prompt's tokens; None where the price isn't known."""
        found = self.find(model)
        prices = found.family.prices if found else None
        if prices is None or prices.image_out is None:
            return None
        return n * self.image_tokens(model, size, quality) * prices.image_out / MILLION

    def estimate_request(self, operation: str, request: Mapping[str, Any], n: int | None = None) -> float | None:
        """What a request may cost, its prompt included; None where no price is known. n: how many outputs, else as asked.

        A parameter of a wrong type counts as absent: the service or the upstream will refuse it.
        """
        model, count = _word(request.get("model")), n or _positive(request.get("n")) or 1
        found = self.find(model)
        if operation == "images":
            pictures = self.estimate_usd(model, _word(request.get("size")), _word(request.get("quality")), count)
            text_in = found.family.prices.text_in if found and found.family.prices else None
            if pictures is None or text_in is None:
                return pictures
            return pictures + text_tokens(len(str(request.get("prompt") or ""))) * text_in / MILLION
        allowed = (
            _positive(request.get("max_completion_tokens")) or _positive(request.get("max_tokens")) or USUAL_OUTPUT
        )
        usage = {"prompt_tokens": text_tokens(len(str(request.get("messages")))), "completion_tokens": count * allowed}
        return self.usd(model, usage)

    def usd(self, model: str | None, usage: Mapping[str, Any] | None) -> float | None:
        """What a call cost by its `usage` (of images or chat); None where the price or the usage isn't known."""
        found = self.find(model)
        if found is None or found.family.prices is None or usage is None:
            return None
        if "prompt_tokens" in usage:
            return _chat_usd(found.family.prices, usage)
        return _images_usd(found.family.prices, usage) if "output_tokens" in usage else None


def formula_tokens(q: int, width: int, height: int) -> int:
    """Output tokens of one image, by the formula of the catalog's head."""
    long, short = max(width, height), min(width, height)
    s = (2 * q * short + long) // (2 * long)
    return -(-q * s * (2 * MILLION + width * height) // (4 * MILLION))


def text_tokens(characters: int) -> int:
    """An estimate of a text's tokens, rather too high than too low."""
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def chat_tokens(characters: int, most_output: int) -> int:
    """What a chat call reserves: its messages' estimate and all the output it may have."""
    return text_tokens(characters) + most_output


def parse_catalog(data: Mapping[str, Any]) -> Catalog:
    """The tokens and prices that the catalog's tables hold. Raises ConfigurationError."""
    try:
        families = {name: _family(row) for name, row in data["families"].items()}
        models = {name: Model(families[row["family"]], row.get("ends")) for name, row in data["models"].items()}
        return Catalog(data["as_of"], models, data["partial_image_tokens"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the catalog of models can't be read: {error!r}") from error


def _family(row: Mapping[str, Any]) -> Family:
    prices, tokens = row.get("prices"), row.get("tokens", {})
    return Family(
        mode=row["mode"],
        prices=Prices(**prices) if prices is not None else None,
        ladder=tokens.get("ladder", {}),
        factor=tokens.get("factor", {}),
        sizes=tokens.get("sizes", {}),
    )


def _chat_usd(prices: Prices, usage: Mapping[str, Any]) -> float | None:
    cached = _count(_details(usage, "prompt_tokens_details").get("cached_tokens"))
    read = max(0, _count(usage.get("prompt_tokens")) - cached)
    return _sum(
        (read, prices.text_in),
        (cached, _first(prices.cached_text_in, prices.text_in)),
        (_count(usage.get("completion_tokens")), prices.text_out),
    )


def _images_usd(prices: Prices, usage: Mapping[str, Any]) -> float | None:
    """Where the details are missing, the input is text and the output pictures: the usual case of a generation."""
    read, made = _details(usage, "input_tokens_details"), _details(usage, "output_tokens_details")
    pictures_in = _count(read.get("image_tokens"))
    text_in = _count(read["text_tokens"]) if "text_tokens" in read else _count(usage.get("input_tokens")) - pictures_in
    cached = _details(read, "cached_tokens_details")
    cached_text = min(text_in, _count(cached.get("text_tokens") if cached else read.get("cached_tokens")))
    cached_pictures = min(pictures_in, _count(cached.get("image_tokens")))
    text_out = _count(made.get("text_tokens"))
    return _sum(
        (text_in - cached_text, prices.text_in),
        (cached_text, _first(prices.cached_text_in, prices.text_in)),
        (pictures_in - cached_pictures, prices.image_in),
        (cached_pictures, _first(prices.cached_image_in, prices.image_in)),
        (text_out, _first(prices.text_out, prices.image_out)),
        (max(0, _count(usage.get("output_tokens")) - text_out), prices.image_out),
    )


def _sum(*parts: tuple[int, float | None]) -> float | None:
    total = 0.0
    for tokens, price in parts:
        if tokens and price is None:
            return None
        total += tokens * (price or 0.0) / MILLION
    return total


def _first(*prices: float | None) -> float | None:
    return next((price for price in prices if price is not None), None)


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
