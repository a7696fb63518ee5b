"""The words of the grammar: lists and small tables of facts, read from `words/` when first used.

`NAME.txt` holds one entry a line. `NAME.tsv` is a table whose first column is the entry and whose
first line names the columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PHRASINGS = Path(__file__).parent / "phrasings"
FOLDER = Path(__file__).parent / "words"
SAID_WITH_YOU = re.compile(r"(?i)(uni[cvt]|use|euro|one\b|ukulele)")  # "a university"


@cache
def table(name: str) -> Mapping[str, Mapping[str, str]]:
    """One row an entry of `NAME.tsv`: column name to cell."""
    lines = (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    columns = lines[0].split("\t")
    rows = [line.split("\t") for line in lines[1:]]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


@cache
def pool(name: str) -> tuple[str, ...]:
    """The entries of a list or table; `a_NAME` gives those of NAME with their article."""
    if name.startswith("a_"):
        return tuple(with_article(entry) for entry in pool(name[2:]))
    path = FOLDER / f"{name}.txt"
    if path.exists():
        return tuple(path.read_text(encoding="utf-8").splitlines())
    return tuple(table(name))


@cache
def phrasings() -> Mapping[str, tuple[str, ...]]:
    """Family to templates: in `phrasings/`, a line `[family]`, then one a line, plainest first."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(PHRASINGS.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            name, *templates = block.strip().splitlines()
            found[name.strip("[]")] = tuple(templates)
    return found


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun, by its sound where the table of exceptions knows it."""
    is_vowel = noun[0].lower() in "aeiou" and not SAID_WITH_YOU.match(noun)
    return f"{'an' if is_vowel else 'a'} {noun}"


def listed(items: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Join items as in prose: `a, b and c`."""
    return f" {last} ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def plural(noun: str) -> str:
    """The regular plural of an English noun."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def sentence(text: str) -> str:
    """The same text with a capital first letter."""
    return text[:1].upper() + text[1:]
