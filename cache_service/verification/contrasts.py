"""Words that exclude each other: putting one for another asks for something else. Written for this project.

Used to tell a plain difference from a wording that the rules don't know: both are misses, but the first has a name and is final.
"""

from __future__ import annotations

_GROUPS = {
    "animal": "cat dog horse cow sheep pig goat bird duck chicken hen rooster goose turkey fish shark whale dolphin lion tiger bear "
    "wolf fox rabbit mouse rat frog turtle snake lizard elephant giraffe zebra monkey gorilla panda koala kangaroo butterfly "
    "bee spider owl eagle parrot penguin deer camel donkey squirrel crab octopus puppy kitten dragon unicorn dinosaur",
    "language": "english french german spanish italian portuguese dutch swedish polish turkish russian chinese japanese korean "
    "arabic hindi greek latin hebrew finnish danish norwegian czech hungarian ukrainian vietnamese thai",
    "country": "usa uk canada mexico brazil argentina france germany spain italy portugal netherlands sweden norway finland "
    "denmark poland turkey russia china japan korea india pakistan australia egypt kenya nigeria england scotland ireland wales "
    "greece israel iran iraq vietnam thailand indonesia chile peru cuba colombia austria switzerland belgium",
    "format": "json csv xml yaml html markdown pdf png jpeg jpg gif webp svg toml excel word latex bmp",
    "programming language": "python java javascript typescript c c++ c# rust go ruby php swift kotlin scala perl r haskell",
    "room": "kitchen bathroom bedroom classroom office garage garden attic basement hallway library restaurant cafe hotel church",
    "person": "man woman boy girl baby grandmother grandfather mother father brother sister king queen prince princess husband "
    "wife son daughter uncle aunt nun monk waiter waitress actor actress",
    "drink": "coffee tea water milk beer wine juice lemonade soda whiskey vodka champagne cola",
    "fruit": "apple banana orange lemon lime pear grape peach plum cherry strawberry pineapple mango kiwi melon watermelon",
    "vegetable": "carrot potato tomato onion cabbage broccoli cucumber pepper spinach lettuce cauliflower pumpkin corn pea",
    "instrument": "guitar piano violin drum flute trumpet saxophone cello harp accordion harmonica banjo clarinet",
    "planet": "mercury venus earth mars jupiter saturn uranus neptune pluto moon sun",
    "vehicle": "car truck bus train bicycle motorcycle airplane boat ship helicopter tractor van taxi tram scooter skateboard",
    "furniture": "chair table sofa bed desk bench shelf cabinet dresser stool",
    "time of day": "morning noon afternoon evening night midnight dawn dusk sunrise sunset day",
    "season": "spring summer autumn winter",
    "weather": "sunny rainy snowy foggy cloudy stormy windy",
    "month": "january february march april may june july august september october november december",
    "weekday": "monday tuesday wednesday thursday friday saturday sunday",
    "day": "today yesterday tomorrow",
    "shape": "round square circular triangular rectangular oval cubic spherical cylindrical conical hexagonal oblong",
    "medium": "photo painting drawing sketch cartoon sculpture watercolor render mosaic engraving claymation collage anime",
    "posture": "sit stand lie run walk jump fly swim kneel crouch climb",
    "era": "ancient medieval victorian modern futuristic prehistoric",
    "view": "closeup portrait landscape panorama",
    "continent": "africa asia europe america australia antarctica",
    "unit": "km mile m cm mm inch ft kg g lb oz l hour minute sec day week month year % $ € £ ¥ inr",
    "question": "who what when where why how",
    "degree": "all some few many most",
    "sport": "tennis soccer football baseball basketball golf hockey cricket rugby volleyball",
}
# Each line: words that are each other's opposite.
_OPPOSITES = """
open close|open closed|day night|hot cold|old young|old new|big small|tall short|long short|high low|light dark|bright dark
up down|left right|front back|inside outside|in out|happy sad|full empty|wet dry|clean dirty|rich poor|thick thin|wide narrow
fast slow|early late|enable disable|enabled disabled|lock unlock|do undo|install uninstall|connect disconnect|subscribe unsubscribe
buy sell|lend borrow|push pull|start stop|begin end|win lose|increase decrease|import export|encrypt decrypt|upload download
add remove|add subtract|multiply divide|accept reject|arrive leave|arrive depart|enter exit|give take|love hate|true false
increase reduce|raise lower|maximum minimum|max min|before after|first last|best worst|better worse|more less|most least
always never|alive dead|awake asleep|male female|near far|hard soft|strong weak|safe dangerous|legal illegal|possible impossible
advantage disadvantage|pro con|benefit risk|gain lose|deposit withdraw|send receive|teach learn|ask answer|attach detach
zip unzip|mount unmount|follow unfollow|block unblock|mute unmute|compress decompress|serialize deserialize|freeze thaw
input output|question answer|parent child|client server|horizontal vertical|above below|over under|north south|east west
odd even|ascending descending|smooth rough|sharp blunt|sweet bitter|tie untie|load unload|fold unfold|pack unpack|sunrise sunset
transparent opaque|realistic abstract|indoor outdoor|am pm|vertical horizontal|private public|online offline|single married
"""

_MEMBERS: dict[str, set[str]] = {}
for _name, _text in _GROUPS.items():
    for _word in _text.split():
        _MEMBERS.setdefault(_word, set()).add(_name)
_PAIRS = frozenset(
    frozenset(pair.split()) for line in _OPPOSITES.split("\n") if line for pair in line.split("|")
)  # fmt: skip


def contrast(one: str, other: str) -> str | None:
    """What kind of difference it is to put one word for the other, or None if the table knows none."""
    if frozenset((one, other)) in _PAIRS:
        return "opposite"
    shared = _MEMBERS.get(one, set()) & _MEMBERS.get(other, set())
    return min(shared) if shared else None
