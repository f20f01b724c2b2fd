"""`cache-service roi` as text for people, from what `/admin/roi` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(answer: Mapping[str, Any]) -> list[str]:
    """One fact a line; a figure that is uncertain with its range."""
    traffic = answer["traffic"]
    rows = [
        ("measured", f"{traffic['days']:.1f} days, {traffic['answered']} answers, {traffic['errors']} errors"),
        ("hits", f"{traffic['exact_hits']} exact, {traffic['semantic_hits']} by meaning"),
        ("hit rate", _range(answer["hit_rate"], _percent)),
        ("wrong, of those by meaning", _range(answer["wrong_share"], _percent)),
        ("generations", f"{traffic['generations']} for {_usd(traffic['spent'])}, {_each(answer['cost_per_generation'])}"),
        ("may have been paid for nothing", _usd(traffic["lost"])),
        ("hits would have cost", f"{_usd(traffic['saved_exact'] + traffic['saved_semantic'])}, {_each(answer['saved_per_hit'])}"),
        ("wrong hits cost", _range(answer["wrong_usd"], _usd)),
        ("running it cost", _usd(answer["running_usd"])),
        ("saved", _range(answer["saved_usd"], _usd)),
        ("pays for itself from a hit rate of", _or_never(answer["break_even_hit_rate"])),
        ("a month", _range(answer["monthly_usd"], _usd)),
    ]  # fmt: skip
    if answer["annual_roi"] is not None:
        months = answer["payback_months"]
        rows.append(("paid back after", "never" if months is None else f"{months:.1f} months"))
        rows.append(("annual return on the one-off cost", _percent(answer["annual_roi"])))
    if traffic["unpriced"]:
        rows.append(("without a known price, not counted", str(traffic["unpriced"])))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}" for name, text in rows] + [
        *_compared(answer.get("compared")),
        *_compared(answer.get("compared_providers") or None),
    ]


def _compared(compared: list[dict[str, Any]] | None) -> list[str]:
    if compared is None:
        return []
    head = f"{'the same answers by':34} {'without cache':>14} {'with it':>14}"
    return [
        "",
        head,
        *(f"{_name(row):34} {_usd(row['uncached_usd']):>14} {_usd(row['cached_usd']):>14}" for row in compared),
    ]


def _name(row: Mapping[str, Any]) -> str:
    if "model" in row:
        return f"{row['operation']:6} {row['model']}"
    without = f" ({row['unpriced']} without a price)" if row["unpriced"] else ""
    return f"{row['operation']:6} {row['provider']}{without}"


def _range(value: Mapping[str, float], shown: Any) -> str:
    low, expected, high = shown(value["low"]), shown(value["expected"]), shown(value["high"])
    return expected if low == high else f"{expected} ({low} to {high})"


def _usd(value: float) -> str:
    return f"{value:.2f} USD" if abs(value) >= 1 else f"{value:.4f} USD"


def _each(value: float | None) -> str:
    return "no price known" if value is None else f"{_usd(value)} each"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _or_never(value: float | None) -> str:
    if value is None:
        return "unknown, or none: a hit costs more than it saves"
    return f"{value:.1%}" + (" (more than there are requests)" if value > 1 else "")
