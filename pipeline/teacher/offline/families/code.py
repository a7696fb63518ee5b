"""Small pieces of code: Python functions, traces of loops, SQL, patterns, shell commands."""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import pool, table

NUMBERS = {  # which numbers of a list: Python condition
    "even numbers": "n % 2 == 0",
    "odd numbers": "n % 2 == 1",
    "positive numbers": "n > 0",
    "negative numbers": "n < 0",
    "numbers with two digits": "10 <= abs(n) <= 99",
    "multiples of three": "n % 3 == 0",
    "multiples of seven": "n % 7 == 0",
    "numbers that end in five": "abs(n) % 10 == 5",
    "square numbers": "n >= 0 and round(n**0.5) ** 2 == n",
}
ACTIONS = {  # what to return: Python expression over `chosen`, type
    "the sum of": ("sum(chosen)", "int"),
    "how many there are of": ("len(chosen)", "int"),
    "a sorted list of": ("sorted(chosen)", "list[int]"),
    "the largest of": ("max(chosen, default=None)", "int | None"),
    "the smallest of": ("min(chosen, default=None)", "int | None"),
    "the squares of": ("[n * n for n in chosen]", "list[int]"),
}
TEXTS = {  # what to do with a text: Python expression
    "counts the vowels": ("int", "sum(letter in 'aeiou' for letter in text.lower())"),
    "counts the words": ("int", "len(text.split())"),
    "reverses the order of the words": ("str", "' '.join(reversed(text.split()))"),
    "returns the longest word": ("str", "max(text.split(), key=len, default='')"),
    "checks for a palindrome, ignoring case and spaces": (
        "bool",
        "(s := text.lower().replace(' ', '')) == s[::-1]",
    ),
    "removes all digits": ("str", "''.join(c for c in text if not c.isdigit())"),
    "returns the initials in upper case": ("str", "''.join(w[0].upper() for w in text.split())"),
    "removes repeated words and keeps the order": (
        "str",
        "' '.join(dict.fromkeys(text.split()))",
    ),
    "counts the capital letters": ("int", "sum(c.isupper() for c in text)"),
    "replaces every space by a hyphen": ("str", "text.replace(' ', '-')"),
}


def _numbers(slots: Slots, _: Random) -> tuple[str, str]:
    body, kind = ACTIONS[slots["action"]]
    return "", (
        f"def pick(numbers: list[int]) -> {kind}:\n"
        f"    chosen = [n for n in numbers if {NUMBERS[slots['which']]}]\n"
        f"    return {body}"
    )


def _text(slots: Slots, _: Random) -> tuple[str, str]:
    kind, body = TEXTS[slots["task"]]
    return "", f"def handle(text: str) -> {kind}:\n    return {body}"


def _loop(_: Slots, rng: Random) -> tuple[str, str]:
    start, stop, step = rng.randint(0, 9), rng.randint(15, 40), rng.randint(2, 6)
    total = rng.randint(0, 20)
    code = (
        f"total = {total}\nfor n in range({start}, {stop}, {step}):\n    total += n\nprint(total)"
    )
    return code, str(total + sum(range(start, stop, step)))


def _slice(_: Slots, rng: Random) -> tuple[str, str]:
    word = rng.choice(pool("noun"))
    low, high = rng.randint(0, 2), rng.randint(3, 5)
    return f"word = '{word}'\nprint(word[{low}:{high}].upper())", word[low:high].upper()


BUGS = (
    ("def first(items):\n    return items[1]", "Lists start at 0, so it must be `items[0]`."),
    (
        "def mean(values):\n    return sum(values) // len(values)",
        "`//` cuts the fraction off; use `/`.",
    ),
    (
        "def is_adult(age):\n    if age = 18:\n        return True",
        "`=` assigns; compare with `age >= 18`.",
    ),
    (
        "def add(item, to=[]):\n    to.append(item)\n    return to",
        "The default list is shared by all calls; use `to=None` and make a new list inside.",
    ),
    (
        "def last(items):\n    return items[len(items)]",
        "The last index is `len(items) - 1`; `items[-1]` is shortest.",
    ),
    (
        "n = 5\nwhile n > 0:\n    print(n)",
        "`n` never changes, so the loop does not end; add `n -= 1`.",
    ),
    (
        "def area(r):\n    3.14159 * r ** 2",
        "The result is not returned; write `return 3.14159 * r ** 2`.",
    ),
    (
        "age = input('Age? ')\nprint(age + 1)",
        "`input` gives a string; convert it with `int(age) + 1`.",
    ),
)


def _bug(_: Slots, rng: Random) -> tuple[str, str]:
    return rng.choice(BUGS)


def _select(slots: Slots, _: Random) -> tuple[str, str]:
    return "", (
        f"SELECT name, price\nFROM products\nWHERE price > {slots['n']} "
        f"AND city = '{slots['city']}'\nORDER BY price DESC\nLIMIT {slots['k']};"
    )


def _group(slots: Slots, _: Random) -> tuple[str, str]:
    function = {"average": "AVG", "total": "SUM", "highest": "MAX", "lowest": "MIN"}[slots["stat"]]
    return "", (
        f"SELECT city, {function}(price) AS {slots['stat']}_price\nFROM products\n"
        f"GROUP BY city\nHAVING COUNT(*) >= {slots['n']};"
    )


def _regex(slots: Slots, _: Random) -> tuple[str, str]:
    row = table("regex")[slots["regex"]]
    return "", (
        f"`{row['pattern']}`\nIt matches `{row['yes']}`, for example, but not `{row['no']}`."
    )


def _shell(slots: Slots, _: Random) -> tuple[str, str]:
    return "", f"`{table('shell')[slots['shell']]['command']}`"


FAMILIES = (
    Family("python_numbers", "Python", "code", _numbers,
           pools={"which": tuple(NUMBERS), "action": tuple(ACTIONS)}),
    Family("python_text", "Python", "code", _text, pools={"task": tuple(TEXTS)}),
    Family("python_loop", "Python", "code", _loop, "Code"),
    Family("python_slice", "Python", "code", _slice, "Code"),
    Family("python_bug", "debugging", "code", _bug, "Code"),
    Family("sql_select", "databases", "code", _select),
    Family("sql_group", "databases", "code", _group,
           pools={"stat": ("average", "total", "highest", "lowest")}),
    Family("regex", "text patterns", "code", _regex),
    Family("shell", "command line", "code", _shell),
)  # fmt: skip
