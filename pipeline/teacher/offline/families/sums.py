"""Sums about money, quantities, speed and chance, with results that are computed."""

from __future__ import annotations

from math import gcd
from random import Random

from pipeline.teacher.offline.family import Family, number, worked
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import sentence


def _discount(slots: Slots, _: Random) -> tuple[str, str]:
    price, percent = int(slots["p"]), int(slots["d"])
    cut = price * percent / 100
    steps = f"{percent} % of {price} is {number(cut)}, and {price} - {number(cut)} = "
    return worked(slots, f"{steps}{number(price - cut)}.", f"{number(price - cut)} euros")


def _average(slots: Slots, _: Random) -> tuple[str, str]:
    values = [int(slots[name]) for name in ("a", "b", "c", "d")]
    total = sum(values)
    steps = f"{' + '.join(map(str, values))} = {total}, and {total} / 4 = {number(total / 4)}."
    return worked(slots, steps, number(total / 4))


def _split(slots: Slots, _: Random) -> tuple[str, str]:
    people, bill, tip = int(slots["k"]), int(slots["p"]), int(slots["t"])
    total = bill + bill * tip / 100
    steps = f"With the tip the bill is {number(total)}. {number(total)} / {people} = "
    share = number(total / people)
    return worked(slots, f"{steps}{share}.", f"{share} euros each")


def _speed(slots: Slots, _: Random) -> tuple[str, str]:
    km, minutes = int(slots["km"]), int(slots["m"])
    speed = number(km * 60 / minutes)
    steps = (
        f"{minutes} minutes are {number(minutes / 60)} hours. {km} km x 60 / {minutes} = {speed}."
    )
    return worked(slots, steps, f"{speed} km/h")


def _shop(slots: Slots, _: Random) -> tuple[str, str]:
    a, b, pay = int(slots["a"]), int(slots["b"]), int(slots["pay"])
    n, m = int(slots["n"]), int(slots["m"])
    cost = n * a + m * b
    steps = f"{n} x {a} + {m} x {b} = {cost} cents. {pay} euros are {pay * 100} cents."
    left = pay * 100 - cost
    if left < 0:
        return worked(slots, steps, f"that {number(-left / 100)} euros are missing")
    return worked(slots, f"{steps} {pay * 100} - {cost} = {left}.", f"{number(left / 100)} euros")


def _share(slots: Slots, _: Random) -> tuple[str, str]:
    n, k = int(slots["n"]), int(slots["k"])
    steps = f"{k} x {n // k} = {n // k * k}, and {n} - {n // k * k} = {n % k}."
    return worked(slots, steps, f"{n // k} for each, with {n % k} left over")


def _stock(slots: Slots, _: Random) -> tuple[str, str]:
    n, sold, more = int(slots["n"]), int(slots["s"]), int(slots["m"])
    left = n - sold + more
    return worked(slots, f"{n} - {sold} = {n - sold}, and {n - sold} + {more} = {left}.", str(left))


def _interest(slots: Slots, _: Random) -> tuple[str, str]:
    sum_, rate, years = int(slots["p"]), int(slots["r"]), int(slots["y"])
    gain = number(sum_ * rate * years / 100)
    return worked(slots, f"{sum_} x {rate} / 100 x {years} = {gain}.", f"{gain} euros")


def _compound(slots: Slots, _: Random) -> tuple[str, str]:
    sum_, rate, years = int(slots["p"]), int(slots["r"]), int(slots["y"])
    end = number(sum_ * (1 + rate / 100) ** years)
    return worked(slots, f"{sum_} x {1 + rate / 100:.2f}^{years} = {end}.", f"{end} euros")


def _chance(ways: int, outcomes: int) -> str:
    common = gcd(ways, outcomes)
    share = f"{ways // common}/{outcomes // common}" if ways < outcomes else "1"
    return f"{share}, about {ways / outcomes * 100:.1f} %"


def _balls(slots: Slots, _: Random) -> tuple[str, str]:
    a, b, c = int(slots["a"]), int(slots["b"]), int(slots["c"])
    steps = f"There are {a} + {b} + {c} = {a + b + c} in all, and {a} of them count."
    return worked(slots, steps, _chance(a, a + b + c))


def _dice(slots: Slots, _: Random) -> tuple[str, str]:
    sides, goal = int(slots["s"]), int(slots["g"])
    ways = sum(1 <= goal - first <= sides for first in range(1, sides + 1))
    steps = f"Of {sides} x {sides} = {sides * sides} outcomes, {ways} give a total of {goal}."
    return worked(slots, steps, _chance(ways, sides * sides))


def _raise(slots: Slots, _: Random) -> tuple[str, str]:
    old, new = int(slots["a"]), int(slots["b"])
    change = number(abs(new - old) * 100 / old)
    kind = "an increase" if new >= old else "a decrease"
    steps = f"The difference is {abs(new - old)}, and {abs(new - old)} / {old} x 100 = {change}."
    return worked(slots, steps, f"{kind} of {change} %")


def _gcd(slots: Slots, _: Random) -> tuple[str, str]:
    a, b = int(slots["a"]), int(slots["b"])
    common = gcd(a, b)
    if slots["kind"] == "greatest common divisor":
        steps = f"{a} = {common} x {a // common} and {b} = {common} x {b // common}."
        return worked(slots, steps, str(common))
    steps = f"The greatest common divisor is {common}. {a} x {b} / {common} = {a * b // common}."
    return worked(slots, steps, str(a * b // common))


def _ratio(slots: Slots, _: Random) -> tuple[str, str]:
    n, a, b = int(slots["n"]), int(slots["a"]), int(slots["b"])
    first, second = number(n * a / (a + b)), number(n * b / (a + b))
    steps = f"{n} x {a} / {a + b} = {first}, and {n} x {b} / {a + b} = {second}."
    return worked(slots, steps, f"{first} and {second} euros")


def _tank(slots: Slots, _: Random) -> tuple[str, str]:
    a, b, c = int(slots["a"]), int(slots["b"]), int(slots["c"])
    litres = number(a * b * c / 1000)
    return worked(slots, f"{a} x {b} x {c} = {a * b * c} cubic centimetres.", f"{litres} litres")


def _floor(slots: Slots, _: Random) -> tuple[str, str]:
    a, b, price = int(slots["a"]), int(slots["b"]), int(slots["p"])
    steps = f"The area is {a} x {b} = {a * b} square metres. {a * b} x {price} = {a * b * price}."
    return worked(slots, steps, f"{a * b * price} euros")


def _fence(slots: Slots, _: Random) -> tuple[str, str]:
    a, b = int(slots["a"]), int(slots["b"])
    return worked(slots, f"2 x ({a} + {b}) = {2 * (a + b)}.", f"{2 * (a + b)} metres")


UNITS = {
    "kilometres to miles": ("kilometres", "miles", 0.621371, 0.0),
    "miles to kilometres": ("miles", "kilometres", 1.609344, 0.0),
    "kilograms to pounds": ("kilograms", "pounds", 2.204623, 0.0),
    "pounds to kilograms": ("pounds", "kilograms", 0.45359237, 0.0),
    "degrees Celsius to Fahrenheit": ("degrees Celsius", "degrees Fahrenheit", 1.8, 32.0),
    "inches to centimetres": ("inches", "centimetres", 2.54, 0.0),
    "feet to metres": ("feet", "metres", 0.3048, 0.0),
    "litres to US gallons": ("litres", "US gallons", 0.264172, 0.0),
    "hectares to acres": ("hectares", "acres", 2.471054, 0.0),
    "ounces to grams": ("ounces", "grams", 28.349523, 0.0),
    "nautical miles to kilometres": ("nautical miles", "kilometres", 1.852, 0.0),
}


def _units(slots: Slots, _: Random) -> tuple[str, str]:
    value = int(slots["n"])
    source, target, factor, offset = UNITS[slots["unit"]]
    end = number(value * factor + offset)
    plus = " + 32" if offset else ""
    steps = f"{sentence(source)} times {factor:g}{plus}: {value} x {factor:g}{plus} = {end}."
    return worked(slots, steps, f"{end} {target}")


FAMILIES = (
    Family("discount", "shopping", "sum", _discount),
    Family("average", "statistics", "sum", _average),
    Family("split_bill", "money", "sum", _split),
    Family("average_speed", "travel", "sum", _speed),
    Family("change", "shopping", "sum", _shop),
    Family("sharing", "arithmetic", "sum", _share),
    Family("stock", "arithmetic", "sum", _stock),
    Family("simple_interest", "finance", "sum", _interest),
    Family("compound_interest", "finance", "sum", _compound),
    Family("marble_chance", "probability", "sum", _balls),
    Family("dice", "probability", "sum", _dice),
    Family("percent_change", "statistics", "sum", _raise),
    Family(
        "divisors",
        "number theory",
        "sum",
        _gcd,
        pools={"kind": ("greatest common divisor", "least common multiple")},
    ),
    Family("ratio", "money", "sum", _ratio),
    Family("volume", "geometry", "sum", _tank),
    Family("flooring", "geometry", "sum", _floor),
    Family("fence", "geometry", "sum", _fence),
    Family("units", "measurement", "sum", _units, pools={"unit": tuple(UNITS)}),
)
