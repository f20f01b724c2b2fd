"""True hits against false hits as a picture: bare cosine's curve beside the verifier's, with the point in force.

What is drawn is pure; drawing needs matplotlib (the extra `plot`), which is imported here alone and only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cache_service.errors import ConfigurationError
from cache_service.jobs.evaluate import Evaluation, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")
TICKS = (0, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # false hits in per cent
POINTS = 300.0  # printer's points from no to all true hits
LINE = 11.0  # points between two names
MIDDLE = 0.02  # share of false hits from which names stand to the left
LINEAR = 1.0  # per cent of false hits up to which the axis is linear, so that none at all can be drawn


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its name. x, y: false and true hits, shares."""

    x: float
    y: float
    name: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A way of deciding, from strict to loose. x, y: false and true hits, shares."""

    name: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    marks: tuple[Mark, ...] = ()


def curves(result: Evaluation, *, verifier: str) -> list[Curve]:
    """Bare cosine, the verifier at every gate down to the lowest shown, and where it has scores, every threshold at the gate in force.

    Raises ConfigurationError where there aren't both same and different pairs.
    """
    points, gates = result.points, sorted(result.gates, reverse=True)
    similarity = np.array([point.similarity for point in points])
    bare = curve("bare cosine", points, similarity, marks=[(gate, f"cosine {gate:g}") for gate in gates])
    verified = np.array([point.verified for point in points])
    by_gate = np.where(verified & (similarity >= gates[-1]), similarity, -np.inf)
    rest = [(gate, f"{verifier}, gate {gate:g}") for gate in gates]
    found = [bare, curve(f"{verifier}, by gate", points, by_gate, marks=rest, chosen=result.gate)]
    scores = np.array([point.score for point in points])
    if len(set(scores.tolist()) - {0.0, 1.0}) > 1:
        by_score = np.where((similarity >= result.gate) & (scores > 0), scores, -np.inf)
        found.append(curve(f"{verifier}, by score, gate {result.gate:g}", points, by_score))
    return found


def curve(
    name: str,
    points: Sequence[Point],
    order: npt.NDArray[np.float64],
    *,
    marks: Sequence[tuple[float, str]] = (),
    chosen: float | None = None,
) -> Curve:
    """Shares of the different and of the same pairs with at least each value of `order`; −∞ is never served."""
    same = np.array([point.same for point in points], bool)
    if not same.any() or same.all():
        raise ConfigurationError("a picture needs pairs that are the same and pairs that aren't")
    steps = np.unique(order[np.isfinite(order)])[::-1]
    x, y = (_at_least(order[side], steps) for side in (~same, same))
    named = tuple(
        Mark(float((order[~same] >= value).mean()), float((order[same] >= value).mean()), text, value == chosen)
        for value, text in marks
    )
    return Curve(name, np.concatenate([[0.0], x]), np.concatenate([[0.0], y]), named)


def draw(drawn: Sequence[Curve], path: Path, *, title: str) -> None:
    """Writes the picture, in the format its name ends in. Raises ConfigurationError: no matplotlib, another ending, no such folder."""
    check(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(drawn):
        color = f"C{number}"
        axes.step(100 * one.x, 100 * one.y, where="post", color=color, label=one.name, linewidth=1.8)
        for mark in one.marks:
            marker, size = ("*", 170) if mark.chosen else ("o", 30)
            axes.scatter(100 * mark.x, 100 * mark.y, color=color, zorder=3, marker=marker, s=size)
    _name(axes, [mark for one in drawn for mark in one.marks])
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.0)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.set_xlim(-0.03, 100)
    axes.set_ylim(0, 103)
    axes.set_xlabel("false hits: different pairs served, % (logarithmic above 1)")
    axes.set_ylabel("true hits: same pairs served, %")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    try:
        figure.savefig(path, dpi=144, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise ConfigurationError(f"the picture can't be written: {error}") from error


def check(path: Path) -> None:
    """Before anything is measured: can it be drawn? Raises ConfigurationError."""
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"{path}: a picture's name ends in {' or '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise ConfigurationError("drawing needs matplotlib: pip install 'cache-service[plot]'")


def _name(axes: Axes, marks: Sequence[Mark]) -> None:
    """Names beside the points, to the left in the right half."""
    for mark, height in zip(marks, _heights(marks), strict=True):
        side, away = ("right", -9) if mark.x > MIDDLE else ("left", 9)
        text = f"{mark.name}{' (in force)' if mark.chosen else ''}: {mark.y:.1%} true, {mark.x:.1%} false"
        axes.annotate(
            text, (100 * mark.x, 100 * mark.y), xytext=(away, height), textcoords="offset points", fontsize=8,
            va="center", ha=side,
        )  # fmt: skip


def _heights(marks: Sequence[Mark]) -> list[float]:
    """Offsets in points that keep names on one side from covering each other, each below the one above it."""
    heights = [0.0] * len(marks)
    for side in (False, True):
        lowest = float("inf")
        for number in sorted(range(len(marks)), key=lambda number: -marks[number].y):
            if (marks[number].x > MIDDLE) is side:
                place = POINTS * marks[number].y
                lowest = min(place, lowest - LINE)
                heights[number] = lowest - place
    return heights


def _at_least(values: npt.NDArray[Any], steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the values that are at least each step; steps fall."""
    ordered = np.sort(values)
    return np.asarray(1 - np.searchsorted(ordered, steps, side="left") / len(values), np.float64)
