"""Captions said in other words: phrases that may stand for each other in a description of a picture, and their look-alikes
that may not. Applied to real captions and their real paraphrases; written for this project.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from pairs import Pair
from synthetic import FILE, careless

# Each line: phrases that mean the same in a caption, then, behind ≠, near ones that don't.
PHRASES = """
in front of|ahead of ≠ behind|in back of|next to
next to|beside|by the side of|alongside|adjacent to ≠ on top of|behind|far from|in front of|under
on top of|atop ≠ next to|under|inside|behind
underneath|beneath|under ≠ above|on top of|next to
positioned|placed|located|situated ≠ painted|hidden|dropped
is sitting|is seated ≠ is standing|is lying|is kneeling|is sleeping
sitting|seated ≠ standing|lying|kneeling|crouching|leaning
are standing|stand ≠ are sitting|are running|are dancing|lie
standing|stands ≠ sitting|walking|jumping
holding|clutching|gripping|grasping ≠ dropping|throwing|washing|wearing|selling
carrying|bearing|toting ≠ dropping|pushing|leaving
wearing|dressed in|clad in|sporting ≠ holding|washing|folding|carrying|buying
with|accompanied by ≠ without
filled with|full of|packed with ≠ empty of|next to|surrounded by
covered with|covered in|blanketed in ≠ free of|filled with|beside
adorned with|decorated with|embellished with ≠ stripped of|covered by|next to
surrounded by|encircled by ≠ next to|filled with|far from
a group of|a bunch of|a crowd of ≠ a pair of|a single|one of the
a couple of|a pair of|two ≠ three|a group of|one of the
a person|someone|an individual ≠ a dog|nobody|a crowd
people|individuals|persons ≠ children|soldiers|animals
a man|a guy ≠ a woman|a boy|an old man|a statue
a woman|a lady ≠ a man|a girl|an old woman|a nurse
a boy|a young boy ≠ a girl|a man|a baby
a girl|a young girl ≠ a boy|a woman|a baby
a child|a kid|a youngster ≠ an adult|a puppy|a doll
a baby|an infant ≠ a toddler|a puppy|an adult
children|kids|youngsters ≠ adults|babies|dogs
looking at|gazing at|staring at|watching|eyeing ≠ pointing at|ignoring|photographing|painting
glancing back|looking back ≠ looking ahead|looking up|walking back
eating|consuming|munching on|feeding on ≠ cooking|serving|selling|smelling
drinking|sipping ≠ pouring|spilling|selling
walking|strolling ≠ running|standing|cycling|crawling
walking across|crossing ≠ walking along|standing beside
running|sprinting|racing ≠ walking|resting|swimming
jumping|leaping|hopping ≠ sitting|running|falling
riding|traveling on ≠ repairing|pushing|standing beside|washing
driving|steering ≠ parking|washing|pushing|repairing
parked|stationed ≠ moving|crashed|driving
lying|laying|reclining|resting ≠ standing|jumping|sitting
sleeping|asleep|dozing|napping ≠ awake|playing|eating
playing with|having fun with ≠ fighting|feeding|sleeping beside
smiling|grinning|beaming ≠ frowning|crying|yawning|sleeping
talking|speaking|chatting|conversing ≠ singing|sleeping|shouting|arguing
talking on the phone|speaking on the phone|having a phone call ≠ looking at the phone|photographing with the phone
posing for a picture|posing for a photo ≠ taking a picture|taking a photo|painting a picture
taking a picture of|taking a photo of|photographing|snapping a picture of ≠ painting a picture of|standing behind|looking for
preparing|making|getting ready ≠ eating|ordering|throwing away
preparing food|cooking|making food ≠ eating food|selling food|buying food
cutting|slicing|chopping ≠ mixing|eating|washing
attempting to|trying to ≠ refusing to|failing to|about to
about to|getting ready to|preparing to|going to ≠ refusing to|unable to|having just finished to
flying|soaring|gliding ≠ landing|falling|parked
flying over|soaring above ≠ landing on|parked beside
catching|grabbing ≠ throwing|dropping|missing
throwing|tossing|hurling|pitching ≠ catching|holding|kicking
hitting|striking|swinging at ≠ missing|catching|dropping
leaning on|leaning against|propped against ≠ standing far from|pushing|climbing over
hanging from|suspended from|dangling from ≠ standing under|lying on|falling from
hanging on|mounted on|attached to ≠ leaning against|lying under
placed on|set on|resting on|sitting on ≠ hanging over|lying under|beside
pulling|dragging|towing|hauling ≠ pushing|riding|following
pushing|shoving ≠ pulling|riding|carrying
cleaning|washing|scrubbing ≠ breaking|painting|repairing
fixing|repairing|mending ≠ breaking|painting|using|cleaning
adjusting|fixing|straightening ≠ removing|tearing|ignoring
observing|watching|viewing ≠ filming|ignoring|joining
feeding|giving food to ≠ petting|chasing|washing
petting|stroking|patting ≠ feeding|chasing|washing|hitting
grazing|eating grass|feeding on grass ≠ sleeping|running|drinking
in the background|in the distance|in the backdrop ≠ in the foreground|in the corner
in the foreground|at the front ≠ in the background|in the distance
in the middle of|in the center of|amid ≠ at the edge of|outside|next to
at the edge of|on the brink of ≠ in the middle of|far from
on the street|on the road|in the street ≠ on the sidewalk|beside the road|on the beach
on the grass|on the lawn|in the grass ≠ on the sand|on the snow|under the tree
a field|a meadow|a pasture ≠ a forest|a parking lot|a beach
the ocean|the sea ≠ the lake|the desert|the pool
the beach|the shore|the seashore ≠ the river|the street|the forest
a forest|the woods|a wooded area ≠ a field|a desert|a city
a large|a big|a huge|a sizable ≠ a small|a tiny|an old|a tall
a small|a little|a tiny ≠ a large|a huge|an old|a long
large|big|huge|massive ≠ small|tiny|old|white|round
small|little|tiny|miniature ≠ large|huge|old|black
several|multiple|a number of|numerous ≠ two|no|three|all
many|lots of|a lot of|numerous ≠ few|no|two
various|assorted ≠ identical|similar|three
colorful|multicolored|brightly colored ≠ colorless|dark|red|gray
old|aged ≠ young|new|tall
young|youthful ≠ old|tall|elderly
empty|vacant|unoccupied ≠ full|crowded|occupied
crowded|busy|packed ≠ empty|quiet|deserted
dirty|filthy|grimy ≠ clean|shiny|dry
shiny|gleaming|glossy ≠ dull|dirty|matte
wooden|made of wood ≠ metal|plastic|stone|glass
metal|metallic|made of metal ≠ wooden|plastic|stone
striped|with stripes ≠ spotted|plain|checkered
grey|gray ≠ white|black|brown
a couch|a sofa ≠ a bed|a chair|a bench
a tv|a television|a television set ≠ a computer|a radio|a window
a laptop|a laptop computer|a notebook computer ≠ a phone|a tablet|a book
a cellphone|a cell phone|a mobile phone ≠ a camera|a laptop|a remote
a fridge|a refrigerator ≠ an oven|a freezer|a sink
a bike|a bicycle ≠ a motorcycle|a car|a skateboard
a motorcycle|a motorbike ≠ a bicycle|a car|a truck
a plane|an airplane|an aircraft ≠ a helicopter|a bird|a train
a car|an automobile ≠ a truck|a bus|a bike
a photo|a picture|a photograph|an image ≠ a painting|a drawing|a statue
food|a meal ≠ a drink|a menu|an empty plate
bathroom|restroom|washroom ≠ kitchen|bedroom|hallway
street sign|road sign ≠ traffic light|billboard
trash can|garbage can|waste bin ≠ mailbox|fire hydrant
sneakers|trainers ≠ boots|sandals
spectacles|eyeglasses ≠ sunglasses|goggles
donuts|doughnuts ≠ bagels|cookies
displaying|showing|exhibiting ≠ hiding|covering
containing|that contains ≠ next to|without
illuminated|lit up|lit ≠ dark|unlit
at night|at nighttime|during the night ≠ during the day|at sunset|in the morning
during the day|in the daytime ≠ at night|at dusk
near|close to|in the vicinity of ≠ far from|inside|above|behind
together|with each other ≠ apart|alone
alone|by himself|on his own ≠ with a friend|with his dog
"""

_ROWS = tuple(tuple(tuple(part.split("|")) for part in line.split(" ≠ ")) for line in PHRASES.strip().splitlines())


def caption_pairs(split: str, pairs: Sequence[Pair], size: int, seed: int) -> list[Pair]:
    """About `size` pairs from real ones: phrases reworded on one or both sides, and beside that perhaps one changed; equal calls
    give equal pairs.
    """
    random = Random(f"{seed} {split} captions")
    made: dict[tuple[str, str], Pair] = {}
    while len(made) < size:
        pair = random.choice(pairs)
        a, b = (pair.a, pair.b) if random.random() < 0.5 else (pair.b, pair.a)
        if random.random() < 0.35:
            b = a  # a caption against itself, reworded
            same = True
        else:
            same = pair.same
        kind = "same" if same else "different"
        b = _reworded(random, b, random.choice((1, 1, 2, 3)))
        if random.random() < 0.4:
            a = _reworded(random, a, 1)
        if same and random.random() < 0.5:
            changed = _changed(random, b)
            if changed is None:
                continue
            b, same, kind = changed, False, "changed"
        if random.random() < 0.15:
            b = careless(random, b)
        if a.lower().strip(" .") != b.lower().strip(" ."):
            made.setdefault((a, b), Pair(a, b, same, FILE, f"caption_{kind}", split))
    return list(made.values())


def _found(text: str) -> list[tuple[re.Match[str], str, tuple[tuple[str, ...], ...]]]:
    return [
        (match, phrase, row)
        for row in _ROWS
        for phrase in row[0]
        if (match := re.search(rf"\b{re.escape(phrase)}\b", text, re.IGNORECASE))
    ]


def _reworded(random: Random, text: str, times: int) -> str:
    for _ in range(times):
        found = _found(text)
        if not found:
            return text
        match, phrase, row = random.choice(found)
        text = _put(text, match, random.choice([other for other in row[0] if other != phrase] or [phrase]))
    return text


def _changed(random: Random, text: str) -> str | None:
    found = [one for one in _found(text) if len(one[2]) > 1]
    if not found:
        return None
    match, _, row = random.choice(found)
    return _put(text, match, random.choice(row[1]))


def _put(text: str, match: re.Match[str], new: str) -> str:
    if match[0][0].isupper():
        new = new[0].upper() + new[1:]
    return text[: match.start()] + new + text[match.end() :]


_STOPS = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "that",
        "which",
        "who",
        "whose",
        "and",
        "or",
        "but",
        "with",
        "without",
        "in",
        "on",
        "at",
        "by",
        "of",
        "to",
        "for",
        "from",
        "into",
        "onto",
        "over",
        "under",
        "above",
        "below",
        "behind",
        "beside",
        "near",
        "next",
        "while",
        "as",
        "being",
        "be",
        "it",
        "its",
        "their",
        "his",
        "her",
        "up",
        "down",
        "out",
        "off",
        "across",
        "through",
        "against",
        "between",
        "around",
        "along",
        "towards",
        "not",
    ]
)
_OPENS = frozenset(
    ["a", "an", "the", "one", "two", "three", "four", "five", "some", "several", "many", "his", "her", "their"]
)
_MUTUAL = re.compile(r"^[\s,]*(and|or|next to|beside|near|close to|together with|as well as|by)[\s,]*$", re.IGNORECASE)


def exchanged_pairs(split: str, pairs: Sequence[Pair], size: int, seed: int) -> list[Pair]:
    """About `size` pairs from real paraphrases: two of its things, or their attributes, have changed places in one of them; beside
    each the paraphrase itself, in other words. Equal calls give equal pairs.
    """
    random = Random(f"{seed} {split} exchanged")
    same = [pair for pair in pairs if pair.same]
    made: dict[tuple[str, str], Pair] = {}
    while len(made) < size:
        pair = random.choice(same)
        a, b = (pair.a, pair.b) if random.random() < 0.5 else (pair.b, pair.a)
        if random.random() < 0.25:
            a = b
        changed = _exchanged(random, b)
        if changed is None:
            continue
        if random.random() < 0.4:
            changed = _reworded(random, changed, 1)
        made.setdefault((a, changed), Pair(a, changed, False, FILE, "caption_exchanged", split))
        if random.random() < 0.6 and (again := _reworded(random, b, 2)) != a:
            made.setdefault((a, again), Pair(a, again, True, FILE, "caption_same", split))
    return list(made.values())


def _phrases(text: str) -> list[tuple[int, int, int]]:
    """Noun phrases as (start, start of what follows the article, end), by their article and what ends them; no grammar."""
    words = list(re.finditer(r"[\w'-]+|[^\w\s]", text))
    found, at = [], 0
    while at < len(words):
        if words[at][0].lower() in _OPENS and at + 1 < len(words):
            end = at + 1
            while (
                end < len(words)
                and (w := words[end][0].lower()) not in _STOPS | _OPENS
                and w[0].isalnum()
                and not w.endswith("ing")
            ):
                end += 1
            if 1 < end - at <= 5:
                found.append((words[at].start(), words[at + 1].start(), words[end - 1].end()))
            at = max(end, at + 1)
        else:
            at += 1
    return found


def _exchanged(random: Random, text: str) -> str | None:
    """Two noun phrases, or what stands before their nouns, in each other's place; None where that would ask for the same."""
    spans = _phrases(text)
    if len(spans) < 2:
        return None
    one, two = sorted(random.sample(spans, 2))
    first, second = text[one[0] : one[2]], text[two[0] : two[2]]
    if first.lower().split()[1:] == second.lower().split()[1:] or _MUTUAL.match(text[one[2] : two[0]]):
        return None
    if random.random() < 0.35:  # attributes only
        (*before, head), (*after, end) = text[one[1] : one[2]].split(), text[two[1] : two[2]].split()
        if before == after or not (before or after):
            return None
        new_one, new_two = " ".join([*after, head]), " ".join([*before, end])
        return text[: one[1]] + new_one + text[one[2] : two[1]] + new_two + text[two[2] :]
    if first[0].isupper():
        first, second = first[0].lower() + first[1:], second[0].upper() + second[1:]
    return text[: one[0]] + second + text[one[2] : two[0]] + first + text[two[2] :]
