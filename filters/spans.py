"""Where in texts something stands that has a kind: an e-mail address, a key, a mask.

A finder is a pattern that Rust's regular expressions share, which says cheaply where nothing can
be, and an exact search for the texts that it leaves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from filters.verdict import verdict

WIDE = "[０-９]{2}"
"""Full-width digits, for what says cheaply where a number may be."""
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠]")
_NARROW = {
    code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()
} | {ord(wide): narrow for wide, narrow in zip("＠＋－．", "@+-.", strict=True)}


class Span(NamedTuple):
    """A piece of a text, `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True)
class Finder:
    """How pieces of one kind are found: `may` says which texts are searched, by `search`.

    Where it `folds`, what is searched has plain letters and digits for full-width ones.
    """

    may: str
    search: Callable[[str], Iterable[Span]]
    packages: tuple[str, ...] = ()
    folds: bool = False
    _may: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """The pattern for single texts."""
        object.__setattr__(self, "_may", re.compile(self.may))

    def find(self, text: str) -> list[Span]:
        """All pieces of this kind in one text, in order."""
        if not self._may.search(text):
            return []
        return list(self.search(folded(text) if self.folds else text))


def folded(text: str) -> str:
    """The text, as long as it was, with ASCII for full-width letters, digits and signs of numbers.

    >>> folded("电话１３９１２３４５６７８，ｋｉｍ＠post.de")
    '电话13912345678，kim@post.de'
    """
    return text.translate(_NARROW) if _WIDE.search(text) else text


def found_in(
    columns: Mapping[str, pl.Series], finders: Mapping[str, Finder]
) -> dict[int, list[tuple[str, str, int]]]:
    """By row, what was found in its texts: kind, column and how many, kinds in their order."""
    rows: dict[int, list[tuple[str, str, int]]] = {}
    for kind, finder in finders.items():
        for name, texts in columns.items():
            places = texts.cast(pl.String).str.contains(finder.may).arg_true()
            for at, text in zip(places, texts.gather(places), strict=True):
                if n := len(finder.find(text)):
                    rows.setdefault(int(at), []).append((kind, name, n))
    return rows


def verdict_of(
    columns: Mapping[str, pl.Series], finders: Mapping[str, Finder], names: Mapping[str, str]
) -> pl.DataFrame:
    """One verdict a row: the first kind that is in it, and what is where, never the text itself."""
    height = len(next(iter(columns.values())))
    reasons: list[str | None] = [None] * height
    details: list[str | None] = [None] * height
    for at, found in found_in(columns, finders).items():
        reasons[at] = found[0][0]
        details[at] = ", ".join(f"{names[kind]} in {where} ({n})" for kind, where, n in found)
    return verdict(reasons, details)


def kinds_in(columns: Mapping[str, pl.Series], finders: Mapping[str, Finder]) -> pl.Series:
    """A row's kinds as a list of String, in the order of the finders; none is an empty list."""
    height = len(next(iter(columns.values())))
    kinds: list[list[str]] = [[] for _ in range(height)]
    for at, found in found_in(columns, finders).items():
        kinds[at] = list(Counter(kind for kind, _, _ in found))
    return pl.Series(kinds, dtype=pl.List(pl.String))


def chosen(finders: Mapping[str, Finder], kinds: Sequence[str]) -> dict[str, Finder]:
    """The finders of these kinds, in their own order. Raises `ValueError` for a kind that is none.

    >>> chosen({}, ["e-mail"])
    Traceback (most recent call last):
    ValueError: there is no kind 'e-mail'; there is none
    """
    if unknown := [kind for kind in kinds if kind not in finders]:
        known = ", ".join(finders) or "none"
        verb = "are" if len(finders) > 1 else "is"
        raise ValueError(f"there is no kind {unknown[0]!r}; there {verb} {known}")
    return {kind: finder for kind, finder in finders.items() if kind in kinds}
