"""The rules verifier. START HERE: `RULES` is asked from top to bottom, the first verdict counts.

It decides on pairs that are already close (cosine ≥ 0.92), where a bare threshold serves 94 % of swapped objects and 44 % of replaced
attributes. A rule sees the facts of both prompts and answers `Different` (they ask for different things), `Unsure` (a miss as well),
`Same`, or None: nothing to say. Only prompts whose parts are equal, word for word after synonyms, pass the last rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias, cast

from cache_service.embedding.base import Embedding
from cache_service.verification import tables
from cache_service.verification.base import Analysis, Different, Same, Unsure, Verdict
from cache_service.verification.contrasts import contrast, relations_differ
from cache_service.verification.facts import Facts, gather
from cache_service.verification.words import stem

VERSION = "rules-2"

Rule: TypeAlias = Callable[[Facts, Facts], Verdict | None]


class RulesVerifier:
    """Rules and tables only: no model, no I/O. English is understood; other languages are compared as written."""

    @property
    def version(self) -> str:
        """Changes whenever `analyse` gives other facts."""
        return VERSION

    def analyse(self, prompt: str, embedding: Embedding) -> Analysis:
        """The facts of one prompt. Pure, linear in its length."""
        return Analysis(version=VERSION, prompt=prompt, facts=dict(gather(prompt, embedding)))

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        """The verdict of the first rule that has one; `Unsure` for an analysis of another version."""
        if asked.version != VERSION or stored.version != VERSION:
            return Unsure("analysed by another version")
        one, other = cast("Facts", asked.facts), cast("Facts", stored.facts)
        for operations, rule in RULES:
            if operation in operations:
                verdict = rule(one, other)
                if verdict is not None:
                    return verdict
        return Same("no rule objects")


def outside_the_window(asked: Facts, stored: Facts) -> Verdict | None:
    """What the embedder can't see is equal byte for byte."""
    if asked["unseen"] != stored["unseen"]:
        return Unsure(f"unseen text {_both(asked['unseen'], stored['unseen'])}")
    return None if asked["tail"] == stored["tail"] else Unsure("text after the embedder's window")


def long_text(asked: Facts, stored: Facts) -> Verdict | None:
    """Equal as a whole, or too long to be compared part by part."""
    if asked["whole"] == stored["whole"]:
        return Same("equal after normalising")
    return Unsure("long text") if asked["long"] or stored["long"] else None


def other_scripts(asked: Facts, stored: Facts) -> Verdict | None:
    """Words in scripts the embedder can't tell apart, letters with accents, and words that mix scripts."""
    if asked["foreign"] != stored["foreign"]:
        return Unsure(f"script {_both(asked['foreign'], stored['foreign'])}")
    if sorted(asked["accented"]) != sorted(stored["accented"]):
        return Unsure(f"letters {_both(asked['accented'], stored['accented'])}")
    if asked["english"] != stored["english"]:
        return Unsure("language")
    return None


def symbols(asked: Facts, stored: Facts) -> Verdict | None:
    """Emoji, currency, mathematics, invisible characters."""
    if sorted(asked["symbols"]) != sorted(stored["symbols"]):
        return Different(f"symbol {_both(asked['symbols'], stored['symbols'])}")
    return None


def verbatim(asked: Facts, stored: Facts) -> Verdict | None:
    """Quoted text, code, identifiers and links are equal byte for byte."""
    if sorted(asked["verbatim"]) != sorted(stored["verbatim"]):
        return Different(f"text {_both(asked['verbatim'], stored['verbatim'])}")
    return None


def code_marks(asked: Facts, stored: Facts) -> Verdict | None:
    """Code and formulas are equal as a whole, which an earlier rule has seen; other brackets are the same: 2*(3+4) is not 2*3+4."""
    if asked["code"] or stored["code"]:
        return Unsure("code or a formula")
    if asked["marks"] != stored["marks"] or (
        asked["indents"] != stored["indents"] and (asked["marks"] or stored["marks"])
    ):
        return Unsure("marks of code or a formula")
    return None


def numbers(asked: Facts, stored: Facts) -> Verdict | None:
    """Amounts, dates, versions, units, ordinals are equal; numbers of a quality tag ("8k") may be missing on one side."""
    if asked["finish"] and stored["finish"] and sorted(asked["finish"]) != sorted(stored["finish"]):
        return Different(f"number {_both(asked['finish'], stored['finish'])}")
    if (one := Counter(_counted(asked))) != (other := Counter(_counted(stored))):
        return Different(f"count {_both((one - other).elements(), (other - one).elements())}")
    return _bound("count", asked["counts"], stored["counts"])


def negation(asked: Facts, stored: Facts) -> Verdict | None:
    """As many words for "not" on both sides, the same ones."""
    if asked["negations"] != stored["negations"]:
        return Different(f"negation {_both(asked['negations'], stored['negations'])}")
    return None


def cased_words(asked: Facts, stored: Facts) -> Verdict | None:
    """Polish is not polish, US is not us."""
    for word in asked["cased"]:
        met = [other for other in stored["cased"] if other.lower() == word.lower()]
        if met and word not in met:
            return Unsure(f"capital {word} / {met[0]}")
    return None


def question_mark(asked: Facts, stored: Facts) -> Verdict | None:
    """A statement is no question; what opens with a question word is one without the mark."""
    if (
        "?" in (ends := {asked["ends"], stored["ends"]})
        and "." in ends
        and not (_opens_question(asked) and _opens_question(stored))
    ):
        return Unsure("statement / question")
    return None


def equal_after_normalising(asked: Facts, stored: Facts) -> Verdict | None:
    """The same words in the same order."""
    return Same("equal after normalising") if asked["plain"] == stored["plain"] else None


def colours(asked: Facts, stored: Facts) -> Verdict | None:
    """The same colours, on the same things."""
    one, other = Counter(colour for colour, _ in asked["colours"]), Counter(colour for colour, _ in stored["colours"])
    gone, new = one - other, other - one
    if gone and new:
        return Different(f"colour {_both(gone.elements(), new.elements())}")
    return None if gone or new else _bound("colour", asked["colours"], stored["colours"])


def tense(asked: Facts, stored: Facts) -> Verdict | None:
    """Who is and who was, what did and what will."""
    if set(asked["tense"]) != set(stored["tense"]):
        return Unsure(f"tense {_both(asked['tense'], stored['tense'])}")
    return None


def contrasting_words(asked: Facts, stored: Facts) -> Verdict | None:
    """One word put for another that excludes it: cat / dog, enable / disable, French / German."""
    one, other = _left_over(asked, stored)
    for gone in one:
        for new in other:
            kind = contrast(gone, new)
            if kind is not None:
                reason = f"{kind} {gone} / {new}"
                return Unsure(reason) if kind == "question" else Different(reason)
    return None


def contrasting_relations(asked: Facts, stored: Facts) -> Verdict | None:
    """Everything else the same, one relation put for another: lights on / off, a letter by / to the bank."""
    (one, other) = _left_over(asked, stored)
    if len(one) == len(other) == 1 and one[0][0] == other[0][0] == "@" and relations_differ(one[0], other[0]):
        if [w for w in asked["words"] if w != one[0]] == [w for w in stored["words"] if w != other[0]]:
            return Different(f"opposite {_both(one, other)}")
    return None


def ends_exchanged(asked: Facts, stored: Facts) -> Verdict | None:
    """The same words, but another thing stands behind the relation: a ball on a box, a box on a ball."""
    one, other = asked["words"], stored["words"]
    if one == other or sorted(one) != sorted(other) or any(word[0] == "&" for word in one):
        return None
    for relation in tables.DIRECTED.intersection(one):
        if one.count(relation) == 1:
            first, second = _behind(relation, one), _behind(relation, other)
            if first != second and _before(relation, second, one) and _before(relation, first, other):
                return Different(f"{relation[1:]} {first} / {second}")
    return None


def _behind(relation: str, words: list[str]) -> str:
    """The first word after the relation that is no attribute; "" if another relation comes first."""
    for word in words[words.index(relation) + 1 :]:
        if not word[0].isalpha():
            return ""
        if word not in tables.ATTRIBUTES:
            return word
    return ""


def _before(relation: str, word: str, words: list[str]) -> bool:
    return words.count(word) == 1 and words.index(word) < words.index(relation)


def who_does_it(asked: Facts, stored: Facts) -> Verdict | None:
    """What bees eat is not what eats bees."""
    sides = [facts["plain"].split(" ")[:2] for facts in (asked, stored)]
    if all(side[0] in _ASKING_FOR_ONE for side in sides) and sorted(asked["words"]) == sorted(stored["words"]):
        helped = [len(side) > 1 and side[1] in tables.DO for side in sides]
        if helped[0] != helped[1]:
            return Unsure("who does it")
    return None


_ASKING_FOR_ONE = frozenset(("who", "whom", "what", "which"))


def names(asked: Facts, stored: Facts) -> Verdict | None:
    """A name that only one side has, in any spelling."""
    one, other = _left_over(asked, stored)
    for left, named in ((one, asked["names"]), (other, stored["names"])):
        others = {stem(word) for word in (*one, *other) if word not in left}
        missing = [word for word in left if word in named and stem(word) not in others]
        if missing:
            return Different(f"name {missing[0]}")
    return None


def one_or_several(asked: Facts, stored: Facts) -> Verdict | None:
    """One dog is not dogs; what is asked about a dog may be asked about dogs."""
    if _opens_question(asked) and _opens_question(stored):
        return None
    for word, one, other in _shared_forms(asked, stored):
        if {one, other} == {"s", "p"}:
            if word in (asked if one == "s" else stored)["ones"]:
                return Different(f"count one {word} / several")
            return Unsure(f"singular / plural of {word}")
    return None


def done_or_doing(asked: Facts, stored: Facts) -> Verdict | None:
    """A man painting is not a man painted."""
    for word, one, other in _shared_forms(asked, stored):
        for form, met in ((one, other), (other, one)):
            if set(form) <= {"d", "v"} and (met == "g" or ("d" in form and not {*"dv"} & set(met))):
                return Unsure(f"done / doing of {word}")
    return None


def voice(asked: Facts, stored: Facts) -> Verdict | None:
    """In a question: whether someone fired or was fired."""
    for word, one, other in _shared_forms(asked, stored):
        done, met = set(one), set(other)
        if (
            ("d" in done) != ("d" in met)
            or (done <= set("dv") and met <= set("sp"))
            or (met <= set("dv") and done <= set("sp"))
        ):
            return Unsure(f"done / doing of {word}")
    return None


def _shared_forms(asked: Facts, stored: Facts) -> list[tuple[str, str, str]]:
    return [(word, form, stored["forms"][word]) for word, form in asked["forms"].items() if word in stored["forms"]]


def postures_and_media(asked: Facts, stored: Facts) -> Verdict | None:
    """Sits and stands exclude each other, as do photo and painting, his and her; one of them unsaid is no difference."""
    for what, one, other in (
        ("posture", asked["postures"], stored["postures"]),
        ("medium", asked["media"], stored["media"]),
        ("gender", _his_or_her(asked), _his_or_her(stored)),
    ):
        if one and other and set(one) != set(other) and "picture" not in (*one, *other):  # which may be any of them
            rests = "rest" in (*one, *other)
            return Unsure(f"unmatched word {_both(one, other)}") if rests else Different(f"{what} {_both(one, other)}")
    return None


def _his_or_her(facts: Facts) -> list[str]:
    return [word for word in facts["genders"] if word in ("his", "her")]


def unsaid_in_chat(asked: Facts, stored: Facts) -> Verdict | None:
    """In a question nothing is left out: postures, media and finish are words like any other."""
    for what in ("postures", "media", "finish", "genders"):
        if asked[what] != stored[what]:
            return Unsure(f"{what} {_both(asked[what], stored[what])}")
    return None


def parts_in_any_order(asked: Facts, stored: Facts) -> Verdict | None:
    """A picture's parts are a set, unless words like "then" or "it" tie them together."""
    if asked["ordered"] or stored["ordered"]:
        return parts_in_order(asked, stored)
    one, other = ([part for segment in facts["segments"] for part in segment] for facts in (asked, stored))
    return None if sorted(one) == sorted(other) else _objection(asked, stored)


def parts_in_order(asked: Facts, stored: Facts) -> Verdict | None:
    """The same segments one after the other; within one, what "and" joins is a set."""
    same = [sorted(segment) for segment in asked["segments"]] == [sorted(segment) for segment in stored["segments"]]
    return None if same else _objection(asked, stored)


IMAGES = frozenset(("images",))
CHAT = frozenset(("chat",))
BOTH = IMAGES | CHAT

RULES: tuple[tuple[frozenset[str], Rule], ...] = (
    (BOTH, outside_the_window),
    (BOTH, long_text),
    (BOTH, other_scripts),
    (BOTH, symbols),
    (BOTH, verbatim),
    (CHAT, code_marks),
    (BOTH, numbers),
    (BOTH, negation),
    (BOTH, cased_words),
    (CHAT, question_mark),
    (BOTH, equal_after_normalising),
    (BOTH, colours),
    (CHAT, tense),
    (CHAT, voice),
    (CHAT, who_does_it),
    (BOTH, contrasting_words),
    (BOTH, contrasting_relations),
    (BOTH, ends_exchanged),
    (BOTH, names),
    (BOTH, one_or_several),
    (IMAGES, done_or_doing),
    (IMAGES, postures_and_media),
    (CHAT, unsaid_in_chat),
    (IMAGES, parts_in_any_order),
    (CHAT, parts_in_order),
)


def _objection(asked: Facts, stored: Facts) -> Verdict:
    """Why unequal parts are no hit."""
    one, other = _left_over(asked, stored)
    if not (asked["english"] and stored["english"]):
        return Unsure("not equal, and not English")
    if one or other:
        return Unsure(f"unmatched word {_both(one, other)}")
    return Unsure("order of the words")


def _left_over(asked: Facts, stored: Facts) -> tuple[list[str], list[str]]:
    one, other = Counter(asked["words"]), Counter(stored["words"])
    return sorted((one - other).elements()), sorted((other - one).elements())


def _bound(what: str, asked: list[list[str]], stored: list[list[str]]) -> Verdict | None:
    """Different where two values have changed places: red cube, blue sphere / blue cube, red sphere."""
    one = {thing: value for value, thing in asked if thing}
    other = {thing: value for value, thing in stored if thing}
    changed = [thing for thing in one if thing in other and one[thing] != other[thing]]
    if changed and len(one) == len(asked) and len(other) == len(stored):
        thing = min(changed)
        return Different(f"{what} {one[thing]} {thing} / {other[thing]} {thing}")
    return None


def _counted(facts: Facts) -> list[str]:
    """Numbers except a single "1" or "one", which may also be said as "a"."""
    return [number for number in facts["numbers"] if number != "#1"]


def _opens_question(facts: Facts) -> bool:
    first = facts["plain"].partition(" ")[0]
    return (
        first in tables.QUESTION_WORDS
        or first in tables.BE
        or first in tables.DO
        or first in ("can", "could", "should", "will")
    )


def _both(one: object, other: object) -> str:
    """Both sides, "3 / 4", cut short, for a reason."""
    sides = (" ".join(str(word).lstrip("#@&=") for word in side)[:60] or "–" for side in (one, other))  # type: ignore[attr-defined]
    return " / ".join(sides)
