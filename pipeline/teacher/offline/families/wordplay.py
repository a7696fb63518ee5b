"""Letters, words, codes, calendars and clocks: puzzles with exact answers."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from pipeline.teacher.offline.family import Family, number, worked
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import listed, pool, sentence

ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
         (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))  # fmt: skip
DAYS = pool("weekday")
MONTHS = pool("month")


def roman(value: int) -> str:
    """A whole number from 1 to 3999 in Roman numerals."""
    text = ""
    for step, sign in ROMAN:
        text += sign * (value // step)
        value %= step
    return text


def _roman(slots: Slots, _: Random) -> tuple[str, str]:
    return "", f"{slots['n']} is {roman(int(slots['n']))} in Roman numerals."


def _from_roman(_: Slots, rng: Random) -> tuple[str, str]:
    value = rng.randint(11, 2500)
    return roman(value), str(value)


def _binary(slots: Slots, _: Random) -> tuple[str, str]:
    value = int(slots["n"])
    digits = {"binary": "b", "octal": "o", "hexadecimal": "X"}[slots["base"]]
    return "", f"{value} is {value:{digits}} in {slots['base']}."


def _alphabetical(slots: Slots, _: Random) -> tuple[str, str]:
    names = ("noun", "noun2", "noun3", "noun4", "noun5")
    return "", ", ".join(sorted(slots[name] for name in names if name in slots))


def _reverse(slots: Slots, _: Random) -> tuple[str, str]:
    return "", f"{slots['noun']} reversed is {slots['noun'][::-1]}."


def _vowels(slots: Slots, _: Random) -> tuple[str, str]:
    word = slots["noun"] + slots["noun2"]
    count = sum(letter in "aeiou" for letter in word)
    return "", f"{count} vowels and {len(word) - count} other letters."


def _anagram(_: Slots, rng: Random) -> tuple[str, str]:
    word = rng.choice([noun for noun in pool("noun") if 5 <= len(noun) <= 7])
    letters = sorted(word)
    rng.shuffle(letters)
    return " ".join(letters), word


def _caesar(slots: Slots, _: Random) -> tuple[str, str]:
    shift = int(slots["n"])
    turned = "".join(chr((ord(c) - 97 + shift) % 26 + 97) for c in slots["noun"])
    return "", f"{slots['noun']} becomes {turned}."


def _acrostic(slots: Slots, rng: Random) -> tuple[str, str]:
    lines = []
    for letter in slots["noun"]:
        nouns = [noun for noun in pool("noun") if noun[0] == letter]
        start = sentence(rng.choice(nouns)) if nouns else RARE_STARTS[letter]
        lines.append(f"{start} {rng.choice(ACROSTIC_ENDS)}")
    return "", "\n".join(lines)


RARE_STARTS = {
    "q": "Quiet", "u": "Unseen", "x": "Xylophones", "y": "Yesterday", "z": "Zigzags",
    "n": "Night", "e": "Evening", "r": "Rain", "k": "Kites", "i": "Ivy",
}  # fmt: skip
ACROSTIC_ENDS = (
    "in the morning light", "waits without a sound", "far from home", "after the long rain",
    "and nobody in sight", "under a silver moon", "for those who listen", "beside the open door",
)  # fmt: skip


def _longest(slots: Slots, _: Random) -> tuple[str, str]:
    found = [slots[name] for name in ("noun", "noun2", "noun3", "noun4")]
    most = max(map(len, found))
    best = [noun for noun in found if len(noun) == most]
    verb = "has" if len(best) == 1 else "have"
    return "", f"{sentence(listed(best))} {verb} the most letters: {most}."


def _sequence(slots: Slots, _: Random) -> tuple[str, str]:
    start, step = int(slots["a"]), int(slots["d"])
    terms = [start + step * index for index in range(6)]
    line = ", ".join(map(str, terms))
    return worked(slots, f"The rule gives {line}.", str(terms[5]))


def _weekday(slots: Slots, _: Random) -> tuple[str, str]:
    days = int(slots["n"])
    then = DAYS[(DAYS.index(slots["weekday"]) + days) % 7]
    steps = f"{days} days are {days // 7} weeks and {days % 7} days."
    return worked(slots, steps, then)


def _later(slots: Slots, _: Random) -> tuple[str, str]:
    start = date(2026, MONTHS.index(slots["month"]) + 1, int(slots["d"]))
    end = start + timedelta(days=int(slots["n"]))
    steps = (
        f"Counting {slots['n']} days on from {slots['d']} {slots['month']} 2026, month by month."
    )
    return worked(slots, steps, f"{end.day} {MONTHS[end.month - 1]} {end.year}")


def _arrival(slots: Slots, _: Random) -> tuple[str, str]:
    start = int(slots["h"]) * 60 + int(slots["m"])
    end = start + int(slots["n"])
    steps = f"{slots['n']} minutes are {int(slots['n']) // 60} h {int(slots['n']) % 60} min."
    return worked(slots, steps, f"{end // 60 % 24}:{end % 60:02d}")


def _age(slots: Slots, _: Random) -> tuple[str, str]:
    now, gap, years = int(slots["n"]), int(slots["g"]), int(slots["y"])
    then = now + gap + years
    return worked(slots, f"{now} + {gap} = {now + gap}, and in {years} years {then}.", str(then))


def _deduce(slots: Slots, _: Random) -> tuple[str, str]:
    a, b, c = slots["name"], slots["name2"], slots["name3"]
    return "", f"{a}, then {b}, then {c}: the two statements leave no other order."


def _half(slots: Slots, _: Random) -> tuple[str, str]:
    guests, portion, people = int(slots["k"]), int(slots["g"]), int(slots["p"])
    need = number(portion * guests / people)
    steps = f"{portion} g / {people} x {guests} = {need} g."
    return worked(slots, steps, f"{need} grams")


FAMILIES = (
    Family("to_roman", "number systems", "fact", _roman),
    Family("from_roman", "number systems", "fact", _from_roman, "Numeral"),
    Family("base", "number systems", "fact", _binary,
           pools={"base": ("binary", "octal", "hexadecimal")}),
    Family("alphabetical", "ordering", "fact", _alphabetical),
    Family("reverse_word", "wordplay", "fact", _reverse),
    Family("vowels", "wordplay", "fact", _vowels),
    Family("anagram", "wordplay", "fact", _anagram, "Letters"),
    Family("caesar", "codes", "fact", _caesar),
    Family("acrostic", "poetry", "fact", _acrostic),
    Family("longest_word", "wordplay", "fact", _longest),
    Family("sequence", "sequences", "sum", _sequence),
    Family("weekday_after", "calendar", "sum", _weekday),
    Family("date_after", "calendar", "sum", _later),
    Family("arrival", "time", "sum", _arrival),
    Family("age", "logic", "sum", _age),
    Family("who_stands_where", "logic", "fact", _deduce),
    Family("scale_recipe", "cooking", "sum", _half),
)  # fmt: skip
