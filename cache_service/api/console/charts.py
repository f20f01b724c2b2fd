"""Charts as SVG, drawn by pygal from numbers; no clock, no I/O. Shown through `<img>`, so that nothing in them can run."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cache_service.jobs.timeline import SPAN, Span

ANSWERS: Final[Mapping[str, str]] = {
    "exact": "exact hits",
    "semantic": "semantic hits",
    "collapsed": "joined",
    "miss": "misses",
    "bypass": "not cached",
    "error": "errors",
}
COLOURS: Final = ("#1a7f5a", "#4fb3d9", "#8a6fd1", "#c98a1b", "#8d8d8d", "#c8453b")
"""Of the answers in that order; at least 3:1 on white and on black."""

MOST_BARS: Final = 48
_SCRIPT: Final = re.compile(rb"<script.*?</script>", re.DOTALL)
_DARK: Final = (
    "inline:@media (prefers-color-scheme: dark) { text { fill: #e6e6e6 !important; } .axis path, .guides, .line { stroke: #777 "
    "!important; } rect.background { fill: none !important; } }"
)


def traffic(spans: Sequence[Span], *, operation: str | None = None) -> bytes:
    """What became of requests, by time, stacked."""
    groups = _grouped(spans)
    chart = _chart("StackedBar", "Requests", groups)
    for answer, title in ANSWERS.items():
        counts = [
            sum(
                n
                for span in group
                for (of, what), n in span.requests.items()
                if what == answer and operation in (None, of)
            )
            for group in groups
        ]
        chart.add(title, counts)
    return _drawn(chart)


def money(spans: Sequence[Span]) -> bytes:
    """USD paid and saved, added up over the time."""
    groups = _grouped(spans)
    chart = _chart("Line", "USD, added up", groups, colours=("#1a7f5a", "#c8453b"))
    for title, of in (("saved", "saved_usd"), ("paid", "paid_usd")):
        total, sums = 0.0, []
        for group in groups:
            total += sum(getattr(span, of) for span in group)
            sums.append(round(total, 4))
        chart.add(title, sums)
    return _drawn(chart)


def similarities(bands: Sequence[tuple[float, int, int, int]], threshold: float) -> bytes:
    """Semantic hits by similarity, and how they were judged. bands: (similarity, hits, right, wrong)."""
    pygal = _library()

    chart = pygal.Bar(**_options("Semantic hits by similarity", ("#4fb3d9", "#1a7f5a", "#c8453b")))
    chart.x_labels = [f"{band[0]:.3f}{' ◀' if band[0] <= threshold < band[0] + 0.005 else ''}" for band in bands]
    for position, title in enumerate(("hits", "judged right", "judged wrong"), start=1):
        chart.add(title, [band[position] for band in bands])
    return _drawn(chart)


def _grouped(spans: Sequence[Span]) -> list[list[Span]]:
    """At most `MOST_BARS` groups of spans that follow each other, of equal time; empty ones too."""
    if not spans:
        return []
    first, last = spans[0].at, spans[-1].at
    width = SPAN * max(1, math.ceil(((last - first) / SPAN + 1) / MOST_BARS))
    groups: list[list[Span]] = [[] for _ in range(int((last - first) // width) + 1)]
    for span in spans:
        groups[int((span.at - first) // width)].append(span)
    return groups


def _chart(kind: str, title: str, groups: Sequence[Sequence[Span]], colours: Sequence[str] = COLOURS) -> Any:
    pygal = _library()

    chart = getattr(pygal, kind)(**_options(title, colours))
    known = [group[0].at if group else None for group in groups]
    chart.x_labels = ["" if at is None else datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in known]
    return chart


def _options(title: str, colours: Sequence[str]) -> dict[str, Any]:
    Style = _library().style.Style  # noqa: N806 - its own name

    style = Style(
        background="transparent", plot_background="transparent", foreground="#333", foreground_strong="#222",
        foreground_subtle="#666", opacity="1", colors=tuple(colours), font_family="system-ui, sans-serif",
        label_font_size=12, legend_font_size=14, title_font_size=15, major_label_font_size=12,
    )  # fmt: skip
    return {
        "title": title, "style": style, "width": 760, "height": 300, "js": (), "css": ("file://style.css", "file://graph.css", _DARK),
        "legend_at_bottom": True, "legend_at_bottom_columns": len(colours), "show_minor_x_labels": True, "x_label_rotation": 45,
        "truncate_legend": -1, "no_data_text": "nothing yet", "disable_xml_declaration": False, "x_labels_major_count": 8,
        "margin": 12, "margin_bottom": 24, "spacing": 8, "dots_size": 3,
    }  # fmt: skip


def _drawn(chart: Any) -> bytes:
    """The SVG without pygal's script, which nothing would run."""
    return _SCRIPT.sub(b"", chart.render())


def _library() -> Any:
    """The chart library, imported when a chart is first drawn; what it leaves in the import system, which breaks others, is taken out."""
    pygal = importlib.import_module("pygal")
    importlib.import_module("pygal.style")
    sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    return pygal
