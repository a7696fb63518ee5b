"""Questions of knowledge, answered from small tables that were checked by hand."""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import sentence, table


def _capital(slots: Slots, _: Random) -> tuple[str, str]:
    country = slots["country"]
    row = table("country")[country]
    return (
        "",
        f"The capital of {country} is {row['capital']}. The country lies in {row['continent']}.",
    )


def _currency(slots: Slots, _: Random) -> tuple[str, str]:
    country = slots["country"]
    row = table("country")[country]
    return (
        "",
        f"In {country} people pay with the {row['currency']} and many speak {row['language']}.",
    )


def _north(slots: Slots, _: Random) -> tuple[str, str]:
    a, b = slots["country"], slots["country2"]
    first, second = (table("country")[name]["continent"] for name in (a, b))
    if first == second:
        return "", f"Yes, {a} and {b} both lie in {first}."
    return "", f"No. {a} lies in {first}, {b} in {second}."


def _element(slots: Slots, _: Random) -> tuple[str, str]:
    name = slots["element"]
    row = table("element")[name]
    return "", (
        f"{sentence(name)} has the symbol {row['symbol']} and the atomic number {row['number']}. "
        f"At room temperature it is a {row['state']}; it counts as a {row['kind']}."
    )


def _heavier(slots: Slots, _: Random) -> tuple[str, str]:
    a, b = slots["element"], slots["element2"]
    first, second = (int(table("element")[name]["number"]) for name in (a, b))
    more = a if first > second else b
    return "", f"{sentence(more)}: {a} has {first} protons, {b} has {second}."


def _year(slots: Slots, _: Random) -> tuple[str, str]:
    event = slots["happening"]
    return "", f"The year of {event} is {table('happening')[event]['year']}."


def _between(slots: Slots, _: Random) -> tuple[str, str]:
    a, b = slots["happening"], slots["happening2"]
    first, second = (int(table("happening")[name]["year"]) for name in (a, b))
    gap = abs(first - second)
    return "", f"{sentence(a)} was in {first} and {b} in {second}: {gap} years lie between them."


def _order(slots: Slots, _: Random) -> tuple[str, str]:
    events = [slots[name] for name in ("happening", "happening2", "happening3")]
    events.sort(key=lambda name: int(table("happening")[name]["year"]))
    return "", "\n".join(
        f"{index}. {sentence(name)} ({table('happening')[name]['year']})"
        for index, name in enumerate(events, 1)
    )


def _composer(slots: Slots, _: Random) -> tuple[str, str]:
    work = slots["composition"]
    row = table("composition")[work]
    return "", f"{row['composer']}, born in {row['born']}, composed {work}."


def _inventor(slots: Slots, _: Random) -> tuple[str, str]:
    thing = slots["invention"]
    return "", f"The name linked with {thing} is {table('invention')[thing]['person']}."


def _sport(slots: Slots, _: Random) -> tuple[str, str]:
    sport = slots["sport"]
    row = table("sport")[sport]
    return "", (
        f"In {sport} each team has {row['players']} players in play at a time. "
        f"It is played on {row['venue']}, and teams score by {row['score']}."
    )


def _organ(slots: Slots, _: Random) -> tuple[str, str]:
    return "", f"The {slots['organ']} {table('organ')[slots['organ']]['job']}."


def _diet(slots: Slots, _: Random) -> tuple[str, str]:
    animal = slots["animal"]
    row = table("animal")[animal]
    return "", f"The {animal}, a kind of {row['kind']}, lives mainly on {row['diet']}."


def _term(slots: Slots, _: Random) -> tuple[str, str]:
    term = slots["term"]
    row = table("term")[term]
    return "", f"In {row['field']}, {term} is {row['meaning']}."


def _compare(slots: Slots, _: Random) -> tuple[str, str]:
    row = table("pair")[slots["pair"]]
    both = f"{sentence(row['first'])} and {row['second']} {row['both']}."
    return "", f"In common: {both}\nDifferent: {row['difference']}."


def _idiom(slots: Slots, _: Random) -> tuple[str, str]:
    idiom = slots["idiom"]
    return "", f'"{sentence(idiom)}" means {table("idiom")[idiom]["sense"]}.'


def _riddle(slots: Slots, _: Random) -> tuple[str, str]:
    return "", f"It is {table('riddle')[slots['riddle']]['solution']}."


def _lexeme(slots: Slots, _: Random) -> tuple[str, str]:
    names = ("lexeme", "lexeme2", "lexeme3", "lexeme4")
    column = slots["tongue"].lower()
    found = [slots[name] for name in names if name in slots]
    return "", "\n".join(f"{word}: {table('lexeme')[word][column]}" for word in found)


def _guess(slots: Slots, _: Random) -> tuple[str, str]:
    word, tongue = slots["lexeme"], slots["tongue"]
    return "", f'"{sentence(word)}" is {table("lexeme")[word][tongue.lower()]} in {tongue}.'


TONGUES = {"tongue": ("French", "Spanish", "German")}

FAMILIES = (
    Family("capital", "geography", "fact", _capital),
    Family("currency", "geography", "fact", _currency),
    Family("same_continent", "geography", "fact", _north),
    Family("element_facts", "chemistry", "fact", _element),
    Family("more_protons", "chemistry", "fact", _heavier),
    Family("history_year", "history", "fact", _year),
    Family("years_between", "history", "fact", _between),
    Family("chronology", "history", "fact", _order),
    Family("composer", "music", "fact", _composer),
    Family("inventor", "inventions", "fact", _inventor),
    Family("team_size", "sport", "fact", _sport),
    Family("organ", "biology", "fact", _organ),
    Family("diet", "biology", "fact", _diet),
    Family("definition", "general knowledge", "fact", _term),
    Family("comparison", "general knowledge", "fact", _compare),
    Family("idiom", "language", "fact", _idiom),
    Family("riddle", "riddles", "fact", _riddle),
    Family("translate_words", "translation", "fact", _lexeme, pools=TONGUES),
    Family("one_word", "translation", "fact", _guess, pools=TONGUES),
)
