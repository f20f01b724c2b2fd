"""What differs between two prompts, as numbers for the trees: no rule decides here, a model weighs them.

All are symmetric: counts of both sides are given as the smaller and the larger. Words are lower-case; a *content* word
is none of `FUNCTION_WORDS`. Similarity of single words is the cosine of the embedding model's own word vectors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from cache_service.verification.tables import SPELLINGS
from cache_service.verification.words import stem

Floats = npt.NDArray[np.float32]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    "a an the of in on at to by for with and or is are was were be been being it its this that these those there which who whom "
    "while as from into onto up down i you he she they we me my your his her their do does did has have had so very please"
)
# Words that a phrase goes on behind: "car that is red", "cup of tea"; at any other function word it ends.
WITHIN_PHRASES = _words("a an the that which is are of very so")
NEGATIONS = _words(
    "no not without never none nobody nothing neither nor cannot isn aren don doesn didn wasn weren won can't"
)
COLORS = _words(
    "red blue green yellow orange purple pink brown black white gray grey golden gold silver turquoise beige violet tan maroon "
    "teal cyan magenta crimson navy"
)
DIRECTIONS = _words(
    "left right above below over under behind front before after inside outside top bottom near far next between around north south east "
    "west from until since more less than most least"
)
COUNTING = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
CONVERSES = frozenset(
    frozenset(pair.split("/"))
    for pair in [
        "left/right",
        "above/below",
        "above/beneath",
        "above/underneath",
        "over/under",
        "over/below",
        "on/under",
        "front/behind",
        "front/back",
        "before/after",
        "inside/containing",
        "in/containing",
        "taller/shorter",
        "bigger/smaller",
        "larger/smaller",
        "heavier/lighter",
        "faster/slower",
        "older/younger",
        "stronger/weaker",
        "more/less",
        "north/south",
        "east/west",
        "surrounding/surrounded",
        "higher/lower",
        "better/worse",
        "warmer/colder",
        "top/bottom",
    ]
)
NUMBERS = {word: str(value) for value, word in enumerate(COUNTING)}
ASKING = _words(
    "what who whom whose which when where why how is are was were do does did can could should would will has have am"
)
ORDERING = _words(
    "write explain list give translate convert summarize describe create tell name compose show please compare fix"
)

ROUTES = ("caption", "tags", "question", "edit", "order")
"""What kind of pair it is: thresholds are calibrated for each. `edit`: all the same but one short span on both
sides; `order`: the same content words in another order."""

EDIT_WORDS = 2  # words on each side that an `edit` replaces at most


@dataclass(frozen=True, slots=True)
class Words:
    """One prompt's words, as they were written and lower-case."""

    written: tuple[str, ...]
    lower: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """The words and numbers of a text, with punctuation left out; "n't" is "not"."""
        text = re.sub(r"(\w)n['’]t\b", r"\1 not", text)
        written = tuple(re.findall(r"\w+(?:\.\d+)?", text))
        return cls(written, tuple(NUMBERS.get(word.lower(), word.lower()) for word in written))


GIVEN = ("encoder_low", "encoder_high", "words")
"""The cross-encoder's two logits, and the first trees' logit, which is made of all other features."""

FEATURES = (
    *GIVEN, "words_low", "words_high", "own_low", "own_high", "content_low", "content_high", "moved", "inversions",
    "runs", "likeness_worst", "likeness_mean", "likeness_best_unmatched", "spelling_worst", "negation", "numbers",
    "colors", "directions", "names_low", "names_high", "quoted", "tags_low", "tags_high", "tags_unmatched",
    "bindings_broken", "bindings_kept", "passive", "converse", "head_same", "tail_same", "first_same", "last_same",
    "question", "caption_route", "tags_route", "question_route", "edit_route", "order_route", "pieces_same",
)  # fmt: skip


def features(first: str, second: str, likeness: WordLikeness) -> Floats:
    """One row of `FEATURES`; NaN for those that other models give: see `GIVEN`."""
    first, second = sorted((first, second))  # comparing sequences isn't symmetric, a verdict must be
    a, b = Words.of(first), Words.of(second)
    own_a, own_b, moved, inversions, runs = _compare(a.lower, b.lower)
    content_a, content_b = ([w for w in own if w not in FUNCTION_WORDS] for own in (own_a, own_b))
    worst, mean, best, spelling = likeness.between(content_a, content_b)
    tags_a, tags_b = _tags(first), _tags(second)
    broken, kept = _bindings(a.lower, b.lower)
    names = sorted(len(_names(one) - set(other.lower)) for one, other in ((a, b), (b, a)))
    kind = route(first, second)
    row = {
        **dict.fromkeys(GIVEN, np.nan),
        **_pair("words", len(a.lower), len(b.lower)),
        **_pair("own", len(own_a), len(own_b)),
        **_pair("content", len(content_a), len(content_b)),
        "moved": moved,
        "inversions": inversions,
        "runs": runs,
        "likeness_worst": worst,
        "likeness_mean": mean,
        "likeness_best_unmatched": best,
        "spelling_worst": spelling,
        "negation": abs(_count(a, NEGATIONS) - _count(b, NEGATIONS)),
        "numbers": _apart(a.lower, b.lower, str.isdigit),
        "colors": _apart(a.lower, b.lower, COLORS.__contains__),
        "directions": _apart(a.lower, b.lower, DIRECTIONS.__contains__),
        "names_low": names[0],
        "names_high": names[1],
        "quoted": float(
            re.findall(r"[\"'“”]([^\"“”]+?)[\"'“”]", first) != re.findall(r"[\"'“”]([^\"“”]+?)[\"'“”]", second)
        ),
        **_pair("tags", len(tags_a), len(tags_b)),
        "tags_unmatched": sum(((Counter(tags_a) - Counter(tags_b)) + (Counter(tags_b) - Counter(tags_a))).values()),
        "bindings_broken": broken,
        "bindings_kept": kept,
        "passive": float(abs(a.lower.count("by") - b.lower.count("by"))),
        "converse": _converses(own_a, own_b),
        **_ends(a.lower, b.lower),
        "first_same": float(a.lower[:1] == b.lower[:1]),
        "last_same": float(a.lower[-1:] == b.lower[-1:]),
        "question": float(_asks(a)) + float(_asks(b)),
        **{f"{name}_route": float(name == kind) for name in ROUTES},
        "pieces_same": float(Counter(a.lower) == Counter(b.lower)),
    }
    return np.array([row[name] for name in FEATURES], np.float32)


def route(first: str, second: str) -> str:
    """Which of `ROUTES` a pair belongs to."""
    first, second = sorted((first, second))
    a, b = Words.of(first), Words.of(second)
    own_a, own_b, moved, _, runs = _compare(a.lower, b.lower)
    if runs == 1 and not moved and min(len(own_a), len(own_b)) >= 1 and max(len(own_a), len(own_b)) <= EDIT_WORDS:
        return "edit"
    tags = min(len(_tags(first)), len(_tags(second))) > 2
    if moved and not tags and FUNCTION_WORDS.issuperset((*own_a, *own_b)):
        return "order"
    if _asks(a) or _asks(b):
        return "question"
    return "tags" if tags else "caption"


_LEAST_TERM = 7  # letters: of 20,117 same questions 3 differ in two such words alone


class WordLikeness:
    """How alike single words are, by the embedding model's word vectors."""

    def __init__(self, table: npt.NDArray[np.floating], pieces_of: dict[str, int]) -> None:
        self._table = table
        self._ids = pieces_of

    def between(self, first: Sequence[str], second: Sequence[str]) -> tuple[float, float, float, float]:
        """Best match of each word on the other side: the worst, the mean, and the best; and the worst by spelling.

        1 where neither side has a word; 0 where only one has.
        """
        if not first and not second:
            return 1.0, 1.0, 1.0, 1.0
        if not first or not second:
            return 0.0, 0.0, 0.0, 0.0
        alike = self._vectors(first) @ self._vectors(second).T
        spelt = np.array([[_spelling(one, two) for two in second] for one in first])
        alike = np.maximum(alike, np.where(spelt > 0.8, spelt, 0.0))
        best = np.concatenate([alike.max(1), alike.max(0)])
        return (
            float(best.min()),
            float(best.mean()),
            float(best.max()),
            float(min(spelt.max(1).min(), spelt.max(0).min())),
        )

    def unfamiliar(self, first: str, second: str) -> tuple[str, str] | None:
        """Two long words, put for each other and all else alike, of which the model knows none: metformin and metoprolol.

        Made up of pieces they look alike to it. Two forms or spellings of one word, letters that changed places, and a part of the
        other may be the same.
        """
        one, other = (Counter(Words.of(text).lower) for text in (first, second))
        gone, new = list((one - other).elements()), list((other - one).elements())
        if len(gone) != 1 or len(new) != 1:
            return None
        this, that = gone[0], new[0]
        terms = all(word.isalpha() and len(word) >= _LEAST_TERM and word not in self._ids for word in (this, that))
        related = _base(this) == _base(that) or sorted(this) == sorted(that) or this in that or that in this
        return (this, that) if terms and not related else None

    def _vectors(self, words: Sequence[str]) -> Floats:
        """Unit vectors of words; zero for those the model has no single piece for."""
        known = np.array([self._ids.get(word, -1) for word in words])
        vectors = np.where((known >= 0)[:, None], self._table[known].astype(np.float32), np.float32(0))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(norms > 0, norms, 1.0), np.float32)


def _base(word: str) -> str:
    return stem(SPELLINGS.get(word, word))


def _spelling(one: str, two: str) -> float:
    """1 for equal words, near 1 for a typo or another ending."""
    if one == two:
        return 1.0
    if abs(len(one) - len(two)) > 3 or one.isdigit() or two.isdigit():
        return 0.0
    return SequenceMatcher(None, one, two, autojunk=False).ratio()


def _compare(a: Sequence[str], b: Sequence[str]) -> tuple[list[str], list[str], int, int, int]:
    """Words of one side only, how many moved, pairs of content words in another order, runs of difference."""
    over_a, over_b = Counter(a) - Counter(b), Counter(b) - Counter(a)
    opcodes = [op for op in SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if op[0] != "equal"]
    changed = sum(op[2] - op[1] for op in opcodes)
    moved = changed - over_a.total()
    common = [
        w
        for w, n in (Counter(a) & Counter(b)).items()
        if n == 1 and w not in FUNCTION_WORDS and a.count(w) == b.count(w) == 1
    ]
    place = {word: number for number, word in enumerate(b)}
    order = [place[word] for word in a if word in common]
    inversions = sum(1 for i in range(len(order)) for j in range(i + 1, len(order)) if order[i] > order[j])
    return list(over_a.elements()), list(over_b.elements()), moved, inversions, len(opcodes)


def _converses(a: Sequence[str], b: Sequence[str]) -> float:
    """How many words of one side stand for a word of the other with exchanged ends: left / right."""
    return float(sum(frozenset((one, two)) in CONVERSES for one in a for two in b))


def _ends(a: Sequence[str], b: Sequence[str]) -> dict[str, float]:
    """Whether the first and the last content words are the same, NaN where a side has none."""
    content = [[word for word in words if word not in FUNCTION_WORDS] for words in (a, b)]
    if not content[0] or not content[1]:
        return {"head_same": np.nan, "tail_same": np.nan}
    return {
        "head_same": float(content[0][0] == content[1][0]),
        "tail_same": float(content[0][-1] == content[1][-1]),
    }


def _pair(name: str, one: int, two: int) -> dict[str, float]:
    return {f"{name}_low": float(min(one, two)), f"{name}_high": float(max(one, two))}


def _count(words: Words, table: frozenset[str]) -> int:
    return sum(word in table for word in words.lower)


def _apart(a: Sequence[str], b: Sequence[str], wanted: object) -> float:
    """How many words of a kind are on one side only, counted."""
    one, two = (Counter(word for word in words if wanted(word)) for words in (a, b))  # type: ignore[operator]
    return float(((one - two) + (two - one)).total())


def _names(words: Words) -> set[str]:
    """Lower-case names: capitalised words after the first."""
    return {word.lower() for word in words.written[1:] if word[0].isupper()}


def _tags(text: str) -> list[str]:
    return [" ".join(Words.of(part).lower) for part in text.split(",") if part.strip()]


def _bindings(a: Sequence[str], b: Sequence[str]) -> tuple[float, float]:
    """Neighbouring content words of one phrase: of those whose words both prompts have, how many pairs are broken and kept.

    "red car" and "car that is red" are one binding: order doesn't matter.
    """
    both = set(a) & set(b)
    one, two = (Counter(pair for pair in _neighbours(words) if pair <= both) for words in (a, b))
    return float(((one - two) + (two - one)).total()), float((one & two).total())


def _neighbours(words: Sequence[str]) -> Iterator[frozenset[str]]:
    """Content words beside each other, function words within a phrase skipped."""
    before = None
    for word in words:
        if word in WITHIN_PHRASES:
            continue
        if word in FUNCTION_WORDS:
            before = None
            continue
        if before is not None:
            yield frozenset((before, word))
        before = word


def _asks(words: Words) -> bool:
    return bool(words.lower) and (words.lower[0] in ASKING or words.lower[0] in ORDERING)
