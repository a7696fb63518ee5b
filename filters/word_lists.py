"""Lists of words and phrases that are data: `filters/words/NAME.txt`, one pattern a line."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "words"


@lru_cache
def lines(name: str) -> tuple[str, ...]:
    """The patterns of a list, without its comments (`# ...`) and empty lines."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("# "))


@lru_cache
def one_of(name: str) -> re.Pattern[str]:
    """One pattern for any of a list, in a syntax that Rust's regular expressions share.

    Case does not count; a space stands for any whitespace, an apostrophe for the typographic one
    too, and a letter at the beginning begins a word.
    """
    return re.compile("|".join(map(_whole, lines(name))), re.IGNORECASE)


def _whole(line: str) -> str:
    pattern = line.replace("'", "['\u2019]")
    pattern = re.sub(r" (?=[?*+])", r"\\s", pattern)
    pattern = re.sub(r"(?<!\[)(?<![，,。！]) (?![^\[]*\])", r"\\s+", pattern)
    begins_a_word = re.match(r"(?:\(\?:)*[a-z]", line) is not None
    return rf"\b(?:{pattern})" if begins_a_word else f"(?:{pattern})"
