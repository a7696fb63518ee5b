"""Rewriting sentences that a small grammar builds, and finding facts in built texts."""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import listed, pool, sentence, table

# verb: past tense, participle
DEEDS = {
    "clean": ("cleaned", "cleaned"),
    "repair": ("repaired", "repaired"),
    "sell": ("sold", "sold"),
    "buy": ("bought", "bought"),
    "break": ("broke", "broken"),
    "find": ("found", "found"),
    "paint": ("painted", "painted"),
    "choose": ("chose", "chosen"),
    "borrow": ("borrowed", "borrowed"),
    "hide": ("hid", "hidden"),
    "test": ("tested", "tested"),
    "forget": ("forgot", "forgotten"),
    "lose": ("lost", "lost"),
    "praise": ("praised", "praised"),
}


def _pick(name: str, rng: Random) -> str:
    return rng.choice(pool(name))


def _deed(rng: Random) -> tuple[str, str, str]:
    return f"the {_pick('job', rng)}", rng.choice(list(DEEDS)), f"the {_pick('product', rng)}"


def _passive(_: Slots, rng: Random) -> tuple[str, str]:
    who, verb, what = _deed(rng)
    past, participle = DEEDS[verb]
    return sentence(f"{who} {past} {what}."), sentence(f"{what} was {participle} by {who}.")


def _negate(_: Slots, rng: Random) -> tuple[str, str]:
    who, verb, what = _deed(rng)
    return sentence(f"{who} {DEEDS[verb][0]} {what}."), sentence(f"{who} did not {verb} {what}.")


def _ask(_: Slots, rng: Random) -> tuple[str, str]:
    who, verb, what = _deed(rng)
    return sentence(f"{who} {DEEDS[verb][0]} {what}."), f"Did {who} {verb} {what}?"


def _future(_: Slots, rng: Random) -> tuple[str, str]:
    who, verb, what = _deed(rng)
    return sentence(f"{who} {DEEDS[verb][0]} {what}."), sentence(f"{who} will {verb} {what}.")


def _polite(_: Slots, rng: Random) -> tuple[str, str]:
    verb, what = rng.choice(("clean", "repair", "sell", "test", "paint")), _pick("product", rng)
    day = _pick("weekday", rng)
    return (
        f"{sentence(verb)} the {what} by {day}!",
        f"Could you please {verb} the {what} by {day}? Thank you very much.",
    )


CASUAL = (
    ("Hey {n}, can't make it on {d}, sorry!", "Dear {n}, I regret that I cannot attend on {d}."),
    (
        "Send me the stuff about {t} asap.",
        "Please send me the material on {t} as soon as possible.",
    ),
    ("The talk on {t} was awesome.", "The talk on {t} was excellent."),
    ("{n} messed up the order for the {p}.", "{n} made a mistake with the order for the {p}."),
    ("We gotta talk about the {p}.", "We need to discuss the {p}."),
    ("No clue when the {p} shows up.", "I do not know when the {p} will arrive."),
)


def _casual(slots: Slots, rng: Random) -> tuple[str, str]:
    names = {"n": "name", "d": "weekday", "t": "topic", "p": "product"}
    drawn = {key: _pick(name, rng) for key, name in names.items()}
    casual, formal = (line.format(**drawn) for line in rng.choice(CASUAL))
    return (casual, formal) if slots["tone"] == "formal" else (formal, casual)


PADDED = (
    ("Due to the fact that it rained, the {e} was cancelled.", "It rained, so the {e} was off."),
    (
        "At this point in time we are not in a position to say when the {p} will be delivered.",
        "We cannot say yet when the {p} will arrive.",
    ),
    (
        "It is important to note that {n} has the ability to speak about {t} at great length.",
        "{n} can speak about {t} at length.",
    ),
    (
        "In the event that the {p} does not work, please make contact with us without any delay.",
        "If the {p} fails, contact us at once.",
    ),
    (
        "{n} made the decision to give consideration to the purchase of a new {p}.",
        "{n} decided to think about a new {p}.",
    ),
)


def _shorten(_: Slots, rng: Random) -> tuple[str, str]:
    names = {"n": "name", "t": "topic", "p": "product"}
    drawn = {key: _pick(name, rng) for key, name in names.items()}
    drawn["e"] = rng.choice(("picnic", "regatta", "bicycle race", "garden party"))
    long, short = (line.format(**drawn) for line in rng.choice(PADDED))
    return long, short


def _opposites(_: Slots, rng: Random) -> tuple[str, str]:
    chosen = rng.sample(pool("opposite"), 3)
    return ", ".join(chosen), ", ".join(table("opposite")[word]["other"] for word in chosen)


def _swap_names(slots: Slots, rng: Random) -> tuple[str, str]:
    thing, day, other = _pick("product", rng), _pick("weekday", rng), _pick("place", rng)
    line = "On {d}, {n} took the {p} to the {o}."
    before = line.format(d=day, n=slots["name"], p=thing, o=other)
    return before, line.format(d=day, n=slots["name2"], p=thing, o=other)


def _date(rng: Random) -> str:
    return f"{rng.randint(1, 28)} {_pick('month', rng)} {rng.randint(1990, 2029)}"


def _dates(_: Slots, rng: Random) -> tuple[str, str]:
    first, second = _date(rng), _date(rng)
    name, place = _pick("name", rng), _pick("place", rng)
    text = f"{name} first saw the {place} on {first}. The new roof was finished on {second}."
    return text, f"{first}\n{second}"


def _names(_: Slots, rng: Random) -> tuple[str, str]:
    a, b, c = rng.sample(pool("name"), 3)
    place, job, day = (_pick(key, rng) for key in ("place", "job", "weekday"))
    text = f"On {day} {a} met {b} at the {place}. The {job}, whose name is {c}, came later."
    return text, f"{a}, {b}, {c}"


def _prices(_: Slots, rng: Random) -> tuple[str, str]:
    things = rng.sample(pool("product"), 3)
    costs = [rng.randint(4, 400) for _ in things]
    parts = [f"{cost} euros for the {thing}" for thing, cost in zip(things, costs, strict=True)]
    return f"I paid {listed(parts)}.", f"{' + '.join(map(str, costs))} = {sum(costs)} euros"


def _emails(_: Slots, rng: Random) -> tuple[str, str]:
    a, b = rng.sample(pool("name"), 2)
    host = _pick("noun", rng)
    first, second = f"{a.lower()}@{host}.example", f"{b.lower()}@{host}.example"
    topic = _pick("topic", rng)
    text = f"For questions on {topic} write to {first}; {b} ({second}) answers all others."
    return text, f"{first}\n{second}"


def _cities(_: Slots, rng: Random) -> tuple[str, str]:
    a, b, c = rng.sample(pool("city"), 3)
    text = (
        f"The {_pick('vehicle', rng)} leaves {a} at nine, stops in {b} for lunch and reaches {c} "
        f"in the evening, as {_pick('name', rng)} told us."
    )
    return text, f"{a}, {b}, {c}"


def _who(_: Slots, rng: Random) -> tuple[str, str]:
    a, b = rng.sample(pool("name"), 2)
    first, second = rng.sample(pool("hobby"), 2)
    city = _pick("city", rng)
    text = f"{a} lives in {city} and likes {first}. {b} prefers {second}."
    return f"{text}\nQuestion: Who likes {second}?", f"{b}, as the text says."


FAMILIES = (
    Family("passive_voice", "grammar", "work", _passive, "Sentence"),
    Family("negation", "grammar", "fact", _negate, "Sentence"),
    Family("into_question", "grammar", "fact", _ask, "Statement"),
    Family("into_future", "grammar", "fact", _future, "Sentence"),
    Family("politeness", "communication", "work", _polite, "Order"),
    Family("register", "communication", "work", _casual, "Text",
           pools={"tone": ("formal", "casual")}),
    Family("shorten", "editing", "work", _shorten, "Sentence"),
    Family("opposites", "language", "fact", _opposites, "Words"),
    Family("swap_names", "editing", "work", _swap_names, "Sentence"),
    Family("find_dates", "extraction", "work", _dates, "Text"),
    Family("find_names", "extraction", "work", _names, "Text"),
    Family("add_prices", "extraction", "work", _prices, "Note"),
    Family("find_emails", "extraction", "work", _emails, "Text"),
    Family("find_cities", "extraction", "work", _cities, "Text"),
    Family("read_and_answer", "reading", "fact", _who, "Passage"),
)  # fmt: skip
