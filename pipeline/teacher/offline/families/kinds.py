"""Classification of things: numbers, animals, elements, countries, arguments, foods."""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import LABEL, Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import plural, pool, table, with_article


def _of(name: str, column: str, label: str, rng: Random) -> str:
    """An entry of a table whose cell is `label`."""
    return rng.choice([entry for entry, row in table(name).items() if row[column] == label])


def _animal(slots: Slots, rng: Random) -> tuple[str, str]:
    return _of("animal", "kind", slots[LABEL], rng), slots[LABEL]


def _element(slots: Slots, rng: Random) -> tuple[str, str]:
    return _of("element", "kind", slots[LABEL], rng), slots[LABEL]


def _continent(slots: Slots, rng: Random) -> tuple[str, str]:
    return _of("country", "continent", slots[LABEL], rng), slots[LABEL]


def _parity(slots: Slots, rng: Random) -> tuple[str, str]:
    a, b = rng.randrange(11, 999), rng.randrange(2, 99)
    b += (a + b) % 2 != (slots[LABEL] == "odd")
    return f"{a} + {b}", slots[LABEL]


PRIMES = [n for n in range(11, 400) if all(n % d for d in range(2, 20) if d < n)]
COMPOSITES = [n for n in range(21, 400, 2) if n not in PRIMES]


def _prime(slots: Slots, rng: Random) -> tuple[str, str]:
    return str(rng.choice(PRIMES if slots[LABEL] == "prime" else COMPOSITES)), slots[LABEL]


def _triangle(slots: Slots, rng: Random) -> tuple[str, str]:
    a = rng.randrange(5, 60)
    sides = {
        "equilateral": [a, a, a],
        "isosceles": [a, a, rng.choice([n for n in range(2, 2 * a) if n != a])],
        "scalene": [a, a + 1 + rng.randrange(1, 4), a + 1],
    }[slots[LABEL]]
    rng.shuffle(sides)
    return f"{sides[0]} cm, {sides[1]} cm, {sides[2]} cm", slots[LABEL]


def _leap(slots: Slots, rng: Random) -> tuple[str, str]:
    years = [
        year
        for year in range(1600, 2101)
        if (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)) == (slots[LABEL] == "leap year")
    ]
    return str(rng.choice(years)), slots[LABEL]


def _syllogism(slots: Slots, rng: Random) -> tuple[str, str]:
    job, place, name = (rng.choice(pool(key)) for key in ("job", "city", "name"))
    first = f"All {plural(job)} in the choir come from {place}."
    if slots[LABEL] == "valid":
        second = f"{name} is {with_article(job)} in the choir. So {name} comes from {place}."
    else:
        second = f"{name} comes from {place}. So {name} is {with_article(job)} in the choir."
    return f"{first} {second}", slots[LABEL]


FOODS = {
    "fruit": "apple apricot banana blackberry cherry fig grape kiwi lemon mango orange peach plum",
    "vegetable": "broccoli cabbage carrot cauliflower celery kale leek onion parsnip spinach",
    "grain": "barley buckwheat maize millet oats quinoa rice rye spelt wheat",
    "dairy": "butter buttermilk cream cheddar gouda kefir milk mozzarella ricotta yoghurt",
}
ENERGIES = {
    "renewable": ("wind", "sunlight", "tides", "hot springs", "rivers", "waves", "wood waste"),
    "non-renewable": ("hard coal", "natural gas", "crude oil", "uranium", "lignite", "oil shale"),
}
STATES = {
    "solid": ("iron", "granite", "oak wood", "ice", "table salt", "glass", "sugar", "wax"),
    "liquid": ("water", "olive oil", "mercury", "milk", "petrol", "vinegar", "ethanol"),
    "gas": ("oxygen", "helium", "carbon dioxide", "steam", "nitrogen", "methane", "neon"),
}
INSTRUMENTS = {
    "string": "violin viola cello harp guitar lute mandolin banjo zither",
    "wind": "flute oboe clarinet bassoon trumpet trombone tuba recorder saxophone",
    "percussion": "timpani xylophone triangle tambourine marimba cymbals castanets gong",
}


def _food(slots: Slots, rng: Random) -> tuple[str, str]:
    return rng.choice(FOODS[slots[LABEL]].split()), slots[LABEL]


def _energy(slots: Slots, rng: Random) -> tuple[str, str]:
    size = rng.randrange(5, 400)
    source = rng.choice(ENERGIES[slots[LABEL]])
    return f"Power station of {size} megawatts that runs on {source}", slots[LABEL]


def _state(slots: Slots, rng: Random) -> tuple[str, str]:
    return rng.choice(STATES[slots[LABEL]]), slots[LABEL]


def _instrument(slots: Slots, rng: Random) -> tuple[str, str]:
    return rng.choice(INSTRUMENTS[slots[LABEL]].split()), slots[LABEL]


ANIMAL_KINDS = ("mammal", "bird", "fish", "reptile", "amphibian", "insect")
CONTINENTS = ("Europe", "Asia", "Africa", "North America", "South America", "Oceania")

FAMILIES = (
    Family("animal_class", "biology", "fact", _animal, "Animal", ANIMAL_KINDS),
    Family(
        "element_kind",
        "chemistry",
        "fact",
        _element,
        "Element",
        ("metal", "non-metal", "noble gas"),
    ),
    Family("continent", "geography", "fact", _continent, "Country", CONTINENTS),
    Family("parity", "number theory", "fact", _parity, "Sum", ("odd", "even")),
    Family("prime", "number theory", "fact", _prime, "Number", ("prime", "composite")),
    Family(
        "triangle", "geometry", "fact", _triangle, "Sides", ("equilateral", "isosceles", "scalene")
    ),
    Family("leap_year", "calendar", "fact", _leap, "Year", ("leap year", "common year")),
    Family("syllogism", "logic", "fact", _syllogism, "Argument", ("valid", "invalid")),
    Family("food_group", "nutrition", "home", _food, "Food", tuple(FOODS)),
    Family("energy", "environment", "fact", _energy, "Plant", tuple(ENERGIES)),
    Family("matter", "physics", "fact", _state, "Substance", tuple(STATES)),
    Family("instrument", "music", "fact", _instrument, "Instrument", tuple(INSTRUMENTS)),
)
