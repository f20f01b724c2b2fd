"""Words that mean the same, the opposite, or something beside it, from WordNet 3.0's files (first senses only)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

PARTS = ("noun", "verb", "adj")
KIND_OF, HAS_KIND, OPPOSITE = "@", "~", "!"
HEX = 16  # how the files write numbers of words
LEAST_COUNT = 2  # times a sense was seen in WordNet's tagged texts; rarer ones are oddities


@dataclass
class Words:
    """For each word: synonyms, antonyms and sisters (other kinds of the same thing)."""

    synonyms: dict[str, list[str]] = field(default_factory=dict)
    antonyms: dict[str, list[str]] = field(default_factory=dict)
    sisters: dict[str, list[str]] = field(default_factory=dict)
    part: dict[str, str] = field(default_factory=dict)


def read_wordnet(folder: Path) -> Words:
    """The tables of all frequent single words of `folder` (index.*, data.*, cntlist.rev)."""
    counts: dict[str, int] = defaultdict(int)
    for line in (folder / "cntlist.rev").read_text("ascii").splitlines():
        key, sense, count = line.split()
        if sense == "1":
            counts[key.split("%")[0] + key.split("%")[1][0]] = int(count)
    words = Words()
    best: dict[str, int] = {}
    for part in PARTS:
        _read_part(folder, part, counts, words, best)
    return words


def _read_part(folder: Path, part: str, counts: dict[str, int], words: Words, best: dict[str, int]) -> None:
    digit = {"noun": "1", "verb": "2", "adj": "3"}[part]
    first: dict[str, str] = {}
    for line in (folder / f"index.{part}").read_text("ascii").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            first[fields[0]] = fields[-int(fields[2])]
    synsets = {}
    for line in (folder / f"data.{part}").read_text("ascii").splitlines():
        if not line.startswith(" "):
            fields = line.split(" | ")[0].split()
            number = int(fields[3], 16)
            lemmas = [fields[4 + 2 * n].split("(")[0].lower() for n in range(number)]
            at = 4 + 2 * number
            pointers = [fields[at + 1 + 4 * n : at + 5 + 4 * n] for n in range(int(fields[at]))]
            synsets[fields[0]] = (lemmas, pointers)
    frequent = lambda word: counts[word + digit] >= LEAST_COUNT and word.isalpha() and len(word) > 2  # noqa: E731
    for word, offset in first.items():
        if not frequent(word) or best.get(word, 0) >= counts[word + digit]:
            continue
        best[word] = counts[word + digit]
        words.part[word] = part
        lemmas, pointers = synsets[offset]
        words.synonyms[word] = [w for w in lemmas if w != word and first.get(w) == offset and frequent(w)]
        near = {word, *lemmas}
        words.antonyms[word] = []
        words.sisters[word] = []
        for symbol, target, _, ends in pointers:
            if symbol == OPPOSITE and lemmas[int(ends[:2], 16) - 1] == word:
                words.antonyms[word].append(synsets[target][0][int(ends[2:], base=HEX) - 1])
            if symbol == KIND_OF:
                kinds = [t for s, t, _, _ in synsets[target][1] if s == HAS_KIND]
                others = {w for t in kinds if t in synsets for w in synsets[t][0] if first.get(w) == t and frequent(w)}
                words.sisters[word] += sorted(others - near)
