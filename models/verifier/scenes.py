"""Image prompts from a small grammar: one meaning said in many ways is the same, a changed meaning said in any way is not.

Every meaning here is a frozen value with `say(random)` (one of its surface forms) and `changes(random)` (meanings that
are close to it and different). Written for this project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Protocol

import vocabulary as v

COUNTING = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "mouse": "mice", "sheep": "sheep", "deer": "deer", "fish": "fish",
    "goose": "geese", "wolf": "wolves", "knife": "knives", "policeman": "policemen", "box": "boxes", "businessman": "businessmen",
    "fisherman": "fishermen", "thief": "thieves", "bus": "buses", "brush": "brushes", "watch": "watches", "bench": "benches",
    "torch": "torches", "sandwich": "sandwiches", "octopus": "octopuses", "cactus": "cacti", "glass": "glasses", "walrus": "walruses",
}  # fmt: skip


class Meaning(Protocol):
    """What a prompt asks for."""

    def say(self, random: Random) -> str:
        """One way to ask for it."""

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Close meanings that are different, each with the kind of change."""


def plural(noun: str) -> str:
    """The plural of a noun or of its last word."""
    head, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    else:
        last += "s"
    return f"{head} {last}" if head else last


def article(phrase: str) -> str:
    """The phrase behind its indefinite article."""
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def other(random: Random, table: tuple, *not_these: object) -> object:
    """A member of a table that is none of these."""
    while (chosen := random.choice(table)) in not_these:
        pass
    return chosen


def noun(random: Random) -> str:
    """Any noun."""
    return random.choice(random.choice((v.PEOPLE, v.ANIMALS, v.THINGS, v.THINGS)))


@dataclass(frozen=True)
class Thing:
    """A counted noun with up to two attributes; attributes are rows of synonyms."""

    noun: str
    count: int = 1
    attributes: tuple[tuple[str, ...], ...] = ()

    def say(self, random: Random, definite: bool = False) -> str:
        """A noun phrase."""
        words = [random.choice(row) for row in self.attributes]
        before = [w for w in words if not w.startswith("made of")]
        after = [w for w in words if w.startswith("made of")]
        if before and not definite and random.random() < 0.25:
            after = [*before, *after]
            before = []
            name = self._count(random, self.noun)
            copula = (
                random.choice(("that is", "which is")) if self.count == 1 else random.choice(("that are", "which are"))
            )
            return f"{name} {copula} {' and '.join(after)}"
        name = " ".join([*before, self.noun])
        return " ".join([self._count(random, name, definite), *after])

    def _count(self, random: Random, name: str, definite: bool = False) -> str:
        if self.count == 1:
            if definite:
                return f"the {name}"
            return article(name) if random.random() < 0.9 else f"one {name}"
        digits = random.random() < 0.35
        return f"{'the ' * definite}{self.count if digits else COUNTING[self.count]} {plural(name)}"

    def changes(self, random: Random) -> Iterator[tuple[str, Thing]]:
        """Another noun, count or attribute."""
        yield "replace_obj", replace(self, noun=other_noun(random, self.noun))
        counts = [n for n in (self.count - 1, self.count + 1, random.randint(2, 9)) if n >= 1 and n != self.count]
        yield "count", replace(self, count=random.choice(counts))
        if self.attributes:
            place = random.randrange(len(self.attributes))
            new = similar_attribute(random, self.attributes[place])
            yield (
                "replace_att",
                replace(self, attributes=(*self.attributes[:place], new, *self.attributes[place + 1 :])),
            )
            yield "drop_att", replace(self, attributes=self.attributes[:place] + self.attributes[place + 1 :])
        if len(self.attributes) < 2:
            yield "add_att", replace(self, attributes=(*self.attributes, attribute(random)))


def other_noun(random: Random, known: str) -> str:
    """Another noun, mostly of the same kind."""
    for table in (v.PEOPLE, v.ANIMALS, v.THINGS):
        if known in table and random.random() < 0.8:
            return other(random, table, known)
    while (chosen := noun(random)) == known:
        pass
    return chosen


def attribute(random: Random) -> tuple[str, ...]:
    """Any attribute with its synonyms."""
    kind = random.random()
    if kind < 0.45:
        return (random.choice(v.COLORS),)
    return random.choice(random.choice((v.SIZES, v.MATERIALS, tuple((s,) for s in v.SHAPES), v.STATES)))


def similar_attribute(random: Random, known: tuple[str, ...]) -> tuple[str, ...]:
    """Another attribute, mostly of the same kind."""
    tables = (tuple((c,) for c in v.COLORS), v.SIZES, v.MATERIALS, tuple((s,) for s in v.SHAPES), v.STATES)
    for table in tables:
        if known in table and random.random() < 0.85:
            return other(random, table, known)
    return other(random, tuple((c,) for c in v.COLORS), known)


def thing(random: Random, count: bool = False, attributes: float = 0.6, table: tuple[str, ...] | None = None) -> Thing:
    """Any thing, with a chance of attributes."""
    name = random.choice(table) if table else noun(random)
    chosen: tuple[tuple[str, ...], ...] = ()
    if random.random() < attributes:
        chosen = (attribute(random),)
        if random.random() < 0.2 and (second := attribute(random)) != chosen[0]:
            chosen = (*chosen, second)
    return Thing(name, random.randint(2, 8) if count and random.random() < 0.6 else 1, chosen)


def distinct(random: Random, number: int, **how: object) -> tuple[Thing, ...]:
    """Things with different nouns."""
    things: dict[str, Thing] = {}
    while len(things) < number:
        new = thing(random, **how)
        things.setdefault(new.noun, new)
    return tuple(things.values())


@dataclass(frozen=True)
class Framed:
    """A meaning with an optional medium, place and time around it."""

    inner: Meaning
    medium: tuple[str, ...] | None = None
    place: str | None = None
    time: str | None = None

    def say(self, random: Random) -> str:
        """The meaning with its frame; place and time in either order, time perhaps in front."""
        text = self.inner.say(random)
        tail = [part for part in (self.place, self.time) if part]
        random.shuffle(tail)
        if tail and not self.medium and random.random() < 0.15:
            front = tail.pop()
            text = f"{front}, {text}"
        text = " ".join([text, *tail])
        if self.medium:
            text = f"{random.choice(self.medium)} {text}"
        return text

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Changes of the inner meaning and of the frame."""
        for kind, changed in self.inner.changes(random):
            yield kind, replace(self, inner=changed)
        yield "medium", replace(self, medium=other(random, v.MEDIA, self.medium))
        yield "place", replace(self, place=other(random, v.PLACES, self.place))
        yield "time", replace(self, time=other(random, v.TIMES, self.time))
        if self.place:
            yield "drop_place", replace(self, place=None)
        if self.time:
            yield "drop_time", replace(self, time=None)
        if self.medium:
            yield "drop_medium", replace(self, medium=None)


@dataclass(frozen=True)
class Several:
    """Things side by side; their order says nothing."""

    things: tuple[Thing, ...]

    def say(self, random: Random) -> str:
        """A list in any order."""
        parts = [thing.say(random) for thing in random.sample(self.things, len(self.things))]
        if len(parts) == 1:
            return parts[0]
        if random.random() < 0.1:
            return ", ".join(parts)
        joint = ", and " if len(parts) > 2 and random.random() < 0.3 else " and "
        return joint.join([", ".join(parts[:-1]), parts[-1]])

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """One thing changed, attributes or counts exchanged, a thing added or gone."""
        place = random.randrange(len(self.things))
        for kind, changed in self.things[place].changes(random):
            yield kind, replace(self, things=(*self.things[:place], changed, *self.things[place + 1 :]))
        if len(self.things) > 1:
            one, two, *rest = random.sample(self.things, len(self.things))
            if one.attributes != two.attributes:
                swapped = (replace(one, attributes=two.attributes), replace(two, attributes=one.attributes), *rest)
                yield "swap_att", Several(swapped)
                yield "swap_att", Several(swapped)
            if one.count != two.count:
                yield "swap_count", Several((replace(one, count=two.count), replace(two, count=one.count), *rest))
            yield "drop_obj", Several((one, *rest))
        if len(self.things) < 4:
            yield "add_obj", Several((*self.things, *distinct(random, 1)))


@dataclass(frozen=True)
class Relation:
    """One thing in a place relative to another."""

    first: Thing
    relation: str
    second: Thing

    def say(self, random: Random) -> str:
        """As it is, or from the other end."""
        first, relation, second = self.first, self.relation, self.second
        spellings, inverse = v.RELATIONS[relation]
        if inverse and random.random() < 0.45:
            first, second, spellings = second, first, v.RELATIONS[inverse][0]
        how = random.choice(spellings)
        link = random.choice(("", "", "is ", "positioned ", "located ")) if not how.startswith("with") else ""
        definite = link == "is " and random.random() < 0.5
        text = f"{first.say(random, definite)} {link}{how} {second.say(random, definite)}"
        return f"there is {text}" if link == "" and random.random() < 0.1 else text

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Ends exchanged, another relation, attributes exchanged, another thing."""
        inverse = v.RELATIONS[self.relation][1]
        if inverse != self.relation:
            yield "swap_obj", replace(self, first=self.second, second=self.first)
            yield "swap_obj", replace(self, first=self.second, second=self.first)
            if inverse:
                yield "inverse", replace(self, relation=inverse)
        near = {"left", "right", "above", "below", "front", "behind", "on", "under", "inside", "near", "far"}
        close = {
            ("above", "on"),
            ("on", "above"),
            ("below", "under"),
            ("under", "below"),
            ("near", "opposite"),
            ("opposite", "near"),
        }
        while (new := random.choice(sorted(near))) == self.relation or (self.relation, new) in close:
            pass
        yield "replace_rel", replace(self, relation=new)
        if self.first.attributes != self.second.attributes:
            yield (
                "swap_att",
                Relation(
                    replace(self.first, attributes=self.second.attributes),
                    self.relation,
                    replace(self.second, attributes=self.first.attributes),
                ),
            )
        for kind, changed in self.first.changes(random):
            if kind != "count":
                yield kind, replace(self, first=changed)
        for kind, changed in self.second.changes(random):
            if kind == "replace_obj":
                yield kind, replace(self, second=changed)


@dataclass(frozen=True)
class Action:
    """Someone does something to someone: active and passive are the same, exchanged roles aren't."""

    agent: Thing
    verb: tuple
    patient: Thing
    negated: bool = False

    def say(self, random: Random) -> str:
        """Active or passive, simple or progressive, as a sentence or a noun phrase."""
        forms = self.verb[:4]
        if self.verb[4] and random.random() < 0.4:
            forms = self.verb[4]
        base, third, doing, done = forms
        definite = random.random() < 0.2
        agent, patient = self.agent.say(random, definite), self.patient.say(random, definite)
        be_agent, be_patient = (("is" if end.count == 1 else "are") for end in (self.agent, self.patient))
        if self.negated:
            no = random.choice((" not", "n't"))
            return random.choice(
                (f"{agent} {be_agent}{no} {doing} {patient}", f"{patient} {be_patient}{no} being {done} by {agent}")
            )
        if random.random() < 0.4:
            return random.choice(
                (
                    f"{patient} {be_patient} being {done} by {agent}",
                    f"{patient} being {done} by {agent}",
                    f"{patient} {done} by {agent}",
                    f"{patient} that {be_patient} being {done} by {agent}",
                )
            )
        return random.choice(
            (
                f"{agent} {be_agent} {doing} {patient}",
                f"{agent} {doing} {patient}",
                f"{agent} {third if self.agent.count == 1 else base} {patient}",
                f"{agent} who {be_agent} {doing} {patient}",
            )
        )

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Roles or attributes exchanged, another verb, negation, number, another thing."""
        yield "swap_roles", replace(self, agent=self.patient, patient=self.agent)
        yield "swap_roles", replace(self, agent=self.patient, patient=self.agent)
        yield "replace_verb", replace(self, verb=other(random, v.VERBS, self.verb))
        yield "negation", replace(self, negated=not self.negated)
        if self.agent.attributes != self.patient.attributes:
            yield (
                "swap_att",
                replace(
                    self,
                    agent=replace(self.agent, attributes=self.patient.attributes),
                    patient=replace(self.patient, attributes=self.agent.attributes),
                ),
            )
        for kind, changed in self.agent.changes(random):
            yield kind, replace(self, agent=changed)
        for kind, changed in self.patient.changes(random):
            if kind in ("replace_obj", "count"):
                yield kind, replace(self, patient=changed)


@dataclass(frozen=True)
class Pose:
    """Someone doing something alone, perhaps wearing something, beside another who does something else."""

    first: Thing
    doing: str
    wearing: str | None = None
    second: Thing | None = None
    second_doing: str = ""

    def say(self, random: Random) -> str:
        """One or two clauses; their order says nothing."""
        be = "is" if self.first.count == 1 else "are"
        first = f"{self.first.say(random)} {random.choice(('', '', be + ' ', 'that ' + be + ' '))}{self.doing}"
        if self.wearing:
            first += f" {random.choice(('wearing', 'while wearing', 'dressed in'))} {self.wearing}"
        if not self.second:
            return first
        second = f"{self.second.say(random)} {'is' if self.second.count == 1 else 'are'} {self.second_doing}"
        parts = [first, second]
        random.shuffle(parts)
        return random.choice((" and ", " while ", ", and ")).join(parts)

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Another action, clothing, person; actions or attributes exchanged."""
        yield "replace_action", replace(self, doing=other(random, v.INTRANSITIVE, self.doing))
        yield "wearing", replace(self, wearing=other(random, v.WEARS, self.wearing))
        if self.second:
            if self.doing != self.second_doing:
                yield "swap_action", replace(self, doing=self.second_doing, second_doing=self.doing)
                yield "swap_action", replace(self, doing=self.second_doing, second_doing=self.doing)
            yield "drop_obj", replace(self, second=None)
        for kind, changed in self.first.changes(random):
            yield kind, replace(self, first=changed)


@dataclass(frozen=True)
class Comparison:
    """One is more than the other; the opposite word with exchanged ends is the same."""

    first: Thing
    word: tuple[str, str]
    second: Thing

    def say(self, random: Random) -> str:
        """From either end."""
        first, second, word = self.first, self.second, self.word[0]
        if random.random() < 0.5:
            first, second, word = second, first, self.word[1]
        definite = random.random() < 0.5
        link = random.choice(("is ", "that is ", "")) if not definite else "is "
        return f"{first.say(random, definite)} {link}{word} than {second.say(random, definite)}"

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Ends exchanged, another comparison."""
        yield "comparative", replace(self, first=self.second, second=self.first)
        yield "comparative", replace(self, word=self.word[::-1])
        yield "comparative", replace(self, word=other(random, v.COMPARATIVES, self.word, self.word[::-1]))
        for kind, changed in self.first.changes(random):
            if kind in ("replace_obj", "replace_att"):
                yield kind, replace(self, first=changed)


@dataclass(frozen=True)
class Existence:
    """How many of something there are, vaguely: none, one, some, many, all."""

    noun: str
    amount: str
    place: str

    FORMS: ClassVar[dict[str, tuple[str, ...]]] = {
        "none": ("there are no {s} {p}", "no {s} {p}", "there aren't any {s} {p}", "there is no {n} {p}", "there is not a single {n} {p}"),
        "one": ("there is exactly one {n} {p}", "there is a single {n} {p}", "there is only one {n} {p}", "a single {n} {p}"),
        "some": ("there are some {s} {p}", "there are a few {s} {p}", "some {s} {p}", "a few {s} {p}"),
        "many": ("there are many {s} {p}", "there are lots of {s} {p}", "many {s} {p}", "a lot of {s} {p}", "numerous {s} {p}"),
        "pair": ("there are two {s} {p}", "there is a pair of {s} {p}", "a pair of {s} {p}", "two {s} {p}"),
        "over": ("there are more than five {s} {p}", "more than 5 {s} {p}", "over five {s} {p}"),
        "under": ("there are fewer than five {s} {p}", "fewer than 5 {s} {p}", "less than five {s} {p}"),
    }  # fmt: skip

    def say(self, random: Random) -> str:
        """A sentence or a phrase."""
        return random.choice(self.FORMS[self.amount]).format(n=self.noun, s=plural(self.noun), p=self.place)

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Another amount, noun or place."""
        yield "existence", replace(self, amount=other(random, tuple(self.FORMS), self.amount))
        yield "existence", replace(self, amount=other(random, tuple(self.FORMS), self.amount))
        yield "replace_obj", replace(self, noun=other_noun(random, self.noun))
        yield "place", replace(self, place=other(random, v.PLACES, self.place))


@dataclass(frozen=True)
class Tags:
    """A prompt of comma tags: a subject, and style, mood and quality tags in any order."""

    subject: Meaning
    tags: tuple[str, ...]
    quality: tuple[str, ...] = ()

    def say(self, random: Random) -> str:
        """Subject first, the rest in any order."""
        rest = [*self.tags, *self.quality]
        random.shuffle(rest)
        return ", ".join([self.subject.say(random), *rest])

    def changes(self, random: Random) -> Iterator[tuple[str, Meaning]]:
        """Another subject, a tag replaced, added or gone."""
        for kind, changed in self.subject.changes(random):
            yield f"tags_{kind}", replace(self, subject=changed)
        place = random.randrange(len(self.tags))
        rest = self.tags[:place] + self.tags[place + 1 :]
        table = v.STYLES if self.tags[place] in v.STYLES else v.MOODS
        yield "replace_tag", replace(self, tags=(*rest, other(random, table, *self.tags)))
        yield "replace_tag", replace(self, tags=(*rest, other(random, table, *self.tags)))
        yield "drop_tag", replace(self, tags=rest)
        yield "add_tag", replace(self, tags=(*self.tags, other(random, v.MOODS, *self.tags)))


def scene(random: Random) -> Meaning:
    """Any image prompt's meaning."""
    kind = random.random()
    beings = v.PEOPLE + v.ANIMALS
    inner: Meaning
    if kind < 0.25:
        inner = Several(
            distinct(random, random.choice((1, 2, 2, 2, 3, 3)), count=random.random() < 0.5, attributes=0.7)
        )
    elif kind < 0.45:
        inner = Relation(
            *_around(distinct(random, 2, attributes=0.5), random.choice([r for r in v.RELATIONS if r != "between"]))
        )
    elif kind < 0.65:
        one, two = distinct(random, 2, count=random.random() < 0.2, attributes=0.35, table=beings)
        if random.random() < 0.3:
            two = thing(random, attributes=0.5, table=v.THINGS)
        inner = Action(one, random.choice(v.VERBS), two, random.random() < 0.08)
    elif kind < 0.77:
        one, two = distinct(random, 2, count=random.random() < 0.2, attributes=0.4, table=beings)
        wearing = random.choice(v.WEARS) if random.random() < 0.3 else None
        doing, second_doing = random.sample(v.INTRANSITIVE, 2)
        inner = Pose(one, doing, wearing, two if random.random() < 0.6 else None, second_doing)
    elif kind < 0.84:
        inner = Comparison(*_around(distinct(random, 2, attributes=0.25), random.choice(v.COMPARATIVES)))
    elif kind < 0.90:
        return Existence(noun(random), random.choice(tuple(Existence.FORMS)), random.choice(v.PLACES))
    else:
        subject = random.choice(
            (Several(distinct(random, 1, attributes=0.8)), Pose(thing(random), random.choice(v.INTRANSITIVE)))
        )
        tags = tuple(random.sample(v.STYLES, random.randint(1, 2)) + random.sample(v.MOODS, random.randint(1, 4)))
        return Tags(subject, tags, tuple(random.sample(v.QUALITY, random.randint(0, 3))))
    if random.random() < 0.45:
        return Framed(
            inner,
            random.choice(v.MEDIA) if random.random() < 0.35 else None,
            random.choice(v.PLACES) if random.random() < 0.45 else None,
            random.choice(v.TIMES) if random.random() < 0.3 else None,
        )
    return inner


def _around(things: tuple[Thing, ...], middle: object) -> tuple:
    return things[0], middle, things[1]
