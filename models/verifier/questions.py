"""Questions and instructions from frames: each row is one request in several wordings; rows of one frame differ in meaning.

Written for this project.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import vocabulary as v
from scenes import COUNTING, article, noun, other, plural

Rows = list[tuple[str, ...]]  # wordings of one request; every row another request


def comparison(r: Random) -> Rows:
    """Is X taller than Y?"""
    word, opposite = r.choice(v.COMPARATIVES)
    one, two = r.sample(r.choice((v.ANIMALS, v.THINGS)), 2)
    forms = [
        (plural(one), plural(two), "Are"),
        (f"the {one}", f"the {two}", "Is"),
        *[(*r.sample(v.NAMES, 2), "Is")] * 2,
    ]
    a, b, be = r.choice(forms)
    return [
        (f"{be} {a} {word} than {b}?", f"{be} {b} {opposite} than {a}?"),
        (f"{be} {b} {word} than {a}?", f"{be} {a} {opposite} than {b}?"),
        (f"{be} {a} as {r.choice(('big', 'old', 'fast'))} as {b}?",),
        (f"{be}n't {a} {word} than {b}?" if r.random() < 0.3 else f"Why {be.lower()} {a} {word} than {b}?",),
    ]


def roles(r: Random) -> Rows:
    """Who did X hire, who hired X; active and passive."""
    verb = r.choice(v.VERBS)
    base, _, _, done, _ = verb
    a, b = r.sample(v.NAMES if r.random() < 0.6 else v.FAMOUS, 2)
    past = {
        "bitten": "bit",
        "thrown": "threw",
        "eaten": "ate",
        "ridden": "rode",
        "broken": "broke",
        "drawn": "drew",
        "beaten": "beat",
    }.get(done, done)
    kind = r.random()
    if kind < 0.35:
        return [
            (f"Who did {a} {base}?", f"Whom did {a} {base}?", f"Who was {done} by {a}?"),
            (f"Who {past} {a}?", f"Who was {a} {done} by?", f"By whom was {a} {done}?"),
            (f"Who did {a} not {base}?", f"Who didn't {a} {base}?"),
            (f"Why did {a} {base} {b}?", f"Why was {b} {done} by {a}?"),
        ]
    if kind < 0.7:
        return [
            (f"Did {a} {base} {b}?", f"Was {b} {done} by {a}?"),
            (f"Did {b} {base} {a}?", f"Was {a} {done} by {b}?"),
            (f"When did {a} {base} {b}?", f"When was {b} {done} by {a}?"),
            (f"When did {b} {base} {a}?", f"When was {a} {done} by {b}?"),
        ]
    group = r.choice(("people", "students", "customers", "scientists", "experts", "children", "companies"))
    thing = plural(noun(r))
    return [
        (f"Do {group} {base} {thing}?", f"Are {thing} {done} by {group}?"),
        (f"Do {thing} {base} {group}?", f"Are {group} {done} by {thing}?"),
        (f"Do {group} not {base} {thing}?", f"Don't {group} {base} {thing}?"),
        (f"How often do {group} {base} {thing}?", f"How often are {thing} {done} by {group}?"),
    ]


def becoming(r: Random) -> Rows:
    """How can I become more X."""
    trait, opposite, synonyms = r.choice(v.TRAITS)
    other_trait = other(r, v.TRAITS, (trait, opposite, synonyms))[0]
    words = (trait, *synonyms)
    who = article(trait + " person")
    kind = r.random()
    if kind < 0.4:
        return [
            (
                *tuple(f"How {c} I become more {w}?" for c in ("can", "do") for w in words),
                f"How can I become less {opposite}?",
                f"What can I do to become more {trait}?",
                f"How can I be more {trait}?",
            ),
            (f"How can I become less {trait}?", f"How can I become more {opposite}?"),
            (f"How can I become more {other_trait}?",),
            (f"Why should I become more {trait}?",),
        ]
    if kind < 0.7:
        bad = article(opposite + " person")
        return [
            (f"How can I become {who}?", f"How do I become {who}?", f"How can I become a person who is {trait}?", f"How can I become a person who is not {opposite}?"),
            (f"How can I become {bad}?", f"How can I become a person who is {opposite}?", f"How can I become a person who is not {trait}?"),
            (f"How can I help {who}?",),
            (f"How do I know that someone is {who}?",),
        ]  # fmt: skip
    name = r.choice(v.NAMES)
    return [
        (*tuple(f"Is {name} {w}?" for w in words), f"Is {name} {article(trait + ' person')}?"),
        (f"Is {name} {opposite}?", f"Is {name} not {trait}?", f"Isn't {name} {opposite}?")[: 1 + (r.random() < 0.5)],
        (f"Is {name} becoming {trait}?", f"Is {name} becoming more {trait}?"),
        (f"Is {name} {other_trait}?",),
        (f"Why is {name} so {trait}?",),
    ]


def before_after(r: Random) -> Rows:
    """Before and after, until and since, from and to."""
    kind = r.random()
    if kind < 0.3:
        act, event = (
            r.choice(v.ACTIVITIES)[0],
            r.choice(
                (
                    "breakfast",
                    "dinner",
                    "surgery",
                    "a workout",
                    "the exam",
                    "a flight",
                    "sleeping",
                    "giving birth",
                    "an interview",
                    "taking aspirin",
                )
            ),
        )
        ask = r.choice(("Is it safe to", "Can I", "Should I", "Is it normal to", "Why do people", "How can I"))
        return [
            (f"{ask} {act} before {event}?", f"Before {event}, {ask[0].lower() + ask[1:]} {act}?"),
            (f"{ask} {act} after {event}?", f"After {event}, {ask[0].lower() + ask[1:]} {act}?"),
            (f"{ask} {act} during {event}?",),
            (f"{ask} not {act} before {event}?",),
        ]  # fmt: skip
    if kind < 0.55:
        name, job = r.choice(v.FAMOUS + v.NAMES), r.choice(v.PROFESSIONS)
        return [
            (f"What was {name}'s life before becoming {article(job)}?", f"What was {name}'s life like before becoming {article(job)}?", f"How did {name} live before becoming {article(job)}?"),
            (f"What was {name}'s life after becoming {article(job)}?", f"What was {name}'s life like after becoming {article(job)}?", f"How did {name} live after becoming {article(job)}?"),
            (f"When did {name} become {article(job)}?",),
            (f"Was {name} {article(job)} before {r.randint(1950, 2020)}?",),
        ]  # fmt: skip
    one, two = r.sample(v.CITIES if r.random() < 0.6 else v.COUNTRIES, 2)
    how = r.choice((
        ("How do I fly from {a} to {b}?", "How can I fly to {b} from {a}?", "How can I fly from {a} to {b}?"),
        ("How long is the train from {a} to {b}?", "How long does the train take from {a} to {b}?"),
        ("What does shipping from {a} to {b} cost?", "How much does shipping to {b} from {a} cost?", "How much does it cost to ship from {a} to {b}?"),
        ("Cheapest way to get from {a} to {b}", "What is the cheapest way to get from {a} to {b}?", "What's the cheapest way to get to {b} from {a}?"),
        ("Can I move from {a} to {b}?", "Is it possible for me to move from {a} to {b}?"),
        ("Is {a} north of {b}?", "Is {b} south of {a}?"),
        ("Is {a} bigger than {b}?", "Is {b} smaller than {a}?"),
    ))  # fmt: skip
    third = other(r, v.CITIES, one, two)
    return [
        tuple(form.format(a=one, b=two) for form in how),
        tuple(form.format(a=two, b=one) for form in how),
        tuple(form.format(a=one, b=third) for form in how),
        tuple(form.format(a=third, b=two) for form in how),
    ]


ASKED = (
    (
        "how do i {x}",
        "how can i {x}",
        "what is the way to {x}",
        "how to {x}",
        "how does one {x}",
        "what is a good way to {x}",
        "what's the best way to {x}",
    ),
    ("why should i {x}", "why is it a good idea to {x}", "what are the reasons to {x}"),
    ("where can i {x}", "where is a place to {x}", "in which place can i {x}"),
    ("when should i {x}", "what is the right time to {x}", "when is the best time to {x}"),
    ("how much does it cost to {x}", "what does it cost to {x}", "what is the price to {x}"),
    ("is it legal to {x}", "is it allowed by law to {x}", "can you legally {x}"),
    ("is it hard to {x}", "is it difficult to {x}", "how hard is it to {x}"),
    ("how long does it take to {x}", "how much time does it take to {x}"),
    ("should i {x}", "is it a good idea to {x}", "do you think i should {x}"),
    ("why shouldn't i {x}", "why should i not {x}", "why is it a bad idea to {x}"),
    ("who can help me {x}", "who could help me to {x}"),
    ("what are the risks if i {x}", "what risks are there if i {x}"),
)


def activity(r: Random) -> Rows:
    """How do I do X: another act or another question is different."""
    acts = r.choice(v.ACTIVITIES)
    near = v.ACTIVITIES.index(acts)
    neighbor = v.ACTIVITIES[(near + r.choice((-1, 1))) % len(v.ACTIVITIES)]  # opposites stand side by side in the table
    asked, asked2 = r.sample(ASKED, 2)
    add = r.choice(
        (
            " without money",
            " at home",
            " in one week",
            " as a beginner",
            " online",
            " with children",
            " on a phone",
            " for free",
        )
    )
    rows = [
        tuple(form.format(x=x) for form in asked for x in acts),
        tuple(form.format(x=x) for form in asked for x in neighbor),
        tuple(form.format(x=x) for form in asked2 for x in acts),
        tuple(form.format(x=x) + add for form in asked for x in acts),
    ]
    if asked[0].startswith("how do i"):
        rows.append(
            (f"how do i not {acts[0]}", f"how can i avoid to {acts[0]}", f"how do i keep from having to {acts[0]}")
        )
    return [tuple(_sentence(r, text) for text in row) for row in rows]


def person_fact(r: Random) -> Rows:
    """Facts of persons, places and things; another entity is different."""
    table, forms = r.choice((
        (v.COUNTRIES, ("What is the capital of {x}?", "What's the capital of {x}?", "Which city is the capital of {x}?", "{x} capital city")),
        (v.COUNTRIES, ("What is the population of {x}?", "How many people live in {x}?", "How big is the population of {x}?")),
        (v.COUNTRIES, ("Who is the president of {x}?", "Who's the president of {x}?", "What is the name of the president of {x}?")),
        (v.COUNTRIES, ("What is the currency of {x}?", "Which currency is used in {x}?", "What currency does {x} use?")),
        (v.COUNTRIES, ("What language is spoken in {x}?", "Which language do people speak in {x}?")),
        (v.COUNTRIES, ("Is it safe to travel to {x}?", "Is travelling to {x} safe?")),
        (v.FAMOUS, ("When was {x} born?", "What is the birth date of {x}?", "In which year was {x} born?")),
        (v.FAMOUS, ("When did {x} die?", "In which year did {x} die?", "What is the date of {x}'s death?")),
        (v.FAMOUS, ("Where was {x} born?", "What is the birthplace of {x}?", "In which place was {x} born?")),
        (v.FAMOUS, ("Who was {x}?", "Tell me who {x} was", "Who exactly was {x}?")),
        (v.FAMOUS, ("Who was {x} married to?", "Who was the spouse of {x}?")),
        (v.CITIES, ("What is the weather like in {x}?", "How is the weather in {x}?", "What's the weather in {x}?")),
        (v.CITIES, ("What are the best restaurants in {x}?", "Which restaurants in {x} are the best?", "Best restaurants in {x}")),
        (v.CITIES, ("What is there to see in {x}?", "What can I see in {x}?", "What sights are there in {x}?")),
        (v.ANIMALS, ("How long does {ax} live?", "What is the lifespan of {ax}?", "How old can {ax} get?")),
        (v.ANIMALS, ("What does {ax} eat?", "What is the diet of {ax}?", "What do {sx} eat?")),
        (v.ANIMALS, ("How fast can {ax} run?", "What is the top speed of {ax}?")),
        (v.THINGS, ("How is {ax} made?", "How do you make {ax}?", "How are {sx} made?")),
        (v.THINGS, ("Who invented the {x}?", "By whom was the {x} invented?", "Who was the inventor of the {x}?")),
        (v.THINGS, ("How much does {ax} cost?", "What is the price of {ax}?", "What does {ax} cost?")),
        (v.DISEASES, ("What are the symptoms of {x}?", "What symptoms does {x} have?", "How do I know if I have {x}?")),
        (v.DISEASES, ("What causes {x}?", "What is the cause of {x}?", "Why do people get {x}?")),
        (v.DISEASES, ("How is {x} treated?", "What is the treatment for {x}?", "How do you treat {x}?")),
        (v.DISEASES, ("Is {x} contagious?", "Can {x} spread from person to person?")),
        (v.DISEASES, ("How long does {x} last?", "How many days does {x} last?")),
        (v.DRUGS, ("What are the side effects of {x}?", "What side effects does {x} have?")),
        (v.DRUGS, ("Can I drink alcohol with {x}?", "Is it safe to drink alcohol while taking {x}?", "Can I take {x} with alcohol?")),
        (v.DRUGS, ("What is {x} used for?", "What do people take {x} for?")),
        (v.DRUGS, ("Is {x} safe for children?", "Can children take {x}?")),
        (v.DRUGS, ("How often can I take {x}?", "How many times a day can I take {x}?")),
        (v.PROFESSIONS, ("How much does {ax} earn?", "What is the salary of {ax}?", "How much money does {ax} make?")),
        (v.PROFESSIONS, ("How do I become {ax}?", "How can I become {ax}?", "What do I need to become {ax}?")),
        (v.PROFESSIONS, ("What does {ax} do?", "What is the work of {ax}?")),
        (v.LANGUAGES, ("Is {x} hard to learn?", "Is it hard to learn {x}?", "Is learning {x} difficult?")),
        (v.LANGUAGES, ("How do I read a file in {x}?", "How can I read a file with {x}?", "Reading a file in {x}")),
        (v.LANGUAGES, ("How do I sort a list in {x}?", "How can I sort a list using {x}?", "Sort a list in {x}")),
        (v.SUBJECT_WORDS, ("What is the meaning of {x}?", "What does {x} mean?")),
    ))  # fmt: skip
    x, y = r.sample(table, 2)
    forms2 = r.choice(
        (
            ("Why is {x} so popular?", "What makes {x} so popular?"),
            ("What is the history of {x}?",),
            ("What is the best {x}?",),
            ("Is {x} dangerous?",),
        )
    )

    def put(form, value):
        return form.format(x=value, ax=article(value), sx=plural(value))

    rows = [
        tuple(put(form, x) for form in forms),
        tuple(put(form, y) for form in forms),
        tuple(put(form, x) for form in forms2),
    ]
    extra = r.choice(
        (
            " for children",
            " in 1990",
            " for adults",
            " at night",
            " in winter",
            " for beginners",
            " during pregnancy",
            " without insurance",
        )
    )
    rows.append(tuple(put(form, x).rstrip("?") + extra + "?" for form in forms))
    return rows


def dated(r: Random) -> Rows:
    """A question as of a year, or in a place: the year decides."""
    stem = r.choice((
        "who is the president", "who won the world cup", "what is the minimum wage", "who has the most goals", "what is the tallest building",
        "who is the richest person", "what is the price of gold", "who is the head coach of the team", "what is the inflation rate", "who won the election",
        "what is the most popular name", "how many people are unemployed", "who holds the record", "what is the best selling car", "who is the prime minister",
        "when does the new season start", "what is the legal drinking age", "how many members are in the parliament", "who sings the national anthem",
    ))  # fmt: skip
    month = r.choice(("January", "March", "April", "June", "August", "October", "December"))
    year = r.randint(1960, 2025)
    if r.random() < 0.5:
        date = r.choice((f"{year}", f"{month} {year}", f"{month} {r.randint(1, 28)}, {year}"))
        dates = {date, f"{year + r.choice((-1, 1, 2, -10))}", f"{r.choice(('May', 'July'))} {year}", f"{year - 7}"}
        how = r.choice(("as of {d}", "in {d}", "before {d}", "since {d}"))
        rows = [(f"{stem} {how.format(d=d)}", f"{how.format(d=d)}, {stem}?") for d in [date, *sorted(dates - {date})]]
        opposite = {
            "before {d}": "after {d}",
            "since {d}": "until {d}",
            "in {d}": "before {d}",
            "as of {d}": "after {d}",
        }[how]
        rows.append((f"{stem} {opposite.format(d=date)}",))
    else:
        places = r.sample(v.COUNTRIES + v.CITIES, 3)
        rows = [(f"{stem} in {p}", f"in {p}, {stem}?", f"{stem} in {p}?") for p in places]
        rows.append((f"{stem} in {places[0]} in {year}", f"in {year}, {stem} in {places[0]}"))
    rows.append((stem, stem + "?"))
    return rows


def superlative(r: Random) -> Rows:
    """The most and the least of something, in one place."""
    up, down = r.choice(
        (
            ("largest", "smallest"),
            ("tallest", "shortest"),
            ("oldest", "youngest"),
            ("cheapest", "most expensive"),
            ("best", "worst"),
            ("fastest", "slowest"),
            ("highest", "lowest"),
            ("longest", "shortest"),
            ("first", "last"),
        )
    )
    what = r.choice(
        (
            "city",
            "river",
            "mountain",
            "university",
            "bank",
            "building",
            "airport",
            "restaurant",
            "hotel",
            "president",
            "lake",
            "train",
            "company",
            "island",
        )
    )
    x, y = r.sample(v.COUNTRIES, 2)
    what2 = other(r, ("city", "river", "mountain", "bank", "building", "airport", "hotel", "lake"), what)

    def say(a, b, c):
        return (
            f"What is the {a} {b} in {c}?",
            f"Which {b} in {c} is the {a}?",
            f"What's the {a} {b} of {c}?",
            f"{a} {b} in {c}",
        )

    return [say(up, what, x), say(down, what, x), say(up, what, y), say(up, what2, x), say("second " + up, what, x)]


def instruction(r: Random) -> Rows:
    """Write, translate, convert, list: form, topic, length, language and format decide."""
    x, y = r.sample(v.SUBJECT_WORDS, 2)
    kind = r.random()
    if kind < 0.45:
        form, form2 = r.sample(
            (
                "a poem",
                "a short story",
                "an essay",
                "a haiku",
                "a tweet",
                "a summary",
                "a song",
                "a blog post",
                "a speech",
                "a joke",
                "an email",
            ),
            2,
        )
        n = r.choice((50, 100, 150, 200, 300, 500))
        verbs = (
            "Write",
            "Compose",
            "Please write",
            "Could you write",
            "Can you write me",
            "I need you to write",
            "Write me",
        )
        return [
            tuple(f"{w} {form} about {x}" for w in verbs),
            tuple(f"{w} {form} about {y}" for w in verbs),
            tuple(f"{w} {form2} about {x}" for w in verbs),
            (f"Write {form} about {x} in {n} words", f"Write {form} of {n} words about {x}", f"Please write {form} about {x} in {n} words"),
            (f"Write {form} about {x} in {n * 2} words", f"Write {form} of {n * 2} words about {x}"),
            (f"Write {form} about {x} in {r.choice(v.HUMAN_LANGUAGES)}",),
            (f"Don't write {form} about {x}",),
            (f"Write {form} about {x} without mentioning {y}",),
        ]  # fmt: skip
    if kind < 0.6:
        one, two, three = r.sample(v.LANGUAGES, 3)
        what = r.choice(("a function", "a script", "this code", "a class", "a loop"))
        return [
            (f"Convert {what} from {one} to {two}", f"Please convert {what} from {one} to {two}", f"Translate {what} from {one} into {two}", f"Could you convert {what} from {one} to {two}?"),
            (f"Convert {what} from {two} to {one}", f"Please convert {what} from {two} to {one}", f"Translate {what} from {two} into {one}"),
            (f"Convert {what} from {one} to {three}",),
            (f"Explain {what} in {one}",),
        ]  # fmt: skip
    if kind < 0.75:
        one, two = r.sample(v.HUMAN_LANGUAGES, 2)
        word = r.choice(
            (
                "good morning",
                "thank you very much",
                "where is the station",
                "I love you",
                "how are you",
                "happy birthday",
            )
        )
        return [
            (f"Translate '{word}' into {one}", f"How do you say '{word}' in {one}?", f"What is '{word}' in {one}?", f"Please translate '{word}' to {one}"),
            (f"Translate '{word}' into {two}", f"How do you say '{word}' in {two}?", f"What is '{word}' in {two}?"),
            (f"Translate 'see you tomorrow' into {one}", f"How do you say 'see you tomorrow' in {one}?"),
            (f"Translate '{word}' from {one} into {two}",),
        ]  # fmt: skip
    n, m = r.sample(range(3, 12), 2)
    what = r.choice(
        ("books", "movies", "recipes", "exercises", "facts", "tips", "ideas", "reasons", "examples", "questions")
    )
    fmt, fmt2 = r.sample(("a table", "JSON", "bullet points", "CSV", "a numbered list"), 2)

    def count(k):
        return r.choice((str(k), COUNTING[k]))

    return [
        (f"List {count(n)} {what} about {x}", f"Give me {count(n)} {what} about {x}", f"Name {count(n)} {what} about {x}", f"Can you list {count(n)} {what} about {x}?", f"Please give me {count(n)} {what} on {x}"),
        (f"List {count(m)} {what} about {x}", f"Give me {count(m)} {what} about {x}"),
        (f"List {count(n)} {what} about {y}", f"Give me {count(n)} {what} about {y}"),
        (f"List {count(n)} {what} about {x} as {fmt}", f"Give me {count(n)} {what} about {x} as {fmt}"),
        (f"List {count(n)} {what} about {x} as {fmt2}", f"Give me {count(n)} {what} about {x} as {fmt2}"),
        (f"Explain {x} to a child", f"Explain {x} to a five year old", f"Please explain {x} to a child"),
        (f"Explain {x}", f"Please explain {x}", f"Can you explain {x}?", f"What is {x}? Please explain"),
        (f"Explain {x} to an expert",),
    ]  # fmt: skip


def quantity(r: Random) -> Rows:
    """Numbers with units, ranges, thresholds."""
    n = r.randint(2, 90)
    m = other(r, tuple(range(2, 90)), n)
    unit, unit2 = r.sample(
        (
            "kilograms",
            "miles",
            "kilometers",
            "dollars",
            "euros",
            "degrees",
            "minutes",
            "hours",
            "days",
            "years",
            "liters",
            "pounds",
        ),
        2,
    )
    stem = r.choice(
        (
            "Is it possible to run {q}?",
            "How do I save {q}?",
            "How can I lose {q}?",
            "What can I do in {q}?",
            "How far is {q}?",
            "Is {q} a lot?",
            "Can I carry {q}?",
            "What is {q} in other units?",
        )
    )

    def say(*qs):
        return tuple(stem.format(q=q) for q in qs)

    return [
        say(f"{n} {unit}"),
        say(f"{m} {unit}"),
        say(f"{n} {unit2}"),
        say(f"more than {n} {unit}", f"over {n} {unit}"),
        say(f"less than {n} {unit}", f"under {n} {unit}"),
        say(f"{n} to {n + m} {unit}", f"between {n} and {n + m} {unit}"),
    ]


def profession(r: Random) -> Rows:
    """A modifier or another profession is another question."""
    name, job, job2 = r.choice(v.NAMES), *r.sample(v.PROFESSIONS, 2)
    more = r.choice(
        ("good", "famous", "real", "former", "retired", "licensed", "young", "American", "French", "female")
    )
    return [
        (f"Is {name} {article(job)}?", f"Does {name} work as {article(job)}?", f"Is {name} working as {article(job)}?"),
        (f"Is {name} {article(more + ' ' + job)}?",),
        (f"Is {name} {article(job2)}?", f"Does {name} work as {article(job2)}?"),
        (f"Is {name} becoming {article(job)}?", f"Is {name} going to become {article(job)}?"),
        (f"Was {name} {article(job)}?", f"Did {name} work as {article(job)}?"),
        (f"Is {name} not {article(job)}?", f"Isn't {name} {article(job)}?")[:1],
        (f"Is {name} {article(job)} and {article(job2)}?", f"Is {name} {article(job2)} and {article(job)}?"),
        (f"Is {name} {article(job)} or {article(job2)}?", f"Is {name} {article(job2)} or {article(job)}?"),
        (f"Is {name} related to {article(job)}?",),
    ]


def symmetric(r: Random) -> Rows:
    """Marriage, difference and likeness have no direction; likes and beliefs have."""
    a, b, c = r.sample(v.NAMES, 3)
    kind = r.random()
    if kind < 0.5:
        forms = r.choice(
            (
                "Are {a} and {b} married?",
                "Is {a} related to {b}?",
                "Do {a} and {b} know each other?",
                "What is the difference between {a} and {b}?",
                "Is {a} the same as {b}?",
                "Are {a} and {b} friends?",
                "Does {a} live near {b}?",
            )
        )
        return [
            (forms.format(a=a, b=b), forms.format(a=b, b=a)),
            (forms.format(a=a, b=c), forms.format(a=c, b=a)),
            (forms.format(a=c, b=b),),
        ]
    forms = r.choice(
        (
            "Does {a} like {b}?",
            "Is {a} the boss of {b}?",
            "Is {a} the parent of {b}?",
            "Does {a} owe {b} money?",
            "Does {a} believe that {b} is honest?",
            "Is {a} afraid of {b}?",
            "Did {a} win against {b}?",
            "Is {a} indebted to {b}?",
            "Is {a} in love with {b}?",
        )
    )
    more = {
        "Is {a} the parent of {b}?": "Is {b} the child of {a}?",
        "Did {a} win against {b}?": "Did {b} lose against {a}?",
        "Is {a} the boss of {b}?": "Does {b} work for {a}?",
    }.get(forms)
    rows = []
    for one, two in ((a, b), (b, a), (a, c)):
        wordings = [forms.format(a=one, b=two)]
        if more:
            wordings.append(more.format(a=one, b=two))
        rows.append(tuple(wordings))
    return rows


def _sentence(r: Random, text: str) -> str:
    """As people type it: perhaps a capital, perhaps a question mark."""
    text = text.replace(" i ", " I ")
    if r.random() < 0.7:
        text = text[0].upper() + text[1:]
    return text + ("?" if r.random() < 0.7 else "")


FRAMES: tuple[Callable[[Random], Rows], ...] = (
    comparison, roles, roles, becoming, before_after, activity, activity, person_fact, person_fact, dated, superlative,
    instruction, instruction, quantity, profession, symmetric,
)  # fmt: skip
