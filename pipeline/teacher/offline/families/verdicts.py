"""Classification of texts: mood, purpose, tone, language, grammar."""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import LABEL, Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import pool, sentence


def _pick(name: str, rng: Random) -> str:
    return rng.choice(pool(name))


MOODS = {
    "positive": (
        "I use the {p} every day and would buy it again at once.",
        "The {p} arrived early, works perfectly and looks lovely.",
        "Best {p} that I have owned in years, worth every cent.",
        "My {r} was delighted with the {p}; five stars.",
        "So easy to use! The {p} has made our mornings much nicer.",
    ),
    "negative": (
        "The {p} broke after two days and nobody answers my calls.",
        "What a waste of money: the {p} does not do what the box says.",
        "I regret buying this {p}. It is loud, flimsy and overpriced.",
        "My {r} returned the {p} because of {b}.",
        "Do not buy the {p}; ours came with {b}.",
    ),
    "neutral": (
        "The {p} came on {d} in a brown box with a manual.",
        "I bought the {p} for my {r} and have not opened it yet.",
        "The {p} is available in two colours and weighs about a kilo.",
        "This {p} replaces an older model of the same size.",
    ),
}


def _mood(slots: Slots, rng: Random) -> tuple[str, str]:
    label = slots[LABEL]
    line = rng.choice(MOODS[label]).format(
        p=_pick("product", rng),
        r=_pick("relative", rng),
        b=_pick("problem", rng),
        d=_pick("weekday", rng),
    )
    return line, label


TOPICS = {
    "sport": (
        "Late goal sends {c} into the final",
        "{c} marathon won in record time",
        "Injured captain of {c} to miss the season",
    ),
    "business": (
        "Shares in {c} retailer rise after strong quarter",
        "{c} bakery chain to open forty new branches",
        "Bank in {c} cuts interest rates for savers",
    ),
    "science": (
        "Researchers in {c} explain new findings on {t}",
        "Study on {t} surprises laboratory in {c}",
        "Telescope near {c} records a faint comet",
    ),
    "politics": (
        "{c} council votes on new parking rules",
        "Mayor of {c} resigns after budget dispute",
        "Parties in {c} agree on a coalition after talks",
    ),
    "culture": (
        "{c} opera opens its season with a modern staging",
        "Novel set in {c} wins the translation prize",
        "Museum in {c} shows lost paintings for the first time",
    ),
}


def _headline(slots: Slots, rng: Random) -> tuple[str, str]:
    line = rng.choice(TOPICS[slots[LABEL]])
    return line.format(c=_pick("city", rng), t=_pick("topic", rng)), slots[LABEL]


MAILS = {
    "spam": (
        "Congratulations, you have won a {p}! Pay only the postage within two hours.",
        "URGENT: your account in {c} will be deleted, confirm your password here.",
        "Earn 900 euros a day from home, no experience, reply with your card number.",
        "Dear friend, a rich {j} from {c} left you money. Send a fee to receive it.",
    ),
    "not spam": (
        "Hi {n}, could we move our meeting about {t} to {d}?",
        "Your {p} was posted this morning and should arrive on {d}.",
        "Hello {n}, thank you for the notes on {t}. I have two small questions.",
        "Reminder: the library books on {t} are due on {d}.",
    ),
}


def _mail(slots: Slots, rng: Random) -> tuple[str, str]:
    line = rng.choice(MAILS[slots[LABEL]])
    names = {"p": "product", "c": "city", "j": "job", "n": "name", "t": "topic", "d": "weekday"}
    return line.format(**{key: _pick(name, rng) for key, name in names.items()}), slots[LABEL]


TICKETS = {
    "urgent": (
        "Water is coming through the ceiling of the {r} right now!",
        "Nobody can log in, and {n} customers are waiting at the counter.",
        "Smoke is rising from the {p} in the {r}. What should we do?",
        "The alarm in the {r} will not stop and the doors are locked.",
    ),
    "normal": (
        "The {p} in the {r} is slower than usual. Please look at it this week.",
        "One of the lights in the {r} flickers; can somebody change it by {d}?",
        "Please order {n} more cartons of paper before {d}.",
    ),
    "can wait": (
        "It would be nice to have a second {p} in the {r} some day.",
        "When you have time, the {r} could do with a fresh coat of paint.",
        "An idea for next year: a new colour for the sign at the {r}.",
    ),
}


def _ticket(slots: Slots, rng: Random) -> tuple[str, str]:
    names = {"r": "room", "p": "product", "d": "weekday"}
    line = rng.choice(TICKETS[slots[LABEL]])
    filled = {key: _pick(name, rng) for key, name in names.items()}
    return line.format(n=rng.randrange(3, 40), **filled), slots[LABEL]


LANGUAGES = {
    "French": (
        "La bibliothèque de {c} est fermée le lundi.",
        "Je voudrais acheter du pain à {c}.",
        "Le train pour {c} part dans dix minutes.",
        "Nous habitons près de {c} depuis un an.",
    ),
    "Spanish": (
        "La biblioteca de {c} está cerrada los lunes.",
        "Quisiera comprar pan en {c}.",
        "El tren para {c} sale en diez minutos.",
        "Vivimos cerca de {c} desde hace un año.",
    ),
    "German": (
        "Die Bibliothek in {c} ist montags geschlossen.",
        "Ich möchte in {c} Brot kaufen.",
        "Der Zug nach {c} fährt in zehn Minuten ab.",
        "Wir wohnen seit einem Jahr bei {c}.",
    ),
    "Italian": (
        "La biblioteca di {c} è chiusa il lunedì.",
        "Vorrei comprare del pane a {c}.",
        "Il treno per {c} parte tra dieci minuti.",
        "Abitiamo vicino a {c} da un anno.",
    ),
}


def _language(slots: Slots, rng: Random) -> tuple[str, str]:
    return rng.choice(LANGUAGES[slots[LABEL]]).format(c=_pick("city", rng)), slots[LABEL]


QUESTIONS = {
    "person": "Who {v} the {p} in {c}?",
    "place": "Where can one see the {p} of {n}?",
    "time": "When did {n} arrive in {c}?",
    "number": "How many {i} did {n} bring to {c}?",
    "reason": "Why did {n} leave {c} so early?",
}


def _question(slots: Slots, rng: Random) -> tuple[str, str]:
    line = QUESTIONS[slots[LABEL]].format(
        v=rng.choice(("runs", "designed", "owns", "opened", "looks after")),
        p=_pick("place", rng), c=_pick("city", rng), n=_pick("name", rng), i=_pick("item", rng),
    )  # fmt: skip
    return line, slots[LABEL]


WORD_KINDS = {
    "noun": ("The {w} was far away.", "She wrote a poem about the {w}."),
    "verb": ("They {w} every evening.", "We {w} whenever we can."),
    "adjective": ("It was a {w} day in {c}.", "The road to {c} looked {w}."),
    "adverb": ("He {w} closed the door.", "The letter from {c} was {w} written."),
}
WORDS = {
    "verb": "argue dance gather laugh listen paint practise read rehearse run sing study swim talk",
    "adjective": "bright calm dull foggy gloomy long quiet rainy silent strange sunny warm windy",
    "adverb": "badly carefully carelessly clearly gently hastily neatly quickly quietly slowly",
}


def _word_kind(slots: Slots, rng: Random) -> tuple[str, str]:
    kind = slots[LABEL]
    word = rng.choice(WORDS[kind].split()) if kind in WORDS else _pick("noun", rng)
    line = rng.choice(WORD_KINDS[kind]).format(w=word, c=_pick("city", rng))
    return f"{line} (word: {word})", kind


TENSES = {
    "past": ("walked to", "left", "visited", "wrote about", "dreamed of"),
    "present": ("walks to", "leaves", "visits", "writes about", "dreams of"),
    "future": ("will walk to", "will leave", "will visit", "will write about", "will dream of"),
}


def _tense(slots: Slots, rng: Random) -> tuple[str, str]:
    verb = rng.choice(TENSES[slots[LABEL]])
    return f"{_pick('name', rng)} {verb} the {_pick('place', rng)}.", slots[LABEL]


TONES = {
    "formal": (
        "We regret to inform you that the {p} is no longer available.",
        "I should be grateful if you would confirm the appointment on {d}.",
        "Please find enclosed the documents concerning {t}.",
    ),
    "informal": (
        "Hey {n}, sorry, the {p} is gone!",
        "You coming over on {d} or what?",
        "Wow, that talk on {t} was super fun, wasn't it?",
    ),
}


def _tone(slots: Slots, rng: Random) -> tuple[str, str]:
    names = {"p": "product", "d": "weekday", "t": "topic", "n": "name"}
    line = rng.choice(TONES[slots[LABEL]])
    return line.format(**{key: _pick(name, rng) for key, name in names.items()}), slots[LABEL]


CLAIMS = {
    "fact": (
        "The {p} in {c} opens at nine.",
        "{n} bought the {g} on {d}.",
        "The lecture on {t} lasted fifty minutes.",
    ),
    "opinion": (
        "The {p} in {c} is the loveliest place for an afternoon.",
        "Nobody should give {g} as a present.",
        "A lecture on {t} is more exciting than any film.",
    ),
}


def _claim(slots: Slots, rng: Random) -> tuple[str, str]:
    names = {"p": "place", "c": "city", "n": "name", "g": "product", "d": "weekday", "t": "topic"}
    drawn = {key: _pick(name, rng) for key, name in names.items()}
    drawn["g"] = f"a {drawn['g']}" if slots[LABEL] == "opinion" else drawn["g"]
    return sentence(rng.choice(CLAIMS[slots[LABEL]]).format(**drawn)), slots[LABEL]


DESKS = {
    "billing": (
        "I was charged twice for the {p}.",
        "Why is there a fee of {n} euros on my invoice?",
    ),
    "delivery": ("My {p} was due on {d} and is not here.", "The courier left the {p} in the rain."),
    "repairs": ("The {p} stopped working after {n} days.", "My {p} has {b}. Can you mend it?"),
    "praise": ("Thank you for the friendly help with my {p}!", "The {p} is wonderful, well done."),
}


def _desk(slots: Slots, rng: Random) -> tuple[str, str]:
    line = rng.choice(DESKS[slots[LABEL]]).format(
        p=_pick("product", rng), d=_pick("weekday", rng), n=rng.randrange(4, 60),
        b=rng.choice(("a loose handle", "a torn seam", "a noisy motor", "a cracked screen")),
    )  # fmt: skip
    return line, slots[LABEL]


FAMILIES = (
    Family("sentiment", "opinions", "work", _mood, "Review", tuple(MOODS)),
    Family("headline_topic", "news", "work", _headline, "Headline", tuple(TOPICS)),
    Family("spam", "e-mail", "work", _mail, "Message", tuple(MAILS)),
    Family("urgency", "maintenance", "work", _ticket, "Request", tuple(TICKETS)),
    Family("language_id", "languages", "work", _language, "Text", tuple(LANGUAGES)),
    Family("question_type", "language", "fact", _question, "Question", tuple(QUESTIONS)),
    Family("word_kind", "grammar", "fact", _word_kind, "Sentence", tuple(WORD_KINDS)),
    Family("tense", "grammar", "fact", _tense, "Sentence", tuple(TENSES)),
    Family("tone", "communication", "work", _tone, "Sentence", tuple(TONES)),
    Family("fact_opinion", "critical thinking", "fact", _claim, "Statement", tuple(CLAIMS)),
    Family("help_desk", "customer service", "work", _desk, "Message", tuple(DESKS)),
)
