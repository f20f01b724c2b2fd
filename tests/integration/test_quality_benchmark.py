"""The benchmark of quality counts every pair of every file in its folder, side by side."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.quality import draw, find, measure, table
from cache_service.errors import ConfigurationError

ROWS = [
    {"a": "a red cube on a blue sphere", "b": "a red cube on top of a blue sphere", "same": True, "category": "same"},
    {"a": "two dogs on a lawn", "b": "three dogs on a lawn", "same": False, "category": "count"},
    {"a": "a red car and a blue bus", "b": "a blue car and a red bus", "same": False, "category": "swap"},
    {"a": "a fox", "b": "a dog", "same": None, "category": "nobody knows"},
]
QUESTIONS = [{"a": "How do I grow tomatoes?", "b": "How can I grow tomatoes?", "same": True}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plain and a gzipped file, and one that is none of labelled pairs."""
    (tmp_path / "image_pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    with gzip.open(tmp_path / "question_pairs.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, QUESTIONS)))
    (tmp_path / "prompts.jsonl").write_text('"a prompt"')
    return tmp_path


async def test_all_ways_stand_side_by_side_and_nothing_is_left_out(folder: Path) -> None:
    measured = await measure(find(folder), None)
    lines = list(table(measured, 0.5))
    assert lines[0].count("|") == lines[2].count("|") == 10
    images = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert images[:3] == ["image", "1", "2"]
    assert images[3] == "100.0 / 50.0"  # bare cosine 0.92 serves the swap
    assert images[5] == "100.0 / 0.0"  # rules don't
    assert "not judged 1." in "\n".join(lines)
    assert sum(measured.verified["rules"].how.values()) == 4
    assert measured.verified["rules"].how == measured.verified["learned"].how


async def test_a_sample_is_the_same_every_time_and_can_be_drawn(folder: Path) -> None:
    first, again = [await measure([folder / "image_pairs.jsonl"], 3) for _ in range(2)]
    assert list(table(first, 0.5))[:7] == list(table(again, 0.5))[:7]
    measured = await measure(find(folder), None)
    draw(measured, folder / "all.svg")
    assert "2 files, 2 same pairs and 2 different ones" in (folder / "all.svg").read_text("utf-8").replace("\n", " ")


def test_a_folder_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no"):
        find(tmp_path)
