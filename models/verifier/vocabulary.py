"""Words for the pairs that `synthetic.py` makes. Written for this project.

In a row of synonyms any member may stand for another; members of one table that aren't synonyms are different things.
"""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Words of a text; an underscore is a space within one."""
    return tuple(word.replace("_", " ") for word in text.split())


PEOPLE = words(
    "man woman boy girl child baby doctor nurse teacher student chef waiter farmer soldier police_officer firefighter "
    "clown dancer singer painter musician cyclist skier surfer skateboarder runner businessman tourist fisherman "
    "knight wizard king queen princess pirate robot astronaut monk bride groom lawyer judge mechanic pilot sailor "
    "gardener barber baker hunter journalist photographer scientist plumber referee goalkeeper toddler teenager "
    "grandmother grandfather mother father sister brother neighbor thief guard"
)
ANIMALS = words(
    "dog cat horse cow sheep goat pig chicken duck rabbit mouse elephant giraffe zebra lion tiger bear panda monkey fox "
    "wolf deer bird parrot owl eagle penguin turtle snake frog fish shark whale dolphin octopus bee butterfly spider "
    "dragon unicorn squirrel hedgehog kangaroo koala camel donkey goose swan crow pigeon peacock flamingo lizard "
    "crocodile hamster otter seal walrus"
)
THINGS = words(
    "car bus truck bicycle motorcycle train boat plane balloon kite ball umbrella backpack suitcase handbag hat shirt "
    "jacket scarf shoe boot chair table desk sofa bed lamp clock mirror vase bottle cup mug bowl plate spoon fork knife "
    "apple banana orange lemon pear strawberry carrot tomato pumpkin mushroom cake pizza sandwich burger donut cookie "
    "book newspaper laptop phone camera television keyboard guitar piano violin drum trumpet flower tree cactus rock "
    "candle box basket bucket ladder fence door window bench statue fountain tent sword shield crown ring necklace "
    "pillow blanket towel teapot kettle toaster refrigerator oven sink bathtub toilet brush pencil pen notebook "
    "cube sphere pyramid cylinder cone block sign flag traffic_light mailbox skateboard surfboard snowboard helmet "
    "glove watch key coin barrel rope wheel toy doll teddy_bear rocket castle house cottage barn bridge lighthouse"
)

COLORS = words(
    "red blue green yellow orange purple pink brown black white gray golden silver turquoise beige crimson violet"
)
SIZES = (
    ("big", "large"),
    ("small", "little"),
    ("tiny", "minuscule"),
    ("huge", "enormous", "gigantic"),
    ("medium-sized",),
)
MATERIALS = (
    ("wooden", "made of wood"),
    ("metal", "made of metal"),
    ("glass", "made of glass"),
    ("plastic", "made of plastic"),
    ("leather", "made of leather"),
    ("paper", "made of paper"),
    ("golden", "made of gold"),
    ("stone", "made of stone"),
    ("woolen", "made of wool"),
    ("ceramic", "made of ceramic"),
    ("rubber", "made of rubber"),
    ("marble", "made of marble"),
)
SHAPES = ("round", "square", "triangular", "oval", "rectangular", "spherical", "cubic", "hexagonal", "star-shaped")
STATES = (
    ("old",), ("new", "brand new"), ("broken",), ("shiny",), ("dirty", "filthy"), ("clean",), ("wet",), ("dry",), ("empty",),
    ("full",), ("striped",), ("spotted",), ("open",), ("closed",), ("fluffy",), ("smooth",), ("rough",), ("soft",), ("hard",),
    ("happy", "cheerful"), ("sad", "unhappy"), ("angry",), ("tired",), ("sleeping",), ("young",), ("tall",), ("short",),
    ("fat",), ("thin", "slim"), ("beautiful",), ("ugly",), ("scary", "frightening"), ("strong",), ("weak",), ("rich", "wealthy"),
    ("poor",), ("fast", "quick"), ("slow",), ("hot",), ("cold",), ("bright",), ("dark",), ("heavy",), ("light",),
)  # fmt: skip

# relation: spellings, and its inverse; None where there is none
RELATIONS = {
    "left": (("to the left of", "on the left of", "left of", "on the left side of"), "right"),
    "right": (("to the right of", "on the right of", "right of", "on the right side of"), "left"),
    "above": (("above", "over", "higher than"), "below"),
    "below": (("below", "beneath", "underneath", "lower than"), "above"),
    "front": (("in front of",), "behind"),
    "behind": (("behind", "in back of"), "front"),
    "on": (("on top of", "on", "resting on"), "under"),
    "under": (("under",), "on"),
    "near": (("near", "next to", "beside", "by the side of", "close to"), "near"),
    "far": (("far from", "far away from"), "far"),
    "opposite": (("opposite", "across from", "facing"), "opposite"),
    "inside": (("inside", "in", "within"), "containing"),
    "containing": (("containing", "with inside it"), "inside"),
    "attached": (("attached to", "fastened to"), None),
    "leaning": (("leaning against", "leaning on"), None),
    "around": (("around", "surrounding"), "surrounded"),
    "surrounded": (("surrounded by", "encircled by"), "around"),
    "between": (("in the middle of",), None),
}

# base, third person, -ing, participle; synonyms in the same form, or ()
VERBS = (
    ("chase", "chases", "chasing", "chased", ("pursue", "pursues", "pursuing", "pursued")),
    ("follow", "follows", "following", "followed", ()),
    ("kiss", "kisses", "kissing", "kissed", ()),
    ("hug", "hugs", "hugging", "hugged", ("embrace", "embraces", "embracing", "embraced")),
    ("push", "pushes", "pushing", "pushed", ("shove", "shoves", "shoving", "shoved")),
    ("pull", "pulls", "pulling", "pulled", ()),
    ("carry", "carries", "carrying", "carried", ()),
    ("lift", "lifts", "lifting", "lifted", ("raise", "raises", "raising", "raised")),
    ("hold", "holds", "holding", "held", ()),
    ("feed", "feeds", "feeding", "fed", ()),
    ("wash", "washes", "washing", "washed", ()),
    ("paint", "paints", "painting", "painted", ()),
    ("watch", "watches", "watching", "watched", ("observe", "observes", "observing", "observed")),
    ("photograph", "photographs", "photographing", "photographed", ()),
    ("bite", "bites", "biting", "bitten", ()),
    ("kick", "kicks", "kicking", "kicked", ()),
    ("hit", "hits", "hitting", "hit", ("strike", "strikes", "striking", "struck")),
    ("throw", "throws", "throwing", "thrown", ("toss", "tosses", "tossing", "tossed")),
    ("catch", "catches", "catching", "caught", ()),
    ("eat", "eats", "eating", "eaten", ("devour", "devours", "devouring", "devoured")),
    ("ride", "rides", "riding", "ridden", ()),
    ("repair", "repairs", "repairing", "repaired", ("fix", "fixes", "fixing", "fixed")),
    ("break", "breaks", "breaking", "broken", ()),
    ("examine", "examines", "examining", "examined", ("inspect", "inspects", "inspecting", "inspected")),
    ("attack", "attacks", "attacking", "attacked", ("assault", "assaults", "assaulting", "assaulted")),
    ("help", "helps", "helping", "helped", ("assist", "assists", "assisting", "assisted")),
    ("ignore", "ignores", "ignoring", "ignored", ()),
    ("love", "loves", "loving", "loved", ()),
    ("hate", "hates", "hating", "hated", ()),
    ("guide", "guides", "guiding", "guided", ("lead", "leads", "leading", "led")),
    ("teach", "teaches", "teaching", "taught", ()),
    ("greet", "greets", "greeting", "greeted", ()),
    ("scare", "scares", "scaring", "scared", ("frighten", "frightens", "frightening", "frightened")),
    ("rescue", "rescues", "rescuing", "rescued", ("save", "saves", "saving", "saved")),
    ("draw", "draws", "drawing", "drawn", ("sketch", "sketches", "sketching", "sketched")),
    ("cut", "cuts", "cutting", "cut", ()),
    ("clean", "cleans", "cleaning", "cleaned", ()),
    ("drop", "drops", "dropping", "dropped", ()),
    ("lick", "licks", "licking", "licked", ()),
    ("defeat", "defeats", "defeating", "defeated", ("beat", "beats", "beating", "beaten")),
    ("support", "supports", "supporting", "supported", ()),
    ("hire", "hires", "hiring", "hired", ("employ", "employs", "employing", "employed")),
    ("marry", "marries", "marrying", "married", ()),
    ("blame", "blames", "blaming", "blamed", ()),
    ("remember", "remembers", "remembering", "remembered", ("recall", "recalls", "recalling", "recalled")),
    ("trust", "trusts", "trusting", "trusted", ()),
    ("accuse", "accuses", "accusing", "accused", ()),
    ("visit", "visits", "visiting", "visited", ()),
)
INTRANSITIVE = words(
    "running sitting standing sleeping walking jumping dancing swimming singing laughing crying smiling waiting kneeling "
    "crawling lying_down reading cooking flying climbing skating eating drinking fishing surfing yawning falling"
)

PLACES = (
    "in the park", "on the beach", "in the kitchen", "in the forest", "at the station", "in the garden", "on the street",
    "in the snow", "in the desert", "on a bridge", "at the airport", "in a library", "on a boat", "in the rain",
    "in a field", "on the roof", "at school", "in the mountains", "by the river", "in the living room", "in the bedroom",
    "in a museum", "on the moon", "under water", "in a cave", "at the market", "in an office", "in the basement",
)  # fmt: skip
TIMES = (
    "at night", "at sunset", "at sunrise", "in the morning", "in winter", "in summer", "in spring", "in autumn", "at noon",
    "at midnight", "in the evening", "during a storm", "on a sunny day", "on a foggy day", "on a rainy day",
)  # fmt: skip
MEDIA = (
    ("a photo of", "a photograph of"), ("a painting of",), ("a sketch of", "a drawing of"), ("an oil painting of", "an oil on canvas of"),
    ("a watercolor of", "a watercolor painting of", "a watercolour painting of"), ("a cartoon of",), ("a 3d render of", "a 3D rendering of"),
    ("a pencil drawing of", "a pencil sketch of"), ("an illustration of",), ("a close-up of", "a close-up shot of", "a closeup of"),
    ("an aerial view of", "a bird's-eye view of"), ("a black and white photo of", "a black-and-white photograph of"),
    ("a sculpture of", "a statue of"), ("a logo of",), ("an icon of",), ("a poster of",), ("a portrait of",),
)  # fmt: skip
STYLES = (
    "watercolor", "oil painting", "pixel art", "anime style", "cyberpunk", "steampunk", "impressionism", "cubism",
    "photorealistic", "minimalist", "art nouveau", "baroque", "low poly", "claymation", "ukiyo-e", "pop art", "gothic",
    "vaporwave", "comic book style", "studio ghibli style", "charcoal drawing", "stained glass", "concept art", "isometric",
)  # fmt: skip
MOODS = (
    "dramatic lighting", "soft light", "golden hour", "neon lights", "moody", "bright colors", "pastel colors", "monochrome",
    "wide angle", "close-up", "bird's eye view", "low angle", "from behind", "side view", "front view", "full body",
    "foggy", "rainy", "snowy", "night scene", "blue background", "white background", "smiling", "wearing a hat",
)  # fmt: skip
QUALITY = (
    "highly detailed",
    "very detailed",
    "4k",
    "8k",
    "high quality",
    "sharp focus",
    "trending on artstation",
    "hd",
)

NAMES = words(
    "Anna Maria John Peter David Sarah Michael Laura James Emma Thomas Alice Robert Linda Mark Julia Paul Susan Daniel Kate "
    "Ahmed Fatima Wei Yuki Carlos Sofia Ivan Olga Priya Raj Nora Hugo Clara Felix Martin Rachel"
)
FAMOUS = (
    "Einstein", "Napoleon", "Barack Obama", "Leonardo da Vinci", "Shakespeare", "Marie Curie", "Mozart", "Picasso",
    "Abraham Lincoln", "Cleopatra", "Elon Musk", "Beethoven", "Van Gogh", "Isaac Newton", "Gandhi", "Nelson Mandela",
    "Julius Caesar", "Charles Darwin", "Frida Kahlo", "Winston Churchill", "Queen Victoria", "Nikola Tesla",
)  # fmt: skip
COUNTRIES = (
    "France", "Germany", "Italy", "Spain", "Portugal", "Canada", "Mexico", "Brazil", "Argentina", "India", "China", "Japan",
    "Australia", "Egypt", "Kenya", "Nigeria", "South Africa", "Sweden", "Norway", "Poland", "Greece", "Turkey", "Russia",
    "Vietnam", "Thailand", "Ireland", "the United States", "the UK", "New Zealand", "Chile", "Peru", "Denmark",
)  # fmt: skip
CITIES = (
    "Paris", "London", "Berlin", "Rome", "Madrid", "New York", "Chicago", "Boston", "Tokyo", "Beijing", "Sydney", "Toronto",
    "Mumbai", "Cairo", "Moscow", "Vienna", "Amsterdam", "Dublin", "Lisbon", "Athens", "Seattle", "Los Angeles", "Istanbul",
)  # fmt: skip
LANGUAGES = ("Python", "Java", "JavaScript", "C++", "Rust", "Go", "Ruby", "PHP", "Kotlin", "Swift", "TypeScript", "SQL")
HUMAN_LANGUAGES = (
    "English",
    "French",
    "German",
    "Spanish",
    "Italian",
    "Japanese",
    "Chinese",
    "Russian",
    "Arabic",
    "Hindi",
    "Dutch",
)
PROFESSIONS = words(
    "doctor nurse teacher lawyer engineer pilot chef actor writer journalist accountant architect programmer scientist "
    "photographer plumber electrician farmer dentist pharmacist psychologist editor politician economist historian"
)
SUBJECT_WORDS = (
    "climate change", "machine learning", "the French Revolution", "photosynthesis", "black holes", "inflation",
    "the water cycle", "blockchain", "world war two", "gravity", "the immune system", "electric cars", "quantum computing",
    "the stock market", "ancient Rome", "volcanoes", "vaccines", "solar energy", "friendship", "autumn", "the ocean",
    "a lonely robot", "my first day at school", "time travel", "coffee", "the moon", "a brave knight", "remote work",
)  # fmt: skip
DISEASES = (
    "diabetes", "asthma", "high blood pressure", "migraine", "the flu", "a cold", "anemia", "arthritis", "pneumonia",
    "an ear infection", "back pain", "acid reflux", "insomnia", "depression", "anxiety", "eczema", "gout", "a sinus infection",
)  # fmt: skip
DRUGS = (
    "ibuprofen", "aspirin", "paracetamol", "amoxicillin", "metformin", "insulin", "prednisone", "omeprazole", "antibiotics",
    "antihistamines", "statins", "warfarin", "melatonin", "vitamin D", "iron tablets", "cough syrup",
)  # fmt: skip

# adjective, antonym, synonyms of the adjective (all said of persons)
TRAITS = (
    ("optimistic", "pessimistic", ("hopeful",)), ("confident", "insecure", ("self-assured",)), ("polite", "rude", ("courteous",)),
    ("active", "passive", ()), ("patient", "impatient", ()), ("organized", "disorganized", ()), ("responsible", "irresponsible", ()),
    ("generous", "stingy", ("giving",)), ("friendly", "unfriendly", ("amicable",)), ("humble", "arrogant", ("modest",)),
    ("brave", "cowardly", ("courageous",)), ("honest", "dishonest", ("truthful",)), ("happy", "sad", ("joyful",)),
    ("strong", "weak", ()), ("visible", "invisible", ()), ("mature", "immature", ()), ("reasonable", "unreasonable", ()),
    ("calm", "nervous", ()), ("outspoken", "quiet", ("vocal",)), ("rich", "poor", ("wealthy",)), ("smart", "stupid", ("clever", "intelligent")),
    ("religious", "secular", ("spiritual",)), ("healthy", "unhealthy", ()), ("careful", "careless", ("cautious",)),
    ("productive", "unproductive", ()), ("sociable", "shy", ("outgoing",)),
)  # fmt: skip
COMPARATIVES = (
    ("taller", "shorter"), ("bigger", "smaller"), ("larger", "smaller"), ("heavier", "lighter"), ("faster", "slower"), ("older", "younger"),
    ("stronger", "weaker"), ("richer", "poorer"), ("warmer", "colder"), ("cheaper", "more expensive"), ("brighter", "darker"),
    ("wider", "narrower"), ("longer", "shorter"), ("louder", "quieter"), ("better", "worse"), ("harder", "softer"),
    ("thicker", "thinner"), ("deeper", "shallower"), ("newer", "older"), ("more dangerous", "safer"), ("closer", "farther away"),
)  # fmt: skip

# things one does: synonyms in a row; rows are different requests
ACTIVITIES = (
    ("lose weight", "slim down", "reduce my weight"), ("gain weight", "put on weight"), ("learn to swim",), ("learn to cook",),
    ("buy a house", "purchase a house"), ("sell a house",), ("rent a house",), ("quit smoking", "stop smoking", "give up smoking"),
    ("start smoking", "begin smoking"), ("earn money", "make money"), ("save money",), ("invest money",), ("lend money",), ("borrow money",),
    ("open a bank account",), ("close a bank account",), ("delete my account", "remove my account"), ("create an account", "make an account"),
    ("reset my password",), ("change my password",), ("grow tomatoes",), ("freeze tomatoes",), ("train a puppy",), ("adopt a puppy",),
    ("repair a bicycle", "fix a bicycle"), ("ride a bicycle",), ("bake bread",), ("store bread",), ("boil eggs",), ("fry eggs",),
    ("cook rice",), ("write a resume", "write a CV"), ("get a visa", "obtain a visa"), ("renew a visa",), ("learn French",),
    ("teach French",), ("install Linux",), ("uninstall Linux", "remove Linux"), ("enable dark mode", "turn on dark mode", "switch on dark mode"),
    ("disable dark mode", "turn off dark mode", "switch off dark mode"), ("increase the font size", "make the font bigger"),
    ("decrease the font size", "make the font smaller", "reduce the font size"), ("get pregnant",), ("avoid getting pregnant",),
    ("lower blood pressure", "reduce blood pressure"), ("raise blood pressure", "increase blood pressure"), ("sleep better", "improve my sleep"),
    ("wake up early", "get up early"), ("stay awake",), ("make friends",), ("improve my English",), ("speak in public",), ("cancel my subscription",),
    ("renew my subscription",), ("charge a car battery",), ("replace a car battery", "change a car battery"), ("paint a wall",),
    ("remove paint from a wall",), ("build a website", "create a website", "make a website"), ("hack a website",), ("block a website",),
    ("unblock a website",), ("start a business", "set up a business", "launch a business"), ("sell a business",), ("become a pilot",),
    ("apply for a passport",), ("lock my phone",), ("unlock my phone",), ("back up my photos",), ("delete my photos", "erase my photos"),
    ("recover deleted photos", "restore deleted photos", "get back deleted photos"), ("clean a leather sofa",), ("clean a fabric sofa",),
)  # fmt: skip
WEARS = (
    "a red dress",
    "a suit",
    "a hat",
    "sunglasses",
    "a uniform",
    "a crown",
    "a mask",
    "a raincoat",
    "boots",
    "a kimono",
    "armor",
)

# word for word in any sentence; (a, b) may stand for each other
SYNONYMS = (
    ("photo", "photograph"), ("picture", "image"), ("large", "big"), ("small", "little"), ("couch", "sofa"), ("bike", "bicycle"),
    ("tv", "television"), ("fridge", "refrigerator"), ("near", "close to"), ("beside", "next to"), ("beneath", "underneath"),
    ("begin", "start"), ("kid", "child"), ("kids", "children"), ("phone", "telephone"), ("plane", "airplane"),
    ("fast", "quickly"), ("beautiful", "gorgeous"), ("huge", "enormous"), ("tiny", "very small"), ("street", "road"),
    ("sidewalk", "pavement"), ("store", "shop"), ("movie", "film"), ("trash can", "garbage can"), ("purchase", "buy"),
    ("assist", "help"), ("required", "needed"), ("several", "a number of"), ("woods", "forest"), ("stone", "rock"), ("rabbit", "bunny"),
    ("cop", "police officer"), ("mom", "mother"), ("dad", "father"), ("happy", "cheerful"), ("angry", "mad"), ("ill", "sick"),
    ("smart", "intelligent"), ("rich", "wealthy"), ("country", "nation"), ("job", "occupation"), ("answer", "reply"),
    ("wearing", "dressed in"), ("standing next to", "standing beside"), ("atop", "on top of"), ("a lot of", "lots of"),
    ("color", "colour"), ("gray", "grey"), ("center", "centre"), ("favorite", "favourite"), ("don't", "do not"), ("isn't", "is not"),
    ("can't", "cannot"), ("doesn't", "does not"), ("what's", "what is"), ("i'm", "I am"), ("it's", "it is"), ("won't", "will not"),
    ("highly detailed", "very detailed"), ("filled with", "full of"), ("in the middle of", "in the center of"), ("talking", "speaking"),
    ("among", "amongst"), ("toward", "towards"), ("maybe", "perhaps"), ("automobile", "car"), ("ocean", "sea"), ("close-up", "closeup"),
)  # fmt: skip
CONTRASTS = (
    "left/right", "top/bottom", "front/back", "inside/outside", "indoors/outdoors", "day/night", "morning/evening", "sunrise/sunset",
    "summer/winter", "spring/autumn", "old/young", "old/new", "big/small", "large/tiny", "tall/short", "long/short", "empty/full",
    "open/closed", "wet/dry", "clean/dirty", "hot/cold", "happy/sad", "smiling/frowning", "sitting/standing", "walking/running",
    "man/woman", "boy/girl", "men/women", "boys/girls", "his/her", "he/she", "dog/cat", "cat/horse", "king/queen", "mother/father",
    "above/below", "over/under", "before/after", "with/without", "more/less", "most/least", "all/some", "every/no", "many/few",
    "always/never", "first/last", "first/second", "best/worst", "highest/lowest", "largest/smallest", "increase/decrease",
    "buy/sell", "win/lose", "male/female", "black/white", "red/blue", "green/yellow", "light/dark", "city/village",
    "forest/desert", "mountain/beach", "river/lake", "car/truck", "train/bus", "bird/fish", "apple/banana", "beer/wine", "coffee/tea",
    "cheap/expensive", "easy/difficult", "safe/dangerous", "legal/illegal", "public/private", "north/south", "east/west",
    "one/two", "two/three", "three/four", "2/3", "3/5", "10/20", "start/end", "oldest/youngest", "maximum/minimum", "import/export",
    "table/chair", "bed/sofa", "snow/rain", "sun/moon", "fire/ice", "wooden/metal", "glass/plastic", "realistic/abstract", "modern/ancient",
    "front of/back of", "children/adults", "baby/dog", "pizza/salad", "guitar/piano", "football/tennis", "holding/dropping", "pushing/pulling",
)  # fmt: skip
