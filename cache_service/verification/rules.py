"""The rules verifier. START HERE: `RULES` is asked from top to bottom, the first verdict counts.

It decides on pairs that are already close (cosine ≥ 0.92), where a bare threshold serves 94 % of swapped objects and 44 % of replaced
attributes. A rule sees the facts of both prompts and answers `Different` (they ask for different things), `Unsure` (a miss as well),
`Same`, or None: nothing to say. Only prompts whose parts are equal, word for word after synonyms, pass the last rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias, cast

from cache_service.embedding.base import Seen
from cache_service.verification import tables
from cache_service.verification.base import Analysis, Different, Open, Same, Unsure, Verdict
from cache_service.verification.contrasts import contrast, relations_differ
from cache_service.verification.facts import Facts, gather
from cache_service.verification.owners import exchanged
from cache_service.verification.places import another_place
from cache_service.verification.scan import keeps_accents
from cache_service.verification.words import stem

VERSION = "rules-12"

Rule: TypeAlias = Callable[[Facts, Facts], Verdict | None]


class RulesVerifier:
    """Rules and tables only: no model, no I/O. English is understood; other languages are compared as written."""

    @property
    def version(self) -> str:
        """Changes whenever `analyse` gives other facts."""
        return VERSION

    def analyse(self, prompt: str, seen: Seen) -> Analysis:
        """The facts of one prompt. Pure, linear in its length."""
        return Analysis(version=VERSION, prompt=prompt, facts=dict(gather(prompt, seen)))

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

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict | Open:
        """The verdict itself: every rule is cheap."""
        return self.verify(asked, stored, operation)


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
    """Words in scripts the embedder can't tell apart, and words that mix scripts."""
    if asked["foreign"] != stored["foreign"]:
        return Unsure(f"script {_both(asked['foreign'], stored['foreign'])}")
    if asked["english"] != stored["english"]:
        return Unsure("language")
    return None


def accents(asked: Facts, stored: Facts) -> Verdict | None:
    """Letters with accents are equal: Spanish "año" is not "ano"."""
    if sorted(asked["accented"]) != sorted(stored["accented"]):
        return Unsure(f"letters {_both(asked['accented'], stored['accented'])}")
    return None


def accents_that_matter(asked: Facts, stored: Facts) -> Verdict | None:
    """In English a picture of a café is one of a cafe; a glass of rosé is none of rose."""
    if not (asked["english"] and stored["english"]):
        return accents(asked, stored)
    one, other = (sorted(word for word in facts["accented"] if keeps_accents(word)) for facts in (asked, stored))
    return Unsure(f"letters {_both(one, other)}") if one != other else None


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
    gone, new = _differences(_counted(asked), _counted(stored))
    if gone or new:
        return Different(f"count {_both(gone, new)}")
    return _bound("count", asked["counts"], stored["counts"])


def negation(asked: Facts, stored: Facts) -> Verdict | None:
    """As many words for "not" on both sides, the same ones."""
    if asked["negations"] != stored["negations"]:
        return Different(f"negation {_both(asked['negations'], stored['negations'])}")
    return None


def as_many_negations(asked: Facts, stored: Facts) -> Verdict | None:
    """In a question whether "without" says the same as "not" is for a model to judge."""
    one, other = asked["negations"], stored["negations"]
    return None if len(one) == len(other) and _PLAIN_DENIALS.issuperset((*one, *other)) else negation(asked, stored)


_PLAIN_DENIALS = frozenset(("no", "not", "@without", "cannot"))


def cased_words(asked: Facts, stored: Facts) -> Verdict | None:
    """Polish is not polish, US is not us."""
    for one, other in ((asked["cased"], stored["cased"]), (stored["cased"], asked["cased"])):
        for word in one:
            met = [cased for cased in other if cased.lower() == word.lower()]
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
    gone, new = _differences([colour for colour, _ in asked["colours"]], [colour for colour, _ in stored["colours"]])
    if gone and new:
        return Different(f"colour {_both(gone, new)}")
    return None if gone or new else _bound("colour", asked["colours"], stored["colours"])


def turned_passive(asked: Facts, stored: Facts) -> Verdict | None:
    """A question's passive that says the same when it is turned, or else asks about somebody else: does Anna love Ben, is Anna loved by Ben."""
    turned = set(asked["turned"]) ^ set(stored["turned"])
    if turned and not turned.isdisjoint(asked["words"]) and not _same_parts(asked, stored):
        return Unsure("who does it") if not turned.isdisjoint(stored["words"]) else None
    return None


def small_words(asked: Facts, stored: Facts) -> Verdict | None:
    """One small word makes another question: can I / can you, who is / who was, loves / is loved by."""
    one, other = ([word for word in side if word[0] != "@"] for side in _left_over(asked, stored))
    small = {*one, *other}
    if asked["plain"] == stored["plain"] or not small <= tables.SMALL:
        return None
    if not small:
        if set(asked["tense"]) != set(stored["tense"]):
            return Unsure(f"when it is: {_both(asked['tense'], stored['tense'])}")
        if any(_another_voice(form, met) for _, form, met in _shared_forms(asked, stored)):
            return Unsure("who does it")
        return None
    alone = len(one) + len(other) == 1 and small <= tables.SMALL_ALONE
    exclusive = len(one) == len(other) == 1 and (
        any(small <= group for group in tables.SMALL_EXCLUSIVE) or (small == {"i", "you"} and _yes_or_no(asked))
    )
    short = min(len(asked["words"]), len(stored["words"])) <= _SHORT
    return Unsure(f"small word {_both(one, other)}") if alone or exclusive or short else None


_SHORT = 2  # words of a question that are no small ones at most


def _yes_or_no(facts: Facts) -> bool:
    return facts["plain"].partition(" ")[0] in tables.YES_OR_NO


def tense(asked: Facts, stored: Facts) -> Verdict | None:
    """Who is and who was, what did and what will."""
    if set(asked["tense"]) != set(stored["tense"]):
        return Unsure(f"tense {_both(asked['tense'], stored['tense'])}")
    return None


def contrasting_words(asked: Facts, stored: Facts) -> Verdict | None:
    """One word put for another that excludes it: cat / dog, enable / disable, French / German."""
    one, other = _left_over(asked, stored)
    if len(one) * len(other) > _MOST_COMPARED:
        return Unsure("too many other words")
    compared = "@than" in asked["words"] and "@than" in stored["words"] and _same_parts(asked, stored)
    for gone in one:
        for new in other:
            if compared and tables.TURNS.get(gone) == tables.TURNS.get(new, ""):  # both ends are exchanged, too
                continue
            kind = contrast(gone, new)
            if kind is not None:
                reason = f"{kind} {gone} / {new}"
                return Unsure(reason) if kind == "question" else Different(reason)
    for word in (*one, *other):
        if word in tables.UNITS or word in tables.FOCUS or word == "undo":
            return Different(f"word {_both([word], []) if word in one else _both([], [word])}")
    return None


# Pairs of words, 8 µs each; so many words of both sides no model reads either (`pair_pieces.MAX_PIECES`).
_MOST_COMPARED = 1024


def contrasting_relations(asked: Facts, stored: Facts) -> Verdict | None:
    """Everything else the same, one relation put for another: lights on / off, a letter by / to the bank."""
    one, other = _left_over(asked, stored)
    if (
        len(one) == len(other) == 1
        and one[0][0] == other[0][0] == "@"
        and (
            relations_differ(one[0], other[0])
            or ({one[0], other[0]} == {"@by", "@of"} and _behind_a_medium(one[0], asked))
        )
    ):
        rest = ([word for word in facts["words"] if word not in (one[0], other[0])] for facts in (asked, stored))
        if next(rest) == next(rest):
            return Different(f"opposite {_both(one, other)}")
    return None


def _behind_a_medium(relation: str, facts: Facts) -> bool:
    """A drawing of a child is not one by a child."""
    at = facts["words"].index(relation)
    return at > 0 and facts["words"][at - 1] in tables.MEDIA


def ends_exchanged(asked: Facts, stored: Facts) -> Verdict | None:
    """The same words, but another thing stands behind a relation or a "not": a ball on a box, a box on a ball."""
    one, other = asked["words"], stored["words"]
    if one == other or sorted(one) != sorted(other):
        return None
    directed = (tables.DIRECTED | tables.NEGATIONS).intersection(one)
    if any(word[0] == "&" for word in one):
        directed -= {"@by"}  # by two artists
    for word in sorted(directed):
        sides = [_behind(word, words) for words in (one, other)]
        heads = [{run[0] for run in runs if run} for runs in sides]
        gone, new = (
            {head for head in heads[this] if not any(head in run for run in sides[1 - this])} for this in (0, 1)
        )
        if gone and new:
            return Different(f"{word.lstrip('@')} {min(gone)} / {min(new)}")
    return None


def _behind(relation: str, words: list[str]) -> list[list[str]]:
    """The words after each place where the relation stands, up to the next relation; what is between two things, both."""
    runs = []
    for at, word in enumerate(words):
        if word == relation:
            run = []
            for after in words[at + 1 :]:
                if after == "&and" and relation == "@between":
                    continue
                if not after[0].isalpha():
                    break
                if relation in tables.NEGATIONS or after not in tables.ATTRIBUTES:  # not red
                    run.append(after)
            runs.append(run)
    if relation == "@between":
        return [[word] for run in runs for word in run] or [[]]
    return runs


def other_ends(asked: Facts, stored: Facts) -> Verdict | None:
    """Two things that have given each other what a relation says of them: a cat with a hat and a dog with a scarf; Ann as Clara, Tom as Peter."""
    found = exchanged(_related(asked), _related(stored))
    return None if found is None else Different(found)


def _related(facts: Facts) -> list[list[str]]:
    """What stands behind each relation, with the relation, and what stands before it."""
    chains = [link.split("|") for parts in facts["segments"] for part in parts for link in part.split(";")]
    return [
        [f"{relation[1:]} {behind}", before]
        for chain in chains
        for before, relation, behind in zip(chain[::2], chain[1::2], chain[2::2], strict=False)
        if before and behind
    ]


def place(asked: Facts, stored: Facts) -> Verdict | None:
    """The same two things, standing otherwise to each other: a car in front of a bear, a bear to the right of a car."""
    found = another_place(*([part for parts in facts["segments"] for part in parts] for facts in (asked, stored)))
    return None if found is None else Different(found)


def another_action(asked: Facts, stored: Facts) -> Verdict | None:
    """A passive that says what else is done: a queen leads a wizard, a wizard is carried by a queen."""
    gone, new = _left_over(asked, stored)
    if ("@by" in gone) == ("@by" in new):
        return None
    one, other = ([part.split(" ") for parts in facts["segments"] for part in parts] for facts in (asked, stored))
    apart = [(said, met) for said, met in zip(one, other, strict=False) if said != met]
    if len(one) != len(other) or len(apart) != 1 or len(apart[0][0]) != len(apart[0][1]):
        return None
    said, met = apart[0]
    places = [at for at, word in enumerate(said) if word != met[at]]
    if len(places) != 1 or places[0] in (0, len(said) - 1):  # who does it, and to whom, is no action
        return None
    done, instead = said[places[0]], met[places[0]]
    alike = done[:2] == instead[:2]  # drink, drunk
    return None if alike or not (done + instead).isalpha() else Unsure(f"action {done} / {instead}")


def who_does_it(asked: Facts, stored: Facts) -> Verdict | None:
    """What bees eat is not what eats bees."""
    sides = [facts["plain"].split(" ") for facts in (asked, stored)]
    sides = [side[1:] if side[1:2] and side[1] in _ASKING_FOR_ONE else side for side in sides]  # for whom does Ann work
    one, other = (sorted("who" if word == "whom" else word for word in facts["words"]) for facts in (asked, stored))
    if all(side[0] in _ASKING_FOR_ONE for side in sides) and one == other:
        helped = [bool(tables.DO.intersection(side[1:3])) for side in sides]  # which owls do
        if helped[0] != helped[1]:
            return Unsure("who does it")
    return None


def who_is_acted_on(asked: Facts, stored: Facts) -> Verdict | None:
    """They look at a kid, a kid looks at them."""
    one, other = (facts["plain"].split(" ") for facts in (asked, stored))
    if "by" in one or "by" in other:  # they are looked at by a kid
        return None
    for does, suffers in _CASES.items():
        said, met = ((does in words, suffers in words) for words in (one, other))
        if said != met and {said, met} == {(True, False), (False, True)}:
            return Different(f"who does it: {does} / {suffers}")
    return None


_CASES = {"they": "them", "he": "him", "we": "us"}
_ASKING_FOR_ONE = frozenset(("who", "whom", "what", "which"))


def within_its_like(asked: Facts, stored: Facts) -> Verdict | None:
    """A picture of a picture of a dog is no picture of a dog."""
    one, other = (_WITHIN_ITS_LIKE.findall(facts["plain"]) for facts in (asked, stored))
    return Different(f"in another {min(one + other)}") if sorted(one) != sorted(other) else None


_WITHIN_ITS_LIKE = re.compile(r"\b([a-z]+) of (?:an? |the |another )?\1\b")


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


def another_number(asked: Facts, stored: Facts) -> Verdict | None:
    """Where all else is said alike, a leaf is not leaves: behind "the", "my" and "with a" too."""
    one, other = _left_over(asked, stored)
    if asked["tense"] != stored["tense"] or len(one) > 1 or len(other) > 1:
        return None
    changed = [word for word, form, met in _shared_forms(asked, stored) if {form, met} == {"s", "p"}]
    if one and other:  # "an apple tree with apples": a word that a prompt has in two forms is kept as written
        changed = [stem(one[0])] if _are_numbers_of_one(one[0], other[0]) else []
    elif one or other:
        return None
    counted = {thing for facts in (asked, stored) for _, thing in facts["counts"]}  # "three zebra" are zebras
    for word in changed:
        both = word in tables.DONE and not tables.COLLECTIVE.isdisjoint(
            asked["words"]
        )  # "a couple walks", "a couple walk"
        if word not in tables.RESTING and word not in counted and word != "lot" and not both:
            return Different(f"number of {word}")
    return None


def _are_numbers_of_one(one: str, other: str) -> bool:
    singular, plural = sorted((one, other), key=lambda word: word != stem(word))
    return stem(plural) == singular != plural and (plural in tables.PLURALS or plural.endswith("s"))


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
        if _another_voice(one, other):
            return Unsure(f"done / doing of {word}")
    return None


def _another_voice(one: str, other: str) -> bool:
    done, met = set(one), set(other)
    if ("d" in done) != ("d" in met):
        return True
    return (done <= set("dv") and met <= set("sp")) or (met <= set("dv") and done <= set("sp"))


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


def medium_or_thing(asked: Facts, stored: Facts) -> Verdict | None:
    """A picture of a frame is no picture frame."""
    for one, other in ((asked, stored), (stored, asked)):
        for medium in one["media"]:
            if medium not in other["media"] and _before_a_noun(medium, other["words"]):
                return Unsure(f"medium {medium}")
    return None


def _before_a_noun(word: str, words: list[str]) -> bool:
    return any(first == word and second[0].isalpha() for first, second in pairwise(words))


def _his_or_her(facts: Facts) -> list[str]:
    return [word for word in facts["genders"] if word in ("his", "her")]


def unsaid_in_chat(asked: Facts, stored: Facts) -> Verdict | None:
    """In a question nothing is left out: postures, media and finish are words like any other."""
    for what in ("postures", "media", "finish", "genders"):
        if asked[what] != stored[what]:
            return Unsure(f"{what} {_both(asked[what], stored[what])}")
    return None


def under_another_label(asked: Facts, stored: Facts) -> Verdict | None:
    """Brick walls and a marble floor, said as "walls: brick, floor: marble". Under one label a model may judge other words."""
    one, other = sorted(asked["labelled"]), sorted(stored["labelled"])
    if one == other:
        return None
    several = any(len({label for _, label in side if label}) > 1 for side in (one, other))
    return Unsure("what belongs to which label") if several or not any(_left_over(asked, stored)) else None


def described_otherwise(asked: Facts, stored: Facts) -> Verdict | None:
    """A king, sitting, a guard, standing: not the other way round."""
    found = (
        exchanged(asked["described"], stored["described"])
        or exchanged(asked["by_unit"], stored["by_unit"])
        or exchanged(asked["beside"], stored["beside"], in_turn=False)
    )
    return None if found is None else Different(found)


def parts_in_any_order(asked: Facts, stored: Facts) -> Verdict | None:
    """A picture's parts are a set, unless words like "then" or "it" tie them together."""
    if asked["ordered"] or stored["ordered"]:
        return parts_in_order(asked, stored)
    if asked["told"] != stored["told"]:  # he opens a door, he sees a cat
        return _objection(asked, stored)
    one, other = ([part for segment in facts["segments"] for part in segment] for facts in (asked, stored))
    return None if sorted(one) == sorted(other) else _objection(asked, stored)


def parts_in_order(asked: Facts, stored: Facts) -> Verdict | None:
    """The same segments one after the other; within one, what "and" joins is a set."""
    return None if _same_parts(asked, stored) else _objection(asked, stored)


def _same_parts(asked: Facts, stored: Facts) -> bool:
    one, other = asked["segments"], stored["segments"]
    return len(one) == len(other) and all(
        sorted(segment) == sorted(met) for segment, met in zip(one, other, strict=True)
    )


IMAGES = frozenset(("images",))
CHAT = frozenset(("chat",))
BOTH = IMAGES | CHAT

RULES: tuple[tuple[frozenset[str], Rule], ...] = (
    (BOTH, outside_the_window),
    (BOTH, long_text),
    (BOTH, other_scripts),
    (CHAT, accents),
    (IMAGES, accents_that_matter),
    (BOTH, symbols),
    (BOTH, verbatim),
    (CHAT, code_marks),
    (BOTH, numbers),
    (IMAGES, negation),
    (CHAT, as_many_negations),
    (BOTH, cased_words),
    (CHAT, question_mark),
    (BOTH, equal_after_normalising),
    (BOTH, colours),
    (CHAT, who_does_it),
    (CHAT, turned_passive),
    (CHAT, small_words),
    (CHAT, tense),
    (CHAT, voice),
    (BOTH, contrasting_words),
    (BOTH, contrasting_relations),
    (BOTH, ends_exchanged),
    (BOTH, other_ends),
    (BOTH, who_is_acted_on),
    (IMAGES, place),
    (IMAGES, another_action),
    (BOTH, names),
    (IMAGES, another_number),
    (BOTH, one_or_several),
    (IMAGES, done_or_doing),
    (IMAGES, postures_and_media),
    (IMAGES, medium_or_thing),
    (IMAGES, within_its_like),
    (BOTH, under_another_label),
    (IMAGES, described_otherwise),
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
    if asked["bound"] or stored["bound"] or sorted(asked["groups"]) != sorted(stored["groups"]) != []:
        return Unsure("what belongs to what")
    if len({word for word in asked["words"] if word[0] == "&"}) > 1:
        return Unsure("and / or")
    return Unsure("order of the words")


def _left_over(asked: Facts, stored: Facts) -> tuple[list[str], list[str]]:
    gone, new = _differences(asked["words"], stored["words"])
    return sorted(gone), sorted(new)


def _differences(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the one has more often, and what the other, each in its own order."""
    if one == other:
        return [], []
    counts = Counter(one)
    counts.subtract(other)
    gone = [word for word, count in counts.items() for _ in range(count)]
    return gone, [word for word in dict.fromkeys(other) for _ in range(-counts[word])]


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
