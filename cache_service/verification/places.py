"""Where two things stand to each other: a car in front of a bear is no bear to the right of a car. Pure.

Read from the parts that `structure` made, in which inverse relations are written one way: "a bear behind a car" is `car|@front|bear` as well.
"""

from __future__ import annotations

from collections.abc import Iterable

# What says where; of one line the words exclude no other of it.
_KINDS = {
    relation: kind
    for kind, relations in {
        "side": "@left",
        "depth": "@front",
        "height": "@on @above @over",
        "inside": "@inside @in",
        "near": "@next @near @beside",
    }.items()
    for relation in relations.split()
}
_EITHER_WAY = frozenset(("near",))
# A bird in a tree is one on a tree.
_MAY_BE_SAID_FOR = frozenset((frozenset(("height", "inside")),))

_LINK = 3  # thing, relation, thing

Places = dict[frozenset[str], tuple[str, str, str]]


def another_place(one: Iterable[str], other: Iterable[str]) -> str | None:
    """Of two things that both have, how differently they stand to each other, as a reason; None where they don't."""
    here, there = _places(one), _places(other)
    for things in sorted(here.keys() & there.keys(), key=sorted):
        left, relation, _ = here[things]
        first, met, _ = there[things]
        kind, other_kind = _KINDS[relation], _KINDS[met]
        exclude = kind != other_kind and frozenset((kind, other_kind)) not in _MAY_BE_SAID_FOR
        if exclude or (left != first and kind not in _EITHER_WAY):
            return f"place {relation[1:]} / {met[1:]} of {' and '.join(sorted(things))}"
    return None


def _places(parts: Iterable[str]) -> Places:
    """For each two things their link, unless they have several. In "a man on a rock next to a tree" it isn't known what stands by the tree."""
    found: Places = {}
    several: set[frozenset[str]] = set()
    for part in parts:
        link = _link(part)
        if link is None or link[1] not in _KINDS or not link[0] or not link[2]:
            continue
        things = frozenset((link[0], link[2]))
        if things in found:
            several.add(things)
        found[things] = link[0], link[1], link[2]
    return {things: link for things, link in found.items() if things not in several}


def _link(part: str) -> list[str] | None:
    """The one link of a part, hours ("at dusk") left out: of "a house with a tree in front of it" that of tree and house."""
    links = [link.split("|") for link in part.split(";")]
    if len(links) == 1:
        links = [links[0][at : at + _LINK] for at in range(0, len(links[0]) - 1, _LINK - 1)]
    links = [link for link in links if link[1:2] != ["@at"]]
    if any(len(link) != _LINK for link in links) or len(links) not in (1, 2):
        return None
    if len(links) == 1:
        return links[0]
    owner, said = sorted(links, key=lambda link: "it" in link)
    if owner[1] != "@with" or {said[0], said[2]} != {owner[2], "it"}:
        return None
    return [owner[0] if thing == "it" else thing for thing in said]
