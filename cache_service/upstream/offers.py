"""What models take, by the catalog: what a preset stands for, which lesser picture can be asked for, what a model would refuse. Pure.

Nothing here is needed to answer a request: parameters are the upstream's to judge unless the operator wants the catalog to
(`refuse_impossible`), and a model that isn't in the catalog has no lesser one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeAlias

from cache_service.errors import ConfigurationError, InvalidRequest

Body: TypeAlias = Mapping[str, Any]
"""A request's body, or some parameters of one."""

MEMBERS = ("preset", "use_case")
"""Members of a request that stand for parameters, and never leave this service."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class AnySize:
    """The rule for sizes that have no name. Edges and pixels in pixels; most_ratio: long edge to short edge."""

    multiple_of: int
    longest_edge: int
    most_ratio: float
    least_pixels: int
    most_pixels: int

    def objection(self, width: int, height: int) -> str:
        """Why a picture can't be of that size; "" if it can."""
        if width % self.multiple_of or height % self.multiple_of:
            return f"both edges must be multiples of {self.multiple_of}"
        if max(width, height) > self.longest_edge:
            return f"an edge may have at most {self.longest_edge} pixels"
        if max(width, height) > self.most_ratio * min(width, height):
            return f"the long edge may be at most {self.most_ratio:g} times the short one"
        if not self.least_pixels <= width * height <= self.most_pixels:
            return f"a picture has from {self.least_pixels} to {self.most_pixels} pixels"
        return ""


@dataclass(frozen=True, slots=True)
class Takes:
    """What models of one family take. qualities: from the least to the most. auto: the quality that `auto` is assumed to be."""

    qualities: tuple[str, ...] = ()
    auto: str | None = None
    sizes: tuple[str, ...] = ()
    any_size: AnySize | None = None
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offered:
    """One model. ends: the day from which it answers 404. instead: what to use then. lesser: what a fallback may go down to."""

    mode: str
    takes: Takes
    limits: str
    ends: date | None = None
    instead: str | None = None
    lesser: str | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """The catalog's models, words and profiles. presets, use_cases, dead: by operation; profiles: figures by `limits`, "*" for all."""

    models: Mapping[str, Offered]
    presets: Mapping[str, Mapping[str, Body]] = field(default_factory=dict)
    use_cases: Mapping[str, Mapping[str, Body]] = field(default_factory=dict)
    dead: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def find(self, model: Any) -> Offered | None:
        """The model, or None if it isn't known; a dated snapshot is its model."""
        if not isinstance(model, str):
            return None
        return self.models.get(model) or self.models.get(_SNAPSHOT.sub("", model))

    def expand(self, operation: str, body: Body) -> Body:
        """The body with the parameters that its `preset` and `use_case` stand for, and without these; explicit ones win.

        Raises InvalidRequest for a word that isn't known, saying which are.
        """
        if not any(member in body for member in MEMBERS):
            return body
        presets, use_cases = self.presets.get(operation, {}), self.use_cases.get(operation, {})
        use_case = _meaning("use_case", body.get("use_case"), use_cases)
        word = body.get("preset")
        preset = _meaning("preset", use_case.get("preset") if word is None else word, presets)
        explicit = {name: value for name, value in body.items() if value is not None}
        implied = {name: value for name, value in {**preset, **use_case}.items() if name not in MEMBERS}
        merged = {**body, **implied, **explicit}
        return {name: value for name, value in merged.items() if name not in MEMBERS}

    def lesser(self, operation: str, body: Body) -> Sequence[Body]:
        """Parameters that ask for less than the body does, the nearest first: lower qualities, then the lesser model."""
        offered = self.find(body.get("model"))
        if offered is None or offered.mode != operation:
            return ()
        ladder = offered.takes.qualities
        quality = _text(body.get("quality")) or "auto"
        quality = (offered.takes.auto or "") if quality == "auto" else quality
        below = ladder[: ladder.index(quality)] if quality in ladder else ()
        rungs: list[Body] = [{"quality": name} for name in reversed(below)]
        return rungs + ([{"model": offered.lesser}] if offered.lesser else [])

    def similar(self, operation: str, body: Body) -> Iterator[Body]:
        """Qualities and sizes of pictures that differ from the asked ones in nothing else, the most alike first.

        A value of None stands for a request that doesn't say.
        """
        offered = self.find(body.get("model"))
        if offered is None or offered.mode != operation or not offered.takes.sizes:
            return
        quality, size = _text(body.get("quality")), _text(body.get("size"))
        qualities = _nearest(quality, (*offered.takes.qualities, "auto", None))
        for one_size in sorted((size, *_nearest(size, (*offered.takes.sizes, "auto", None))), key=_unlike(size)):
            for one_quality in (quality, *qualities):
                if (one_quality, one_size) != (quality, size):
                    yield {"quality": one_quality, "size": one_size}

    def refuse_impossible(self, operation: str, body: Body, today: date) -> None:
        """Raises InvalidRequest for what the model is known to refuse, saying what to use instead."""
        for dead, advice in self.dead.get(operation, {}).items():
            if body.get(dead) is not None:
                raise InvalidRequest(
                    f"{dead} isn't known any more: {advice}.", param=dead, code="parameter_not_supported"
                )
        name = body.get("model")
        if not isinstance(name, str):
            return
        offered = self.find(name)
        alive = [
            known
            for known, model in self.models.items()
            if model.mode == operation and not (model.ends and model.ends <= today)
        ]
        if offered is None or offered.mode != operation:
            raise InvalidRequest(
                f"{name[:64]!a} is no model for {operation} that the catalog knows; use one of: {', '.join(alive)}.",
                param="model",
                code="model_unknown",
            )
        if offered.ends is not None and offered.ends <= today:
            instead = offered.instead or f"one of: {', '.join(alive)}"
            raise InvalidRequest(
                f"{name} was shut down on {offered.ends}; use {instead}.", param="model", code="model_shut_down"
            )
        if operation == "images":
            self._refuse_picture(name, offered.takes, body)

    def _refuse_picture(self, model: str, takes: Takes, body: Body) -> None:
        quality, size = body.get("quality"), body.get("size")
        if isinstance(quality, str) and quality not in (*takes.qualities, "auto"):
            allowed = ", ".join((*takes.qualities, "auto"))
            raise InvalidRequest(
                f"{model} has no quality {quality[:32]!a}; use one of: {allowed}.",
                param="quality",
                code="quality_not_supported",
            )
        if isinstance(size, str) and (objection := _objection(takes, size)):
            raise InvalidRequest(
                f"{model} makes no picture of size {size[:32]!a}: {objection}. Use {', '.join((*takes.sizes, 'auto'))}.",
                param="size",
                code="size_not_supported",
            )
        elsewhere = {name for offered in self.models.values() for name in offered.takes.only} - set(takes.only)
        for name in sorted(elsewhere):
            if body.get(name) is not None:
                able = [known for known, offered in self.models.items() if name in offered.takes.only]
                raise InvalidRequest(
                    f"{model} doesn't know {name}; leave it out, or use {', '.join(able)}.",
                    param=name,
                    code="parameter_not_supported",
                )


def parse_offers(data: Mapping[str, Any]) -> Offers:
    """What the catalog's TOML says of it. Raises ConfigurationError."""
    try:
        families = data["families"]
        takes = {name: _takes(family.get("takes", {})) for name, family in families.items()}
        models = {
            name: Offered(
                mode=families[row["family"]]["mode"],
                takes=takes[row["family"]],
                limits=families[row["family"]].get("limits", row["family"]),
                **{member: row[member] for member in ("ends", "instead", "lesser") if member in row},
            )
            for name, row in data["models"].items()
        }
        return Offers(models, **{name: data.get(name, {}) for name in ("presets", "use_cases", "dead", "profiles")})
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the catalog of models can't be read: {error!r}") from error


def _takes(row: Mapping[str, Any]) -> Takes:
    rule = row.get("any_size")
    lists = {name: tuple(row.get(name, ())) for name in ("qualities", "sizes", "only")}
    return Takes(auto=row.get("auto"), any_size=AnySize(**rule) if rule else None, **lists)


def _meaning(member: str, word: Any, known: Mapping[str, Body]) -> Body:
    """What a word stands for; nothing where none is given."""
    if word is None:
        return {}
    if not isinstance(word, str):
        raise InvalidRequest(f"{member} must be a string.", param=member, code="invalid_type")
    if word not in known:
        raise InvalidRequest(
            f"unknown {member} {word[:64]!a}; one of: {', '.join(known)}.", param=member, code=f"unknown_{member}"
        )
    return known[word]


def _objection(takes: Takes, size: str) -> str:
    """Why the models can't make that size; "" if they can."""
    if size == "auto" or size in takes.sizes:
        return ""
    match = _SIZE.fullmatch(size)
    if match is None or "0" in match.groups():
        return "a size is WIDTHxHEIGHT or auto"
    return takes.any_size.objection(int(match[1]), int(match[2])) if takes.any_size else "it isn't one of its sizes"


def _nearest(asked: str | None, ladder: Sequence[str | None]) -> list[str | None]:
    """The other rungs, the nearest first and of two equally near the higher one."""
    place = ladder.index(asked) if asked in ladder else len(ladder)
    others = [rung for rung in ladder if rung != asked]
    return sorted(others, key=lambda rung: (abs(ladder.index(rung) - place), -ladder.index(rung)))


def _unlike(size: str | None) -> Any:
    """A sort key: how far another size's shape, then its area, is from this one's."""

    def key(other: str | None) -> tuple[float, float]:
        if other == size:
            return (0.0, 0.0)
        one, two = _SIZE.fullmatch(size or ""), _SIZE.fullmatch(other or "")
        if one is None or two is None or "0" in (*one.groups(), *two.groups()):
            return (100.0, 0.0)
        (width, height), (others_width, others_height) = map(int, one.groups()), map(int, two.groups())
        shape = width * others_height / (height * others_width)
        area = width * height / (others_width * others_height)
        return (max(shape, 1 / shape), max(area, 1 / area))

    return key


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
