"""The right answer to a task of the grammar for an input that stands in a row already.

Families make their inputs together with the outputs. Here the way is back: from the text of an
input to its output, or None where the text is none of the family's.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from random import Random

from pipeline.teacher.offline.families.code import BUGS
from pipeline.teacher.offline.families.kinds import PRIMES
from pipeline.teacher.offline.families.rewriting import CASUAL, DEEDS, PADDED
from pipeline.teacher.offline.families.wordplay import roman
from pipeline.teacher.offline.family import LABEL, Family
from pipeline.teacher.offline.grammar import Task
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import pool, sentence, table

Solve = Callable[[Slots, str], str | None]

SAMPLES = 200  # inputs of each label that an input is compared with
COMMON = 0.03  # the share of a family's inputs that a word must stand in to count
DEED = re.compile(rf"[Tt]he (.+?) ({'|'.join(past for past, _ in DEEDS.values())}) the (.+)\.")
VERBS = {past: verb for verb, (past, _) in DEEDS.items()}


def solve(task: Task, source: str, rng: Random) -> str | None:
    """The output of a task for `source`, its field's name before it or not; None if unsolved."""
    family = task.family
    if not family.field:
        return family.instance(task.slots, rng)[1]
    source = source.strip()
    head, colon, rest = source.partition(":")
    if colon and head.lower() == family.field.lower():
        source = rest.strip()
    if not source:
        return None
    known = SOLVERS.get(family.name)
    if known is not None:
        return known(task.slots, source)
    return _nearest_label(family, source) if family.labels else None


def _nearest_label(family: Family, source: str) -> str:
    """The label of the most similar input that the family makes."""
    made, common = _made(family)
    for text, _, label in made:
        if text == source:
            return label
    words = _pairs(source) & common
    scored = ((len(words & other) / len(words | other or {""}), label) for _, other, label in made)
    return max(scored, key=lambda one: one[0])[1]


@cache
def _made(family: Family) -> tuple[list[tuple[str, frozenset[str], str]], frozenset[str]]:
    """Inputs with their common words and labels; the words that are not of a few inputs only."""
    rng = Random(family.name)
    texts = [
        (family.make({LABEL: label}, rng)[0], label)
        for label in family.labels
        for _ in range(SAMPLES)
    ]
    counts = Counter(word for text, _ in texts for word in _pairs(text))
    common = frozenset(word for word, n in counts.items() if n >= COMMON * len(texts))
    return [(text, _pairs(text) & common, label) for text, label in texts], common


def _pairs(text: str) -> frozenset[str]:
    """The words of a text and its pairs of neighbours."""
    words = re.findall(r"\w+|[?!]", text.lower())
    return frozenset([*words, *map(" ".join, itertools.pairwise(words))])


def _deed(write: Callable[[str, str, str], str]) -> Solve:
    def solved(_: Slots, source: str) -> str | None:
        found = DEED.fullmatch(source)
        if found is None:
            return None
        return sentence(write(f"the {found[1]}", VERBS[found[2]], f"the {found[3]}"))

    return solved


def _lines(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str | None]:
    """From a line with slots filled in to its partner with the same fillings."""
    patterns = [
        (re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>.+?)", re.escape(one))), other)
        for one, other in pairs
    ]

    def solved(source: str) -> str | None:
        for pattern, other in patterns:
            if found := pattern.fullmatch(source):
                return other.format(**found.groupdict())
        return None

    return solved


FORMAL, INFORMAL = _lines(CASUAL), _lines((formal, casual) for casual, formal in CASUAL)
SHORT = _lines(PADDED)


def _polite(_: Slots, source: str) -> str | None:
    found = re.fullmatch(r"(\w+) the (.+) by (\w+)!", source)
    if found is None:
        return None
    order = f"{found[1].lower()} the {found[2]} by {found[3]}"
    return f"Could you please {order}? Thank you very much."


def _opposites(_: Slots, source: str) -> str | None:
    known = table("opposite")
    asked = source.split(", ")
    return ", ".join(known[word]["other"] for word in asked) if set(asked) <= set(known) else None


def _found(pattern: str, joined: str) -> Solve:
    """All that a pattern finds, or the groups of its one match."""

    def solved(_: Slots, source: str) -> str | None:
        found = re.findall(pattern, source)
        parts = list(found[0]) if found and isinstance(found[0], tuple) else found
        return joined.join(parts) or None

    return solved


def _prices(_: Slots, source: str) -> str | None:
    costs = re.findall(r"(\d+) euros", source)
    return f"{' + '.join(costs)} = {sum(map(int, costs))} euros" if costs else None


def _who(_: Slots, source: str) -> str | None:
    found = re.search(r"(\w+) prefers (.+?)\.", source)
    return f"{found[1]}, as the text says." if found else None


Goods = list[tuple[str, int, int]]


def _table(write: Callable[[Slots, Goods], str]) -> Solve:
    def solved(slots: Slots, source: str) -> str | None:
        found = re.findall(r"^(.+),(\d+),(\d+)$", source, re.MULTILINE)
        rows = [(name, int(n), int(price)) for name, n, price in found]
        return write(slots, rows) if rows else None

    return solved


def _markdown(_: Slots, rows: Goods) -> str:
    head = ["| item | count | price |", "| --- | --- | --- |"]
    return "\n".join([*head, *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def _sorted(slots: Slots, rows: Goods) -> str:
    by = 2 if slots["column"] == "price" else 0
    rows = sorted(rows, key=lambda row: row[by])
    return "\n".join(["item,count,price", *(f"{a},{b},{c}" for a, b, c in rows)])


def _total(_: Slots, rows: Goods) -> str:
    return " + ".join(f"{b} x {c}" for _, b, c in rows) + f" = {sum(b * c for _, b, c in rows)}"


def _filter(slots: Slots, rows: Goods) -> str:
    return ", ".join(name for name, _, c in rows if c > int(slots["n"])) or "None of them."


def _dearest(_: Slots, rows: Goods) -> str:
    dearest = max(rows, key=lambda row: row[2])
    return f"{sentence(dearest[0])}, at {dearest[2]}."


def _to_json(_: Slots, rows: Goods) -> str:
    return json.dumps([{"item": a, "count": b, "price": c} for a, b, c in rows], indent=1)


def _loop(_: Slots, source: str) -> str | None:
    found = re.match(r"total = (\d+)\nfor n in range\((\d+), (\d+), (\d+)\):", source)
    if found is None:
        return None
    total, start, stop, step = map(int, found.groups())
    return str(total + sum(range(start, stop, step)))


def _slice(_: Slots, source: str) -> str | None:
    found = re.match(r"word = '(\w+)'\nprint\(word\[(\d+):(\d+)\]", source)
    return found[1][int(found[2]) : int(found[3])].upper() if found else None


def _from_roman(_: Slots, source: str) -> str | None:
    return next((str(value) for value in range(1, 4000) if roman(value) == source), None)


def _anagram(_: Slots, source: str) -> str | None:
    letters = sorted(source.replace(" ", ""))
    return next((noun for noun in pool("noun") if sorted(noun) == letters), None)


def _parity(_: Slots, source: str) -> str | None:
    return "odd" if sum(map(int, re.findall(r"\d+", source))) % 2 else "even"


def _prime(_: Slots, source: str) -> str | None:
    return ("prime" if int(source) in PRIMES else "composite") if source.isdigit() else None


def _triangle(_: Slots, source: str) -> str | None:
    kinds = {1: "equilateral", 2: "isosceles", 3: "scalene"}
    return kinds.get(len(set(re.findall(r"\d+", source))))


def _leap(_: Slots, source: str) -> str | None:
    if not source.isdigit():
        return None
    year = int(source)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return "leap year" if is_leap else "common year"


def _syllogism(_: Slots, source: str) -> str | None:
    steps = source.split(" So ")
    return ("valid" if "comes from" in steps[-1] else "invalid") if len(steps) > 1 else None


SOLVERS: dict[str, Solve] = {
    "passive_voice": _deed(lambda who, verb, what: f"{what} was {DEEDS[verb][1]} by {who}."),
    "negation": _deed(lambda who, verb, what: f"{who} did not {verb} {what}."),
    "into_question": _deed(lambda who, verb, what: f"did {who} {verb} {what}?"),
    "into_future": _deed(lambda who, verb, what: f"{who} will {verb} {what}."),
    "politeness": _polite,
    "register": lambda slots, text: (FORMAL if slots["tone"] == "formal" else INFORMAL)(text),
    "shorten": lambda _, text: SHORT(text),
    "opposites": _opposites,
    "swap_names": lambda slots, text: text.replace(slots["name"], slots["name2"]),
    "find_dates": _found(r"\d{1,2} [A-Z]\w+ \d{4}", "\n"),
    "find_names": _found(r"On \w+ (\w+) met (\w+) at .* whose name is (\w+),", ", "),
    "add_prices": _prices,
    "find_emails": _found(r"[\w.]+@[\w.]+\w", "\n"),
    "find_cities": _found(
        r"leaves (.+?) at nine, stops in (.+?) for lunch and reaches (.+?) in the", ", "
    ),
    "read_and_answer": _who,
    "csv_to_markdown": _table(_markdown),
    "sort_rows": _table(_sorted),
    "table_total": _table(_total),
    "filter_rows": _table(_filter),
    "dearest": _table(_dearest),
    "csv_to_json": _table(_to_json),
    "python_loop": _loop,
    "python_slice": _slice,
    "python_bug": lambda _, text: dict(BUGS).get(text),
    "from_roman": _from_roman,
    "anagram": _anagram,
    "parity": _parity,
    "prime": _prime,
    "triangle": _triangle,
    "leap_year": _leap,
    "syllogism": _syllogism,
}
