"""Everyday questions about one topic: what is asked about it decides, not the words that ask; written for this project.

Each topic has several things to ask; each has wordings that mean the same. Another thing asked, another person concerned, one more
condition or another likely word in the topic makes another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import vocabulary as v
from pairs import Pair
from synthetic import FILE, careless

Asked = tuple[tuple[str, ...], ...]

# {x}: the topic. Rows are different questions, wordings of one row the same question.
THING: Asked = (
    ("What is {x}?", "What's {x}?", "What exactly is {x}?", "Can you explain what {x} is?", "What does {x} mean?"),
    ("How does {x} work?", "How exactly does {x} work?", "Can you explain how {x} works?", "What is the working principle of {x}?"),
    ("Does {x} work?", "Does {x} really work?", "Is it true that {x} works?"),
    ("What are the benefits of {x}?", "What are the advantages of {x}?", "What is {x} good for?", "What are the pros of {x}?"),
    ("What are the risks of {x}?", "What are the dangers of {x}?", "How risky is {x}?"),
    ("Is {x} safe?", "Is it safe to use {x}?", "How safe is {x}?"),
    ("Is {x} legal?", "Is {x} allowed by law?", "Is it legal to use {x}?"),
    ("Is {x} good for you?", "Is {x} good for your health?", "Is {x} healthy?"),
    ("How good is {x}?", "Is {x} any good?", "What do you think of {x}?"),
    ("How much does {x} cost?", "What does {x} cost?", "What is the price of {x}?", "How expensive is {x}?"),
    ("Where can I buy {x}?", "Where can I get {x}?", "Where do they sell {x}?", "Which store sells {x}?"),
    ("How can I learn about {x}?", "What is the best way to learn about {x}?", "How should I start learning about {x}?"),
    ("What are some good books about {x}?", "What are the best books on {x}?", "Which books about {x} should I read?"),
    ("What is the history of {x}?", "How did {x} develop over time?"),
    ("Who invented {x}?", "Who came up with {x}?", "By whom was {x} invented?"),
    ("When was {x} invented?", "In which year was {x} invented?"),
    ("What is the most common kind of {x}?", "Which type of {x} is the most common?"),
    ("How common is {x}?", "How widespread is {x}?"),
    ("What is {x} made of?", "What is in {x}?", "What does {x} consist of?"),
    ("How is {x} made?", "How do they make {x}?", "How is {x} produced?"),
    ("Which {x} do you use?", "What {x} do you use?"),
    ("Why is {x} important?", "Why does {x} matter?", "What is the importance of {x}?"),
    ("Why is {x} so popular?", "What makes {x} so popular?", "Why do so many people like {x}?"),
    ("What is the future of {x}?", "What will happen to {x} in the future?"),
    ("What are the alternatives to {x}?", "What can I use instead of {x}?"),
    ("Why do people hate {x}?", "Why do people dislike {x}?"),
    ("How is {x} measured?", "How do you measure {x}?", "How is {x} determined?"),
    ("What is the definition of {x}?", "How is {x} defined?"),
    ("What is your definition of {x}?", "How would you define {x}?"),
    ("What is your opinion on {x}?", "What are your thoughts on {x}?", "What do you personally think about {x}?"),
    ("Will {x} replace us?", "Is {x} going to replace us?"),
    ("How has {x} changed your life?", "How did {x} change your life?"),
)  # fmt: skip
DOING: Asked = (
    ("How do I {x}?", "How can I {x}?", "How do you {x}?", "How can one {x}?", "What is the best way to {x}?", "How to {x}?", "How should I {x}?", "What should I do to {x}?"),
    ("Can I {x}?", "Is it possible to {x}?", "Is it possible for me to {x}?"),
    ("Can you {x} for me?", "Could you {x} for me please?", "Will you {x} for me?"),
    ("Should I {x}?", "Is it a good idea to {x}?", "Would it be wise to {x}?"),
    ("Why should I {x}?", "What are the reasons to {x}?", "Why is it good to {x}?"),
    ("Why can't I {x}?", "Why am I not able to {x}?", "Why am I unable to {x}?"),
    ("Why do I not like to {x}?", "Why don't I like to {x}?"),
    ("Where can I {x}?", "Where is a good place to {x}?", "Where should I go to {x}?"),
    ("When should I {x}?", "When is the best time to {x}?", "What is the right time to {x}?"),
    ("How long does it take to {x}?", "How much time does it take to {x}?", "How long will it take me to {x}?"),
    ("How much does it cost to {x}?", "What does it cost to {x}?", "How expensive is it to {x}?"),
    ("How did you {x}?", "In which way did you {x}?"),
    ("What happens if I {x}?", "What will happen if I {x}?", "What would happen if I {x}?"),
    ("Is it hard to {x}?", "How hard is it to {x}?", "Is it difficult to {x}?", "How difficult is it to {x}?"),
    ("What do I need to {x}?", "What is needed to {x}?", "Which things do I need to {x}?"),
    ("Where can I learn to {x}?", "Where can I learn how to {x}?"),
    ("How often should I {x}?", "How many times should I {x}?"),
    ("Who can help me {x}?", "Who could help me to {x}?"),
    ("How can I avoid having to {x}?", "How do I avoid to {x}?"),
    ("Which app helps me {x}?", "What is a good app to {x}?", "Is there an app to {x}?"),
    ("How do I teach my child to {x}?", "How can I teach my child to {x}?"),
)  # fmt: skip
WHO: Asked = (
    ("Who is {x}?", "Who's {x}?", "Can you tell me who {x} is?"),
    ("How old is {x}?", "What is the age of {x}?", "What's the age of {x}?"),
    ("How tall is {x}?", "What is the height of {x}?"),
    ("How rich is {x}?", "What is the net worth of {x}?", "How much money does {x} have?"),
    ("Where does {x} live?", "In which city does {x} live?"),
    ("Where was {x} born?", "What is the birthplace of {x}?"),
    ("When was {x} born?", "What is the date of birth of {x}?"),
    ("What does {x} do for a living?", "What is the job of {x}?", "What is the profession of {x}?"),
    ("Why is {x} famous?", "What is {x} famous for?", "What is {x} known for?"),
    ("Is {x} still alive?", "Is {x} alive today?"),
    ("How did {x} die?", "What was the cause of the death of {x}?", "What did {x} die of?"),
    ("How can I meet {x}?", "How could I meet {x}?"),
    ("How can I contact {x}?", "How do I get in touch with {x}?"),
    ("What do you think of {x}?", "What is your opinion of {x}?"),
    ("Why do people hate {x}?", "Why is {x} hated by people?"),
    ("Who is the wife of {x}?", "Who is {x} married to?"),
    ("Does {x} have children?", "Does {x} have kids?"),
    ("What are the best quotes of {x}?", "What are the best sayings of {x}?"),
)  # fmt: skip
PLACE: Asked = (
    ("What is the best time to visit {x}?", "When should I visit {x}?", "When is the best time to go to {x}?"),
    ("What are the best places to visit in {x}?", "Which places should I visit in {x}?", "What should I see in {x}?"),
    ("What are the best hotels in {x}?", "Where can I find the best hotels in {x}?", "Which hotels in {x} are the best?"),
    ("What is the cheapest hotel in {x}?", "Which hotel in {x} is the cheapest?"),
    ("How expensive is it to live in {x}?", "What is the cost of living in {x}?", "How much does living in {x} cost?"),
    ("What is it like to live in {x}?", "How is life in {x}?", "What is life like in {x}?"),
    ("What is it like to work in {x}?", "How is working in {x}?"),
    ("Is {x} safe for tourists?", "Is it safe to visit {x} as a tourist?"),
    ("How can I move to {x}?", "How do I move to {x}?"),
    ("Can I move to {x}?", "Is it possible to move to {x}?"),
    ("How do I find a job in {x}?", "How can I get a job in {x}?"),
    ("How many people live in {x}?", "What is the population of {x}?"),
    ("How do I get to {x}?", "What is the best way to get to {x}?"),
    ("Who lives in {x}?", "Which people live in {x}?"),
    ("Which are the best universities in {x}?", "What are the best universities in {x}?"),
    ("What is the food like in {x}?", "How is the food in {x}?"),
)  # fmt: skip
HEALTH: Asked = (
    ("What causes {x}?", "What are the causes of {x}?", "Why does {x} happen?"),
    ("How is {x} treated?", "What is the treatment for {x}?", "How do you treat {x}?"),
    ("Can {x} be cured?", "Is there a cure for {x}?", "Is {x} curable?"),
    ("How can I prevent {x}?", "How can {x} be prevented?", "What can I do to prevent {x}?"),
    ("What are the symptoms of {x}?", "How do I know if I have {x}?", "What are the signs of {x}?"),
    ("Is {x} dangerous?", "How dangerous is {x}?"),
    ("How long does {x} last?", "For how long does {x} last?"),
    ("What should I eat when I have {x}?", "What is a good diet for {x}?"),
    ("Which doctor should I see for {x}?", "What kind of doctor treats {x}?"),
    ("Is {x} hereditary?", "Is {x} genetic?", "Can I inherit {x}?"),
    ("Can children get {x}?", "Do children get {x}?"),
    ("Can I exercise with {x}?", "Is it safe to exercise with {x}?"),
    ("What is {x}?", "What exactly is {x}?"),
)  # fmt: skip
# {o}: I, you, we … — whom it is about decides. Each row's wordings differ in nobody but that, so all are different.
PERSONAL = (
    ("What celebrity do you look like?", "What celebrity do I look like?", "What celebrity does my brother look like?"),
    ("What is the meaning of this word?", "What is the meaning of your name?", "What is the meaning of my name?"),
    ("What are your thoughts on this painting?", "What are your thoughts on my painting?", "What are the thoughts on painting?"),
    ("What is your biggest fear?", "What is the biggest fear?", "What is my biggest fear?"),
    ("What was the worst day of your life?", "What was the worst day of her life?", "What was the worst day of history?"),
    ("How did you become popular in school?", "How can I become popular in school?", "How does one become unpopular in school?"),
    ("Why do you love me?", "Why do I love you?", "Why do you love him?"),
    ("Can my boss read my emails?", "Can I read my boss's emails?", "Can your boss read your emails?"),
    ("Does my comment violate the rules?", "What should I do if a comment violates the rules?", "Does your comment violate the rules?"),
    ("Should I forgive him?", "Should he forgive me?", "Would you forgive him?"),
    ("What would you do in my place?", "What would I do in your place?"),
    ("How do I tell her that I like her?", "How do I know that she likes me?", "How do I tell her that I don't like her?"),
    ("Does she like me?", "Do I like her?", "Does he like me?", "Does she like him?"),
    ("Who do you trust the most?", "Who trusts you the most?"),
    ("Is this picture of me good?", "Is this picture of you good?"),
    ("What should I wear to my wedding?", "What should I wear to a wedding?", "What should she wear to her wedding?"),
    ("How do I get my ex back?", "How do I get back at my ex?", "How do I forget my ex?"),
    ("What do women want from men?", "What do men want from women?"),
    ("How do parents talk to teenagers?", "How do teenagers talk to parents?"),
)  # fmt: skip
TOPICS_THING = v.words(
    "yoga meditation bitcoin blockchain electricity gravity inflation democracy capitalism acupuncture hypnosis karma solar_power "
    "nuclear_energy machine_learning artificial_intelligence cloud_computing virtual_reality 3D_printing net_neutrality fabric_softener "
    "green_tea coconut_oil apple_cider_vinegar olive_oil dark_chocolate protein_powder vitamin_D cannabis coffee red_wine soy_milk "
    "intermittent_fasting the_ketogenic_diet a_vegan_diet homeopathy stem_cell_therapy plastic_surgery laser_eye_surgery tooth_whitening "
    "online_dating social_media Wikipedia Bluetooth WiFi GPS email_marketing affiliate_marketing stock_trading day_trading insurance "
    "a_mutual_fund a_credit_score a_black_hole the_Big_Bang evolution feminism secularism philosophy psychology linguistics statistics "
    "calculus algebra quantum_mechanics organic_chemistry game_theory poetry jazz opera ballet chess poker surfing rock_climbing"
)
NEAR = {
    "solar_power": "wind_power", "bitcoin": "gold", "yoga": "pilates", "green_tea": "black_tea", "coconut_oil": "olive_oil", "algebra": "geometry",
    "WiFi": "Bluetooth", "jazz": "blues", "chess": "checkers", "a_black_hole": "a_white_hole", "vitamin_D": "vitamin_C", "red_wine": "white_wine",
    "capitalism": "communism", "psychology": "psychiatry", "machine_learning": "deep_learning", "day_trading": "stock_trading", "soy_milk": "almond_milk",
    "virtual_reality": "augmented_reality", "statistics": "probability", "a_vegan_diet": "a_vegetarian_diet", "dark_chocolate": "white_chocolate",
}  # fmt: skip
MORE_THING = (
    "for beginners", "for children", "for women", "in India", "in Europe", "at home", "in simple words", "for weight loss", "in the workplace",
    "without money", "in the 1990s", "for seniors", "at night", "online", "in Germany", "during pregnancy", "before an exam", "after surgery",
)  # fmt: skip
BEFORE = (
    "experienced",
    "extremely",
    "free",
    "famous",
    "mobile",
    "modern",
    "natural",
    "professional",
    "used",
    "female",
    "local",
    "young",
)
ACTS = (
    ("motivate my employees", "get my employees motivated"), ("cheer myself up", "make myself feel better"), ("laugh more",), ("be funny", "be more funny"),
    ("find an email address", "get an email address"), ("find somebody's email address", "find a person's email address"),
    ("make a video go viral", "get a video to go viral"), ("do business with Alibaba",), ("build a business like Alibaba", "start a business like Alibaba"),
    ("get slim in a week", "become slim in a week"), ("get slim in a month",), ("develop an Android game", "make an Android game", "create an Android game"),
    ("develop an iPhone game", "make an iPhone game"), ("stay in touch with old friends", "keep in touch with old friends"),
    ("find old friends",), ("become a good chef", "be a good chef"), ("get an exhaust leak fixed",), ("fix an exhaust leak", "repair an exhaust leak"),
    ("learn the command line",), ("use the command line",), ("stop overthinking", "quit overthinking"), ("overcome shyness", "get over shyness"),
    ("improve my handwriting", "make my handwriting better"), ("improve my memory", "get a better memory"), ("get a girlfriend", "find a girlfriend"),
    ("get rid of a girlfriend",), ("get rid of acne", "remove acne"), ("get rid of ants", "kill ants"), ("control my anger", "manage my anger"),
    ("write a novel",), ("publish a novel",), ("sell a novel",), ("find a publisher",), ("increase website traffic", "get more website traffic"),
    ("prepare for a job interview", "get ready for a job interview"), ("conduct a job interview",), ("crack a password", "hack a password"),
    ("remember a password",), ("fall asleep faster", "get to sleep faster"), ("sleep less",), ("talk to strangers", "speak to strangers"),
    ("avoid strangers",), ("become more confident", "be more confident"), ("seem more confident",), ("invest in stocks", "put money in stocks"),
    ("invest in bonds",), ("file my taxes", "do my taxes"), ("pay less tax", "reduce my taxes"), ("study for an exam",), ("cheat in an exam",),
    ("convert miles to kilometers", "change miles into kilometers"), ("convert kilometers to miles",), ("merge two PDF files", "combine two PDF files"),
    ("split a PDF file",), ("translate a PDF file",), ("root my phone",), ("unroot my phone",), ("connect my phone to the TV", "hook my phone up to the TV"),
    ("drop ship",), ("start drop shipping", "get into drop shipping"), ("hack using Kali Linux", "hack with Kali Linux"), ("install Kali Linux",),
    ("use WhatsApp without a phone number",), ("use WhatsApp on a computer", "use WhatsApp on a PC"), ("block someone on WhatsApp",),
    ("know if someone blocked me on WhatsApp", "find out if someone blocked me on WhatsApp"), ("solve this math problem", "find the solution of this math problem"),
    ("understand this math problem",), ("get a loan", "take out a loan"), ("pay back a loan", "repay a loan"), ("get into Harvard", "get admitted to Harvard"),
    ("get out of Harvard",), ("become an actor",), ("become a film director", "become a movie director"), ("get over a breakup",), ("survive a breakup",),
)  # fmt: skip
MORE_DOING = (
    "in a week", "in one month", "for free", "online", "at home", "without a degree", "as a beginner", "with a baby", "on a Mac", "on Windows", "in India",
    "in the USA", "at 40", "as a student", "without experience", "by myself", "alone", "with my phone", "on an empty stomach", "before sleeping",
)  # fmt: skip


def focus_pairs(split: str, size: int, seed: int) -> list[Pair]:
    """About `size` pairs; equal calls give equal pairs."""
    random = Random(f"{seed} {split} focus")
    made: dict[tuple[str, str], Pair] = {}
    while len(made) < size:
        a, b, same, kind = _pair(random)
        if random.random() < 0.2:
            a = careless(random, a)
        if random.random() < 0.3:
            b = careless(random, b)
        if _letters(a) != _letters(b):
            made.setdefault((a, b), Pair(a, b, same, FILE, f"focus_{kind}", split))
    return list(made.values())


def _pair(random: Random) -> tuple[str, str, bool, str]:
    if random.random() < 0.06:
        one, two = random.sample(random.choice(PERSONAL), 2)
        return one, two, False, "person"
    asked, topics, more = random.choice(SETS)
    wordings = random.choice(topics)
    row = random.choice(asked)
    first = random.choice(row).format(x=random.choice(wordings))
    kind = random.random()
    if kind < 0.47:
        second = random.choice(row).format(x=random.choice(wordings))
        condition = f" {random.choice(more)}" if random.random() < 0.2 else ""
        return _more(first, condition), _more(second, condition), True, "same"
    if kind < 0.78:
        other = random.choice([r for r in asked if r is not row])
        return first, random.choice(other).format(x=random.choice(wordings)), False, "asked"
    if kind < 0.88:
        second = random.choice(row).format(x=random.choice(wordings))
        return first, _more(second, f" {random.choice(more)}"), False, "condition"
    if kind < 0.93:
        one, two = random.sample(more, 2)
        second = random.choice(row).format(x=random.choice(wordings))
        return _more(first, f" {one}"), _more(second, f" {two}"), False, "other_condition"
    near = _near(random, wordings, topics)
    return first, random.choice(row).format(x=random.choice(near)), False, "topic"


def _near(random: Random, wordings: tuple[str, ...], topics: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Another topic: its look-alike, one with a word in common, or any."""
    known = NEAR.get(wordings[0].replace(" ", "_"))
    if known and random.random() < 0.7:
        return (known.replace("_", " "),)
    words = {w for w in wordings[0].split() if len(w) > 3}
    alike = [t for t in topics if t is not wordings and words & set(t[0].split())]
    return (
        random.choice(alike)
        if alike and random.random() < 0.7
        else random.choice([t for t in topics if t is not wordings])
    )


def _more(question: str, condition: str) -> str:
    return f"{question.rstrip('?')}{condition}?"


def _letters(text: str) -> str:
    return "".join(text.lower().split()).rstrip(".?!")


def _singles(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple((word.replace("_", " "),) for word in words)


SETS: tuple[tuple[Asked, tuple[tuple[str, ...], ...], tuple[str, ...]], ...] = (
    (THING, _singles(TOPICS_THING), MORE_THING),
    (THING, _singles(TOPICS_THING), MORE_THING),
    (DOING, ACTS + v.ACTIVITIES, MORE_DOING),
    (DOING, ACTS, MORE_DOING),
    (DOING, ACTS + v.ACTIVITIES, MORE_DOING),
    (WHO, _singles(v.FAMOUS + v.NAMES), ("now", "today", "in 2010", "in real life")),
    (PLACE, _singles(v.CITIES + v.COUNTRIES), ("in winter", "as a student", "with children", "in 2015", "on a budget")),
    (
        HEALTH,
        _singles(v.DISEASES),
        ("in dogs", "in children", "in women", "in old people", "during pregnancy", "at night"),
    ),
)
