"""What belongs to what: one segment's canonical words as parts that may be compared as a set.

A part is a chain "noun words|@relation|noun words …". "A cube on a sphere" is `cube|@on|sphere`; "a sphere under a cube" is the same
part, since inverse relations are written one way. What stands on both sides of "and" becomes parts of their own, so that lists may
be said in any order and nothing else may. There is no grammar here: equal parts mean equal requests, unequal parts mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cache_service.verification import tables

# Where none of these is said there is nothing to do.
_ONE = frozenset(("single", "one", "#1"))
_SAYS_AFTER = frozenset(("~be", "@madeof"))
_ASKING_FOR_A_REASON = frozenset(("why", "when", "where", "how"))
_ASKING_FOR_ONE = frozenset(("who", "what", "which"))
_ARTICLES = frozenset(("~a", "~the", "~their"))
_ASKING_FOR_AN_AGENT = frozenset(("whom", "which", "what"))
_MAY = frozenset(("can", "could", "should", "may", "will", "would", "must"))
_ALONG = frozenset(("@through", "@along", "@across"))  # what is done, whoever does it
_LEAST_ASKED = 4  # words: "with whom does Ann dance"
_REBUILT = tables.DATIVE | {"while", "@between"}
_MUCH = frozenset(("more", "less", "fewer"))
_TURNING = frozenset((*tables.INVERSES, *tables.INVERSES.values(), *tables.SYMMETRIC))


@dataclass(slots=True)
class Segment:
    """parts: in the order said. postures: "sit" where it was taken out. media: "photo" where "a photo of" was.

    turned: verbs of a passive that was made active.
    """

    parts: list[str] = field(default_factory=list)
    postures: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)


def structure(words: Sequence[str], *, first: bool, postures_out: bool) -> Segment:
    """The parts of one segment's canonical words.

    first: the segment opens the prompt ("draw a …"). postures_out: "sitting" before a place may be left unsaid.
    """
    segment = Segment()
    said = list(words)
    if said and said[0][0] == "@":
        said = _relation_last(_place_last(said))
    said = _attributes_first(_count_of_one(said))
    if first and said and said[0] in tables.IMPERATIVES and len(said) > 1 and said[1][0] != "@":
        said = said[2:] if said[1] == "me" else said[1:]
    said = _without_medium(_colours_joined(said), segment)
    for scene in (said,) if _REBUILT.isdisjoint(said) else map(_from_to, _scenes(_given_to(said))):
        active = _active(scene, segment)
        segment.parts.extend(_parts([word for word in active if word[0] != "~"], segment, postures_out))
    return segment


def bindings(words: Sequence[str], wanted: frozenset[str] | None) -> list[list[str]]:
    """Which word each attribute (or, wanted None, each number) stands before: [["red", "cube"], …]."""
    found: list[list[str]] = []
    attributes = {word for word in words if word[0] == "#"} if wanted is None else wanted.intersection(words)
    if not attributes:
        return found
    pending: list[str] = []
    for word in words:
        if word in attributes:
            pending.append(word)
        elif word[:1] in "@&":
            if wanted is None or word != "&and":
                found.extend([attribute, ""] for attribute in pending)
                pending = []
        elif word[:1] != "~" and word not in tables.ATTRIBUTES and not word.startswith("#"):
            found.extend([attribute, word] for attribute in pending)
            pending = []
    return found + [[attribute, ""] for attribute in pending]


def _place_last(words: list[str]) -> list[str]:
    """What opens with a place, turned: "on a couch is a dog" → a dog is on a couch."""
    if words.count("~be") != 1:
        return words
    be = words.index("~be")
    place, thing = words[:be], words[be + 1 :]
    if (
        len(place) < 2
        or not thing
        or any(word[0] in "@&" or word in tables.QUESTION_WORDS for word in (*place[1:], *thing))
    ):
        return words
    return [*thing, *place]


def _scenes(words: list[str]) -> list[list[str]]:
    """Both things that go on at once, each with its own subject: "a boy reads while a girl writes" in either order."""
    if words.count("while") != 1:
        return [words]
    at = words.index("while")
    one, other = words[:at], words[at + 1 :]
    begin = all(scene and (scene[0] in _ARTICLES or scene[0][0] == "#") for scene in (one, other))
    return [one, other] if begin else [words]


def _from_to(words: list[str]) -> list[str]:
    """Between two numbers is from one to the other."""
    if "@between" not in words:
        return words
    at = words.index("@between")
    joint = next((joint for joint in (at + 2, at + 3) if words[joint : joint + 1] == ["&and"]), 0)
    if not joint or words[at + 1][0] != "#" or words[joint + 1 : joint + 2] == [] or words[joint + 1][0] != "#":
        return words
    return [*words[:at], "@from", *words[at + 1 : joint], "@to", *words[joint + 1 :]]


def _relation_last(words: list[str]) -> list[str]:
    """A question that opens with a relation, turned: "for whom does Ann work" → who does Ann work for."""
    if len(words) < _LEAST_ASKED or words[1] not in _ASKING_FOR_AN_AGENT or words[0] == "@by":
        return words
    return ["who" if word == "whom" else word for word in words[1:]] + words[:1]


def _given_to(words: list[str]) -> list[str]:
    """Two objects as one and a "to": "give the lady a cake" → give a cake to the lady."""
    at = next((at for at, word in enumerate(words) if word in tables.DATIVE), len(words))
    first = _noun_group(words, at + 1)
    second = _noun_group(words, first)
    if first <= at + 1 or second <= first + 1 or words[first] not in _ARTICLES or second < len(words):
        return words
    return [*words[: at + 1], *words[first:second], "@to", *words[at + 1 : first]]


def _noun_group(words: list[str], start: int) -> int:
    """Where a group of an article, or none, and words ends."""
    end = start + 1 if start < len(words) and words[start] in _ARTICLES else start
    while end < len(words) and words[end][0].isalpha():
        end += 1
    return end


def _count_of_one(words: list[str]) -> list[str]:
    """Drops a count of one: "one dog", "1 dog", "a single dog" and "a dog" are the same; "chapter 1" and "no one" stay."""
    if _ONE.isdisjoint(words):
        return words
    for at, word in enumerate(words[:-1]):
        counted = words[at + 1][0].isalpha() and words[at + 1] not in tables.NOT_COUNTED
        if word == "single" and counted and at > 0 and words[at - 1] == "~a":
            words[at] = "~a"
    for at, word in enumerate(words[:-1]):
        opens = at == 0 or words[at - 1][0] in "@&~"
        if word in ("one", "#1") and opens and words[at + 1][0].isalpha():
            words[at] = "~a"
    return words


def _attributes_first(words: list[str]) -> list[str]:
    """Puts what is said after a noun before it: "a cat that is brown", "the cat is brown" → brown cat; "a desk made of wood" → wood desk."""
    if _SAYS_AFTER.isdisjoint(words):
        return words
    done: list[str] = []
    at = 0
    while at < len(words):
        length = _attribute_after(words, at)
        if length and done and done[-1][0].isalpha():
            noun = next((i + 1 for i in range(len(done) - 1, -1, -1) if done[i][0] in "@&~#=" and done[i] != "@of"), 0)
            done.insert(noun, words[at + length - 1])
            at += length
        else:
            done.append(words[at])
            at += 1
    return done


def _attribute_after(words: list[str], at: int) -> int:
    """How many words from here say only what the noun before is like; the last of them is the attribute."""
    grammar = 0
    while at + grammar < len(words) and words[at + grammar] in ("~that", "~be"):
        grammar += 1
    if at + grammar < len(words) and words[at + grammar] == "@madeof":
        grammar += 1
        known = True
    elif grammar == 0 or words[at + grammar - 1] != "~be":
        return 0
    else:
        known = False
    if at + grammar >= len(words):
        return 0
    attribute = words[at + grammar]
    after = words[at + grammar + 1] if at + grammar + 1 < len(words) else "&and"
    ends = after[0] in "&@~" or (words[at] == "~that" and after[0].isalpha() and after not in tables.ATTRIBUTES)
    alone = after.startswith("&") and words[at] == "~that" and attribute[0].isalpha()
    if ends and (known or alone or (attribute in tables.ATTRIBUTES and after != "@by")):
        return grammar + 1
    return 0


def _active(words: list[str], segment: Segment) -> list[str]:
    """Turns a passive: "a flute is being played in a room by a man" → a man play a flute in a room."""
    if "@by" not in words:
        return words
    by = [i for i, word in enumerate(words) if word == "@by"]
    be = [i for i, word in enumerate(words) if word == "~be"]
    if (asked := _asked_actively(words, by, be, segment)) is not None:
        return asked
    if (
        len(by) != 1
        or not be
        or by[0] < be[-1] + 2
        or any(word[0] == "&" or word in tables.QUESTION_WORDS for word in words)
    ):
        return words
    verb = be[-1] + 1
    agent, patient, where = words[by[0] + 1 :], words[: be[0]], words[verb + 1 : by[0]]
    way = next((at for at, word in enumerate(agent) if word in _ALONG), len(agent))
    agent, where = agent[:way], where + agent[way:]
    if not agent or not patient or not words[verb][0].isalpha() or (where and where[0][0] != "@"):
        return words
    segment.turned.append(words[verb])
    return [*agent, words[verb], *patient, *where]


def _asked_actively(words: list[str], by: list[int], be: list[int], segment: Segment) -> list[str] | None:
    """A question's passive turned, None if it is none: "why was Troy sacked by the Greeks" → why do the Greeks sack Troy.

    "Which animals are owls eaten by" → which animals eat owls.
    """
    if len(by) == len(be) == 1 and by[0] == 0 and words[1] in _ASKING_FOR_AN_AGENT:  # "by whom was Troy sacked"
        words = [*("who" if word == "whom" else word for word in words[1:]), "@by"]
        by, be = [len(words) - 1], [be[0] - 1]
    if len(by) != 1 or len(be) != 1 or words[by[0] - 1][0] in "@&~#=":
        return None
    opens, verb = be[0], by[0] - 1
    if opens > 1 and verb == opens + 1 and words[0] in _MAY:  # "can humans be infected by dogs"
        words = [words[0], "~be", *words[1:opens], *words[verb:]]
        opens = 1
    asking, patient, agent = words[:opens], words[opens + 1 : verb], words[by[0] + 1 :]
    if not patient or any(word[0] in "@&" for word in (*asking, *patient, *agent)):
        return None
    if agent and (opens == 0 or (opens == 1 and words[0] in _MAY | _ASKING_FOR_A_REASON)):
        turned = [*asking, "~do", *agent, words[verb], *patient]
    elif not agent and opens > 0 and words[0] in _ASKING_FOR_ONE:
        turned = [*asking, words[verb], *patient]
    else:
        return None
    segment.turned.append(words[verb])
    return turned


def _colours_joined(words: list[str]) -> list[str]:
    """Colours of two words: "light blue" → light-blue; "black and white cat" → black-white cat."""
    if tables.COLOURS.isdisjoint(words):
        return words
    done: list[str] = []
    at = 0
    while at < len(words):
        if words[at] in tables.SHADES and at + 1 < len(words) and words[at + 1] in tables.COLOURS:
            done.append(f"{words[at]}-{words[at + 1]}")
            at += 2
        elif (
            at + 3 < len(words)
            and words[at + 1] == "&and"
            and {words[at], words[at + 2]} <= tables.COLOURS
            and words[at + 3][0].isalpha()
        ):
            done.append(f"{words[at]}-{words[at + 2]}")
            at += 3
        else:
            done.append(words[at])
            at += 1
    return done


def _without_medium(words: list[str], segment: Segment) -> list[str]:
    """Parts the medium: "an oil painting of X" → the part "oil painting" and X; "a photo of X" → X, the medium noted."""
    if "@of" not in words:
        return words
    of = next((i for i, word in enumerate(words) if word[0] == "@"), 0)
    if not 0 < of < len(words) - 1 or words[of] != "@of" or words[of - 1] not in tables.MEDIA:
        return words
    medium = [word for word in words[:of] if word[0] != "~"]
    if any(word[0] in "&=#" for word in medium):
        return words
    rest = words[of + 1 :]
    if medium == ["picture"] and _is_medium(rest):  # "an image of a portrait of a girl"
        return _without_medium(rest, segment)
    if len(medium) == 1 and medium[0] in ("photo", "picture"):
        segment.media.append(medium[0])
    else:
        segment.parts.append(_run(medium))
    return rest


def _is_medium(words: list[str]) -> bool:
    """Whether the words say that they are a picture of something, but not just "a photo of"."""
    of = words.index("@of") if "@of" in words else 0
    return words[of - 1] in tables.MEDIA - tables.PICTURES if of > 0 else False


def _parts(words: list[str], segment: Segment, postures_out: bool) -> list[str]:
    joints = {word for word in words if word[0] == "&"}
    if len(joints) > 1:  # "a and b or c": no order is safe
        return [" ".join(words)]
    joint = next(iter(joints), "&and")
    chains = [_chain(side, segment, postures_out) for side in _split(words, joint)]
    linked = [len(chain) > 1 for chain in chains]
    if len(chains) == 1 or sum(linked) > 1:
        return _finished(chains, joint)
    if not any(linked):
        return _finished(chains, joint)
    if linked[-1]:  # "a cat and a dog on a mat": both on the mat
        head = _gathered([chain[0] for chain in chains], joint)
        return _finished([[head, *chains[-1][1:]]], joint)
    if linked[0] and chains[0][-2] in tables.GATHERING:  # "a man with a hat and a scarf"
        tail = _gathered([chains[0][-1], *(chain[0] for chain in chains[1:])], joint)
        return _finished([[*chains[0][:-1], tail]], joint)
    return _finished(chains, joint)


def _finished(chains: list[list[str]], joint: str) -> list[str]:
    parts = [_link(chain) for chain in chains if any(chain)]
    return parts if joint == "&and" or len(parts) < 2 else [_gathered(parts, joint)]


def _gathered(runs: list[str], joint: str) -> str:
    return "{" + joint.join(sorted(runs)) + "}"


def _split(words: list[str], joint: str) -> list[list[str]]:
    sides: list[list[str]] = [[]]
    for word in words:
        if word == joint:
            sides.append([])
        else:
            sides[-1].append(word)
    return [side for side in sides if side] or [[]]


def _chain(words: list[str], segment: Segment, postures_out: bool) -> list[str]:
    """run, relation, run, relation, run …; a run may be empty."""
    chain: list[str] = []
    run: list[str] = []
    for word in words:
        if word[0] == "@" and word != "@of":
            if postures_out and len(run) > 1 and run[-1] in tables.POSTURES:
                segment.postures.append(run.pop())
            if word == "@than":
                word = _compared(run)
            chain += [_run(run), word]
            run = []
        else:
            run.append(word)
    chain.append(_run(run))
    for at in range(1, len(chain) - 2, 2):  # "to Rome from Oslo" is from Oslo to Rome
        if chain[at] == "@to" and chain[at + 2] == "@from":
            chain[at : at + 4] = ["@from", chain[at + 3], "@to", chain[at + 1]]
    return chain


def _compared(run: list[str]) -> str:
    """The relation that a run says before "than"; its words are taken from the run: "tea more bitter" → tea, @more bitter-than."""
    if len(run) > 1 and run[-1] in tables.COMPARATIVES:
        return f"@{run.pop()}-than"
    if len(run) > 1 and run[-2] in _MUCH:  # "more sand" is left with what there is more of
        what, much = run.pop(), run.pop()
        if not run:
            run.append(what)
            what = ""
    elif len(run) > 2 and run[-1] in _MUCH:  # "cats sleep more"
        much, what = run.pop(), run.pop()
    else:
        return "@than"
    return f"@{'more' if much == 'more' else 'less'} {what}-than"


def _run(words: list[str]) -> str:
    """The words in order, neighbouring attributes sorted: a big red ball is a red big ball."""
    if len(words) < 2:
        return "".join(words)
    done: list[str] = []
    attributes: list[str] = []
    for word in words:
        if word in tables.ATTRIBUTES or "-" in word[1:-1]:
            attributes.append(word)
            continue
        done += sorted(attributes)
        attributes = []
        done.append(word)
    return " ".join(done + sorted(attributes))


def _link(chain: list[str]) -> str:
    """One chain as a string; if a relation of it can be turned round, as its sorted links instead."""
    if not any(_turns(relation) for relation in chain[1::2]):
        return "|".join(chain)
    links = []
    for at in range(1, len(chain), 2):
        left, relation, right = chain[at - 1], chain[at], chain[at + 1]
        if left and right and _turns(relation):
            left, relation, right = _turned(left, relation, right)
        links.append(f"{left}|{relation}|{right}")
    return ";".join(sorted(links))


def _turns(relation: str) -> bool:
    return relation in _TURNING or relation.endswith("-than")


def _turned(left: str, relation: str, right: str) -> tuple[str, str, str]:
    if relation in tables.SYMMETRIC:
        left, right = sorted((left, right))
    elif relation in tables.INVERSES:
        left, relation, right = right, tables.INVERSES[relation], left
    elif relation.endswith("-than"):
        comparative = relation[1:].removesuffix("-than")
        much, _, what = comparative.partition(" ")
        if much == "more":
            return left, relation, right
        if much == "less":
            return right, f"@more {what}-than", left
        relation = f"@{tables.COMPARATIVES[comparative]}-than"
        if comparative not in tables.SAME_WAY:
            left, right = right, left
    return left, relation, right
