"""Labelled pairs made for this project: scenes, questions, edits of real sentences, mined look-alikes.

A positive pair is one meaning said twice, a negative one two close meanings; either may be typed carelessly, so that
a typo says nothing. All of it follows from the seed, the split's own sentences and WordNet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import vocabulary as v
from pairs import Pair
from questions import FRAMES
from scenes import COUNTING, IRREGULAR, plural, scene
from wordnet import Words

FILE = "synthetic"
CONTRAST = {}
for _row in v.CONTRASTS:
    _one, _two = _row.split("/")
    CONTRAST.setdefault(_one, []).append(_two)
    CONTRAST.setdefault(_two, []).append(_one)
POLITE = (
    "please ",
    "can you show me ",
    "i want ",
    "could you create ",
    "generate ",
    "please draw ",
    "show me ",
    "make me ",
    "i'd like ",
)
ASKING = (
    "please tell me ",
    "can you tell me ",
    "i wonder ",
    "hi, ",
    "hello, ",
    "quick question: ",
    "do you know ",
    "hey, ",
)


def synthetic_pairs(
    split: str, texts: Sequence[str], questions: Sequence[str], words: Words, size: int, seed: int
) -> list[Pair]:
    """About `size` pairs for a split, from its own sentences `texts` and `questions`; equal calls give equal pairs."""
    random = Random(f"{seed} {split}")
    made = _Made(random, split)
    add = made.add
    while len(made.pairs) < size:
        kind = random.random()
        if kind < 0.38:
            _scenes(random, add)
        elif kind < 0.66:
            _frames(random, add)
        elif kind < 0.93:
            _edits(random, random.choice(texts), words, add, question=False)
        else:
            _edits(random, random.choice(questions), words, add, question=True)
    return list(made.pairs.values())


def edited_pairs(split: str, prompts: Sequence[str], words: Words, size: int, seed: int) -> list[Pair]:
    """About `size` edits of a split's own real image prompts; equal calls give equal pairs."""
    random = Random(f"{seed} {split} prompts")
    made = _Made(random, split)
    while len(made.pairs) < size:
        _edits(random, random.choice(prompts), words, made.add, question=False, kind="prompt")
    return list(made.pairs.values())


def edited_paraphrases(split: str, pairs: Sequence[Pair], words: Words, size: int, seed: int) -> list[Pair]:
    """About `size` pairs made of real ones: a change put into one of two paraphrases, or harmless rewordings on either side."""
    random = Random(f"{seed} {split} paraphrases")
    made = _Made(random, split)
    same, different = ([pair for pair in pairs if pair.same == kind] for kind in (True, False))
    while len(made.pairs) < size:
        pair = random.choice(same if random.random() < 0.8 else different)
        a, b = (pair.a, pair.b) if random.random() < 0.5 else (pair.b, pair.a)
        if pair.same and random.random() < 0.45:
            found = [edit for make in random.sample(BREAKS, 5) if (edit := make(random, b, words))]
            for how, edited in found[:1]:
                made.add(a, edited, False, f"paraphrase_{how}")
            continue
        for _ in range(random.choice((1, 2))):
            harmless = random.choice((_reworded(random, b), _synonym(random, b, words)))
            a, b = (harmless[1] if harmless else careless(random, b)), a
        made.add(a, b, pair.same, "paraphrase_reworded")
    return list(made.pairs.values())


class _Made:
    """The pairs made so far, some typed carelessly."""

    def __init__(self, random: Random, split: str) -> None:
        self._random = random
        self._split = split
        self.pairs: dict[tuple[str, str], Pair] = {}

    def add(self, a: str, b: str, same: bool, category: str) -> None:
        """Takes a pair, unless a "different" one differs in nothing but case and punctuation."""
        if self._random.random() < 0.22:
            a = careless(self._random, a)
        if self._random.random() < 0.30:
            b = careless(self._random, b)
        if same or _letters(a) != _letters(b):
            self.pairs.setdefault((a, b), Pair(a, b, same, FILE, category, self._split))


def _scenes(random: Random, add) -> None:
    meaning = scene(random)
    one, two = meaning.say(random), meaning.say(random)
    for _ in range(6):
        if _letters(one) != _letters(two):
            break
        two = meaning.say(random)
    add(one, two, True, "scene_same")
    changes = list(meaning.changes(random))
    for kind, changed in random.sample(changes, min(len(changes), random.choice((1, 1, 2)))):
        add(meaning.say(random), changed.say(random), False, f"scene_{kind}")


def _frames(random: Random, add) -> None:
    frame = random.choice(FRAMES)
    rows = frame(random)
    for row in rows[: 1 + (random.random() < 0.5)]:
        if len(set(row)) > 1:
            add(*random.sample(sorted(set(row)), 2), True, f"question_{frame.__name__}_same")
    for row in random.sample(rows[1:], min(len(rows) - 1, random.choice((1, 2)))):
        add(random.choice(rows[0]), random.choice(row), False, f"question_{frame.__name__}")


def _edits(random: Random, text: str, words: Words, add, question: bool, kind: str = "edit") -> None:
    """Edits of one real sentence: a few that keep the request, one or two that don't."""
    makers = [_reworded(random, text), _synonym(random, text, words)]
    if random.random() < 0.35:
        makers.append(_address(random, text, question))
    same = [edit for edit in makers if edit]
    if same and random.random() < 0.8:
        how, edited = random.choice(same)
        if random.random() < 0.3:
            again = _reworded(random, edited)
            edited = again[1] if again else edited
        add(text, edited, True, f"{kind}_{how}")
    elif random.random() < 0.3:
        add(text, careless(random, careless(random, text)), True, f"{kind}_careless")
    different = [edit for make in random.sample(BREAKS, 4) if (edit := make(random, text, words))]
    for how, edited in different[: random.choice((1, 1, 2))]:
        base = text
        if random.random() < 0.25 and (again := _reworded(random, base)):
            base = again[1]  # a rewording beside the change must not hide it
        if random.random() < 0.12:
            base = _address(random, base, question)[1]
        add(base, edited, False, f"{kind}_{how}")


def careless(random: Random, text: str) -> str:
    """As typed in a hurry: one typo, or case, spacing and punctuation."""
    kind = random.random()
    if kind < 0.35:
        long = list(re.finditer(r"[a-z]{6,}", text))
        if long:
            at = random.choice(long)
            place = random.randrange(at.start() + 1, at.end() - 2)
            turn = random.random()
            if turn < 0.45:
                return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
            if turn < 0.75:
                return text[:place] + text[place + 1 :]
            return text[:place] + text[place] + text[place:]
    if kind < 0.55:
        return text.lower() if text != text.lower() else text[0].upper() + text[1:]
    if kind < 0.7:
        return re.sub(r"\s*,\s*", random.choice((",", " , ", ", ")), text)
    if kind < 0.85:
        return text.rstrip(".?!") + random.choice(("", ".", "!", " ."))
    return "  ".join(text.split()) if random.random() < 0.5 else text.replace("'", "").replace("-", " ")


def _reworded(random: Random, text: str) -> tuple[str, str] | None:
    """Synonyms of the table, contractions, number words, order of tags or of two conjuncts."""
    found = []
    for one, two in v.SYNONYMS:
        for old, new in ((one, two), (two, one)):
            if re.search(rf"\b{re.escape(old)}\b", text, re.IGNORECASE):
                found.append(("reworded", re.sub(rf"\b{re.escape(old)}\b", new, text, count=1, flags=re.IGNORECASE)))
    for number, word in enumerate(COUNTING):
        if number > 1 and re.search(rf"\b{word}\b", text):
            found.append(("digits", re.sub(rf"\b{word}\b", str(number), text, count=1)))
        elif number > 1 and re.search(rf"(?<![\d.,:] )(?<![\d.,:])\b{number}\b(?![.,:]?\s?\d)", text):
            found.append(("digits", re.sub(rf"\b{number}\b", word, text, count=1)))
    tags = text.split(", ")
    if len(tags) > 3 and max(len(tag.split()) for tag in tags[1:]) < 5:
        rest = tags[1:]
        random.shuffle(rest)
        found.append(("tags", ", ".join([tags[0], *rest])))
    if match := re.fullmatch(
        r"((?:an?|one|two|three) [\w ]{3,30}) and ((?:an?|one|two|three) [\w ]{3,30})", text, re.IGNORECASE
    ):
        found.append(("conjuncts", f"{match[2]} and {match[1]}"))
    return random.choice(found) if found else None


def _synonym(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    return _replace(random, text, lambda word: words.synonyms.get(word, ()), "wordnet_synonym")


def _sister(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    return _replace(random, text, lambda word: words.sisters.get(word, ()), "sister")


def _antonym(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    return _replace(random, text, lambda word: words.antonyms.get(word, ()), "antonym")


def _contrast(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    return _replace(random, text, lambda word: CONTRAST.get(word, ()), "contrast")


NOT_CONTENT = frozenset(
    v.words(
        "the and for are was were has have had will would can could should not with from that this there his her its their who what "
        "when where which how why does did been being very more most some any all one two three use used get like make made"
    )
)


def _replace(random: Random, text: str, options, kind: str) -> tuple[str, str] | None:
    """One word replaced by one of its options; a plural stays one."""
    found = []
    for match in re.finditer(r"\b[a-zA-Z]{3,}\b", text):
        word = match[0].lower()
        if word in NOT_CONTENT and kind != "contrast":
            continue
        new = list(options(word))
        if not new and word.endswith("s") and not word.endswith("ss"):
            new = [plural(w) for w in options(word[:-1])]
        found += [(match, option.replace("_", " ")) for option in (random.sample(new, min(3, len(new))))]
    if not found:
        return None
    match, new = random.choice(found)
    before = text[: match.start()]
    before = re.sub(r"\b(a|an) $", "an " if new[0] in "aeiou" else "a ", before)
    return kind, before + new + text[match.end() :]


def _number(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    """Another count or year."""
    found = [*re.finditer(r"\b\d{1,4}\b", text), *list(re.finditer(rf"\b({'|'.join(COUNTING[2:])})\b", text))]
    if not found:
        return None
    match = random.choice(found)
    value = int(match[0]) if match[0].isdigit() else COUNTING.index(match[0])
    new = random.choice([n for n in (value + 1, value - 1, value + 2, value * 2, value + 10) if n > 1 and n != value])
    said = COUNTING[new] if not match[0].isdigit() and new < len(COUNTING) else str(new)
    return "number", text[: match.start()] + said + text[match.end() :]


ADJECTIVES = tuple(c for c in v.COLORS) + tuple(row[0] for row in v.SIZES + v.STATES + v.MATERIALS) + v.SHAPES
NOUNS = {n for table in (v.PEOPLE, v.ANIMALS, v.THINGS) for n in table if " " not in n}
NOUNS |= {plural(n) for n in NOUNS} | set(IRREGULAR.values())


def _insert(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    """One more attribute, place, time or clause: a different brief."""
    nouns = [m for m in re.finditer(r"\b[a-z]+\b", text) if m[0] in NOUNS]
    if nouns and random.random() < 0.6:
        at = random.choice(nouns).start()
        before = text[:at]
        new = random.choice(ADJECTIVES)
        before = re.sub(r"\b(a|an) $", "an " if new[0] in "aeiou" else "a ", before)
        return "add_att", f"{before}{new} {text[at:]}"
    more = random.choice(
        (
            random.choice(v.PLACES),
            random.choice(v.TIMES),
            f"with a {random.choice(v.THINGS)}",
            f"and a {random.choice(v.ANIMALS)}",
        )
    )
    return "add_detail", f"{text.rstrip(' .?!')} {more}"


def _delete(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    """One attribute or one prepositional phrase less."""
    known = [
        m
        for m in re.finditer(r"\b[a-z-]+ ", text)
        if m[0].strip() in ADJECTIVES or words.part.get(m[0].strip()) == "adj"
    ]
    known = [m for m in known if m[0].strip() not in NOT_CONTENT]
    if known and random.random() < 0.7:
        match = random.choice(known)
        return "drop_att", re.sub(
            r"\b(an?) ([a-z])",
            lambda m: f"{'an' if m[2] in 'aeiou' else 'a'} {m[2]}",
            text[: match.start()] + text[match.end() :],
        )
    tail = re.search(r" (?:in|on|with|near|under|behind|beside|next to|at|for|by) [\w ]{4,40}[.?!]?$", text)
    if tail and tail.start() > 12:
        return "drop_detail", text[: tail.start()]
    return None


def _exchange(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    """Two nouns, two attributes or two names change places."""
    tokens = list(re.finditer(r"\b[a-zA-Z]+\b", text))
    groups = (
        [
            m
            for m in tokens
            if m[0] in NOUNS or (words.part.get(m[0]) == "noun" and m[0] not in NOT_CONTENT and len(m[0]) > 3)
        ],
        [m for m in tokens if m[0] in ADJECTIVES],
        [m for m in tokens if m[0][0].isupper() and m.start() > 0 and m[0].lower() not in NOT_CONTENT],
    )
    groups = [group for group in groups if len({m[0].lower() for m in group}) > 1]
    if not groups:
        return None
    one, two = sorted(random.sample(random.choice(groups), 2), key=lambda m: m.start())
    between = text[one.end() : two.start()]
    if (
        one[0].lower() == two[0].lower()
        or re.fullmatch(r"\s*(,|and|or|&|, and)?\s*(an?|the)?\s*", between)
        or text.count(", ") > 2
    ):
        return None  # conjuncts and tags may change places
    return "exchange", text[: one.start()] + two[0] + between + one[0] + text[two.end() :]


def _negate(random: Random, text: str, words: Words) -> tuple[str, str] | None:
    """A negation put in or taken out."""
    for pattern, new in (
        (r"\bwithout\b", "with"), (r"\bis not\b", "is"), (r"\bare not\b", "are"), (r"\bnot\b ", ""), (r"n't\b", ""), (r"\bno\b", "a"),
    ):  # fmt: skip
        if re.search(pattern, text):
            return "negation", re.sub(pattern, new, text, count=1)
    options = [
        (pattern, new)
        for pattern, new in (
            (r"\bis (?=\w+ing\b)", "is not "), (r"\bare (?=\w+ing\b)", "are not "), (r"\bwith (?=an? )", "without "), (r"\bis (?=an? )", "is not "),
            (r"\bcan i\b", "can i not"), (r"\b(do|does|did|can|should|would) (i|you|we|they|he|she|people)\b", r"\1 \2 not"), (r"\bto (?=[a-z]+ )", "not to "),
            (r"\bhas\b", "doesn't have"), (r"\bwearing\b", "not wearing"), (r"\bis\b", "isn't"), (r"\bare\b", "aren't"),
        )
        if re.search(pattern, text, re.IGNORECASE)
    ]  # fmt: skip
    if not options:
        return None
    pattern, new = random.choice(options)
    return "negation", re.sub(pattern, new, text, count=1, flags=re.IGNORECASE)


def _address(random: Random, text: str, question: bool) -> tuple[str, str]:
    """The same, asked politely."""
    low = text[0].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
    return "polite", random.choice(ASKING if question else POLITE) + low


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


BREAKS = (_contrast, _number, _sister, _sister, _antonym, _insert, _delete, _exchange, _exchange, _negate)
"""Edits that make another request of a sentence; some are in twice to be chosen more often."""
