"""Templates of instructions, used both ways: fill their slots, or find the slots in a text.

    In {city}, {name} sells {n:5-90} {item}[ every {weekday}]. How many are left?

`{city}` is an entry of the pool of that name, `{city2}` another one of the same pool, `{n:5-90/5}`
a whole number from 5 to 90 in steps of 5, and `[...]` a clause that may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from pipeline.teacher.offline import words

SLOT = re.compile(r"\{(\w+?)(?::(\d+)-(\d+)(?:/(\d+))?)?\}")
PART = re.compile(r"\[([^\]]*)\]")
WORD = re.compile(r"[a-z0-9]+")
CLAUSE_RATE = 0.5  # how often an optional clause is used

Slots = Mapping[str, str]
Pools = Mapping[str, tuple[str, ...]]
Piece = str | tuple[str, str, range | None]  # literal text, or (slot, pool, range of a number)


@dataclass(frozen=True, slots=True)
class Phrasing:
    """One template: its clauses (pieces, and whether they are optional) and where words come from.

    `anchor` is the longest literal text that every filling of it contains, lower-cased.
    """

    clauses: tuple[tuple[tuple[Piece, ...], bool], ...]
    pools: Pools | None
    anchor: str
    pattern: Callable[[], re.Pattern[str]]

    def fill(self, rng: Random) -> tuple[str, dict[str, str]]:
        """Draw slots, different ones from the same pool, and return the text and the slots."""
        slots: dict[str, str] = {}
        text = []
        for pieces, is_optional in self.clauses:
            if is_optional and rng.random() > CLAUSE_RATE:
                continue
            for piece in pieces:
                if isinstance(piece, str):
                    text.append(piece)
                    continue
                slot, name, numbers = piece
                if slot not in slots:
                    slots[slot] = self._draw(name, numbers, slots, rng)
                text.append(slots[slot])
        return words.sentence("".join(text)), slots

    def read(self, text: str) -> tuple[dict[str, str], str] | None:
        """Find the slots in lower-cased `text`; also what follows the template, or None."""
        found = self.pattern().match(text) if self.anchor in text else None
        if found is None:
            return None
        slots = {}
        for pieces, _ in self.clauses:
            for piece in pieces:
                if isinstance(piece, str) or found[piece[0]] is None:
                    continue
                slot, name, numbers = piece
                value = found[slot]
                if numbers is None:
                    value = spellings(self.entries(name)).get(value, "")
                elif int(value) not in numbers:
                    value = ""
                if not value:
                    return None
                slots[slot] = value
        return slots, text[found.end() :].lstrip()

    def heads(self) -> list[str]:
        """The first words that a text of this template can have, lower-cased."""
        first = self.clauses[0][0][0]
        if isinstance(first, str):
            return [WORD.findall(first.lower())[0]]
        if first[2] is not None:
            return [str(number) for number in first[2]]
        return sorted({WORD.findall(entry.lower())[0] for entry in self.entries(first[1])})

    def entries(self, name: str) -> tuple[str, ...]:
        """The entries of a pool of this template, or of the shared one of that name."""
        return (self.pools or {}).get(name) or words.pool(name)

    def _draw(self, name: str, numbers: range | None, slots: Slots, rng: Random) -> str:
        if numbers is not None:
            return str(numbers[int(rng.random() * len(numbers))])
        entries = self.entries(name)
        taken = slots.values()
        value = entries[int(rng.random() * len(entries))]
        while value in taken and len(entries) > len(slots):
            value = entries[int(rng.random() * len(entries))]
        return value


@cache
def spellings(entries: tuple[str, ...]) -> dict[str, str]:
    """Lower-cased entry to entry."""
    return {entry.lower(): entry for entry in entries}


def parse(template: str, pools: Pools | None = None) -> Phrasing:
    """Take a template apart; its regular expression is compiled when it is first needed."""
    clauses = []
    for index, text in enumerate(PART.split(template)):
        if text:
            clauses.append((tuple(_pieces(text)), index % 2 == 1))
    fixed = [
        piece.lower()
        for pieces, is_optional in clauses
        for piece in pieces
        if isinstance(piece, str) and not is_optional
    ]

    @cache
    def pattern() -> re.Pattern[str]:
        seen: set[str] = set()
        source = "".join(_source(pieces, is_optional, seen) for pieces, is_optional in clauses)
        return re.compile(source + r"(?= |$)")

    return Phrasing(tuple(clauses), pools, max(fixed, key=len).strip(), pattern)


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    end = 0
    for found in SLOT.finditer(text):
        if found.start() > end:
            pieces.append(text[end : found.start()])
        slot, low, high, step = found.groups()
        numbers = range(int(low), int(high) + 1, int(step or 1)) if low else None
        pieces.append((slot, slot.rstrip("0123456789"), numbers))
        end = found.end()
    return [*pieces, text[end:]] if end < len(text) else pieces


def _source(pieces: tuple[Piece, ...], is_optional: bool, seen: set[str]) -> str:
    source = ""
    for piece in pieces:
        if isinstance(piece, str):
            source += re.escape(piece.lower())
        elif piece[0] in seen:
            source += f"(?P={piece[0]})"
        else:
            seen.add(piece[0])
            source += f"(?P<{piece[0]}>" + (r"\d+)" if piece[2] is not None else ".+?)")
    return f"(?:{source})?" if is_optional else source
