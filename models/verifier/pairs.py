"""The labelled pairs that the verifier learns from and is measured on, split so that no text is on two sides."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LEARN = ("image_prompt", "binding", "prompt_edit", "lexical", "question_edit")  # licences allow commercial use
MEASURE = ("caption", "question")  # licences don't: never learnt from, no threshold chosen on them

# Shares of the groups: the cross-encoder, the trees on top of it, the thresholds, the final figures.
SPLITS = (("encoder", 0.72), ("trees", 0.10), ("calibrate", 0.09), ("test", 0.09))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts, whether they ask for the same, where they come from, and the split their group belongs to."""

    a: str
    b: str
    same: bool
    file: str
    category: str
    split: str


def read_pairs(folder: Path, files: Iterable[str] = LEARN) -> list[Pair]:
    """The pairs of `{file}_pairs.jsonl.gz` in `folder`; groups that share a text are one group and get one split."""
    rows = []
    for file in files:
        with gzip.open(folder / f"{file}_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows += [(file, json.loads(line)) for line in lines]
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (up := parent.setdefault(name, name)) != name:
            parent[name] = parent[up]
            name = up
        return name

    keys = []
    for file, row in rows:
        group = row.get("group")
        names = [f"group {file} {group}"] if group is not None else []
        names += [f"text {_base(row[side], file)}" for side in ("a", "b")]
        for name in names[1:]:
            parent[root(name)] = root(names[0])
        keys.append(names[0])
    members = defaultdict(list)
    for name in parent:
        members[root(name)].append(name)
    first = {key: min(names) for key, names in members.items()}  # an order of the rows can't change the split
    return [
        Pair(row["a"], row["b"], bool(row["same"]), file, row.get("category") or file, split_of(first[root(key)]))
        for (file, row), key in zip(rows, keys, strict=True)
    ]


def split_of(group: str) -> str:
    """The split of a group, by its name's digest alone: the same in every run."""
    share = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    for name, size in SPLITS:
        share -= size
        if share < 0:
            return name
    return SPLITS[-1][0]


def _base(text: str, file: str) -> str:
    """A text without what the edits of its file change, so that all edits of one question are one group."""
    text = text.lower().strip(" .?!")
    if file == "question_edit":
        text = re.sub(r"\bas of [\w ,]+?(?=,|$)|\bin [\w .'-]+?(?=,|$)", "", text).strip(" ,?")
    return text
