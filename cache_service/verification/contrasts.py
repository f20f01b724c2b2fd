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
    "part of speech": "noun verb adjective adverb pronoun preposition conjunction",
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
input output|question answer|parent child|client server|horizontal vertical|above below|over under|north south|east west|atmost atleast
odd even|ascending descending|smooth rough|sharp blunt|sweet bitter|tie untie|load unload|fold unfold|pack unpack|sunrise sunset
transparent opaque|realistic abstract|indoor outdoor|ante-meridiem pm|vertical horizontal|private public|online offline|single married|pre post|pro anti|hyper hypo|macro micro|inter intra|mono stereo|multi single
cause effect|prefix suffix|credit debit|good bad|hello goodbye|benign malignant|adult child|adult baby|polite rude|raw cook
boil raw|single marry|conduct resist|smile frown|lengthen shorten|asset liability|supply demand|wholesale retail|guest host|sender recipient
winner loser|singular plural|prior next|previous next|oldest newest|biggest smallest|largest smallest|highest lowest|longest shortest
fastest slowest|tallest shortest|cheapest costliest|heavier lighter|heaviest lightest|freshwater saltwater|synonym antonym|clockwise counterclockwise|clockwise anticlockwise
rise set|read write|login logout|mandatory optional|compulsory optional|required optional|compulsory voluntary|fix replace|repair replace
hire fire|attack defend|attract repel|allow forbid|permit forbid|admit deny|agree refuse|appear disappear|borrow return|bless curse
build demolish|build destroy|create destroy|create delete|convex concave|converge diverge|cry laugh|deep shallow|divide unite|earn spend
expand contract|expand shrink|stretch shrink|fail pass|fail succeed|failure success|find hide|show hide|reveal hide|float sink|forget remember
freeze melt|boil freeze|gain loss|profit loss|guilty innocent|heat cool|import produce|inhale exhale|join leave|junior senior
keep discard|save delete|save spend|liquid solid|gas liquid|gas solid|local global|loose tight|loosen tighten|major minor|majority minority
natural artificial|optimist pessimist|optimistic pessimistic|plaintiff defendant|plural single|poverty wealth|praise criticize|predator prey
prosecute defend|quiet loud|quick slow|relative absolute|rough smooth|rural urban|severe mild|acute chronic|simple complex|simple complicated
sharpen blunt|sleep wake|strengthen weaken|strength weakness|subjective objective|tighten release|tragedy comedy|vowel consonant|war peace
wild tame|anterior posterior|artery vein|cathode anode|numerator denominator|proton electron|theory practice|tenant landlord|lessor lessee
teacher student|doctor patient|buyer seller|creditor debtor|virus bacteria|viral bacterial|positive negative|deductible premium|gross net
nominal real|explicit implicit|qualitative quantitative|literal figurative|cheap expensive|difficult easy|abundant scarce|active passive
arrival departure|entrance exit|ceiling floor|east north|south west|inner outer|backward forward|clog unclog|widen narrow|thicken thin
accelerate decelerate|accelerate brake|promote demote|inflate deflate|ascend descend|ascent descent|attack retreat|advance retreat|capture release
plan airplane|bear beer|sliver silver|martial marital|moral morale|personal personnel|diner dinner
"""

_MEMBERS: dict[str, set[str]] = {}
for _name, _text in _GROUPS.items():
    for _word in _text.split():
        _MEMBERS.setdefault(_word, set()).add(_name)
_PAIRS = frozenset(
    frozenset(pair.split()) for line in _OPPOSITES.split("\n") if line for pair in line.split("|")
)  # fmt: skip

# Before a word these deny it: safe / unsafe, regular / irregular.
_DENYING = ("un", "in", "im", "il", "ir", "dis", "non", "non-", "de", "mis", "anti", "anti-")
_DENYING_LONG = ("a",)  # synchronous / asynchronous; only before long words
_LEAST_DENIED, _LEAST_LONG = 3, 7
_NOT_DENIED = frozenset(("flammable", "habitable", "valuable", "ravel", "thaw", "loosen"))
# One for the other before the same rest: hypo-, hyperthyroidism; import, export.
_PREFIXES = """
hypo hyper|macro micro|pre post|endo exo|inter intra|in ex|im ex|up down|over under|max min|mono poly|uni bi|sub super|in out|on off
en de|pro anti|bi tri|di tri|mono di|homo hetero|as des|sym asym|de re|sy dia|ab ad|ana cata|brady tachy|ante post
"""
# Names of illnesses, drugs and operations: unlike ones are no misspellings of each other.
_MEDICAL = (
    "itis", "osis", "emia", "aemia", "oma", "pathy", "ectomy", "otomy", "pril", "olol", "sartan", "statin", "cillin", "cycline",
    "azole", "mab", "caine", "thyroidism", "tension", "glycemia", "ptyline", "dipine", "profen", "plegia", "algia",
)  # fmt: skip
# One for the other after the same rest: careful / careless, employer / employee.
_ENDINGS = (("ful", "less"), ("er", "ee"), ("or", "ee"))
_PREFIX_PAIRS = tuple(tuple(pair.split()) for line in _PREFIXES.split("\n") if line for pair in line.split("|"))
# Of two prompts that are else the same, word for word.
_RELATIONS_APART = """
by to|from to|on off|in out|for against|before after|since until|into out|up down|over under|above below|inside outside|toward off
toward from|on under|in under|in behind|on behind|front behind|above under|with without|along across|with near|north south|east west|north east|north west|south east|south west
"""
_RELATIONS = frozenset(
    frozenset(pair.split()) for line in _RELATIONS_APART.split("\n") if line for pair in line.split("|")
)


def contrast(one: str, other: str) -> str | None:
    """What kind of difference it is to put one word for the other, or None if the tables know none."""
    if frozenset((one, other)) in _PAIRS or _denies(one, other) or _denies(other, one) or _other_affix(one, other):
        return "opposite"
    if any(one.endswith(ending) and other.endswith(ending) for ending in _MEDICAL):
        return "term"
    shared = _MEMBERS.get(one, set()) & _MEMBERS.get(other, set())
    return min(shared) if shared else None


def relations_differ(one: str, other: str) -> bool:
    """Whether two relations ("@on", "@off") exclude each other between the same things."""
    return frozenset((one.lstrip("@"), other.lstrip("@"))) in _RELATIONS


def _denies(one: str, other: str) -> bool:
    """Whether `other` is `one` with a denying prefix."""
    if not other.endswith(one) or len(one) < _LEAST_DENIED or one in _NOT_DENIED:
        return False
    prefix = other[: -len(one)]
    return prefix in _DENYING or (prefix in _DENYING_LONG and len(one) >= _LEAST_LONG)


def _other_affix(one: str, other: str) -> bool:
    if one[-2:] == other[-2:]:
        return any(
            this.startswith(left) and that.startswith(right) and this[len(left) :] == that[len(right) :]
            for left, right in _PREFIX_PAIRS
            for this, that in ((one, other), (other, one))
        )
    return one[:2] == other[:2] and any(
        this.endswith(left) and that.endswith(right) and this[: -len(left)] == that[: -len(right)]
        for left, right in _ENDINGS
        for this, that in ((one, other), (other, one))
    )
