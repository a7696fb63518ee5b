"""Draft an instruction from the families, and find family and slots of an instruction again.

An instruction is a filled template of a family, sometimes after an opening sentence and before a
closing one. Reading it back needs nothing but the text, in any case and spacing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.family import TAIL, Family
from pipeline.teacher.offline.frames import CLOSINGS, OPENINGS
from pipeline.teacher.offline.phrasing import WORD, Phrasing, parse

PLAIN_OPENING_RATE = 0.75  # how many of a family's first, plainest template begin with who asks
OPENING_RATE = 0.25  # how many of its others do, which mostly set a scene of their own
CLOSING_RATE = 0.35  # how many end with what for


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction with the family and the slots that it was written from."""

    instruction: str
    family: Family
    slots: dict[str, str]


def draft(rng: Random, families: tuple[Family, ...] = FAMILIES) -> Task:
    """Draw a family, a template and its slots."""
    family = families[int(rng.random() * len(families))]
    phrasings = _phrasings(family)
    index = int(rng.random() * len(phrasings))
    text, slots = phrasings[index].fill(rng)
    slots[TAIL] = ""
    if rng.random() < (OPENING_RATE if index else PLAIN_OPENING_RATE):
        text = f"{rng.choice(_frames(family.setting)[0])[1].fill(rng)[0]} {text}"
    if rng.random() < CLOSING_RATE:
        slots[TAIL], closing = rng.choice(_frames(family.setting)[1])
        text = f"{text} {closing.fill(rng)[0]}"
    return Task(text, family, slots)


def recognise(instruction: str) -> Task | None:
    """The task behind an instruction of this grammar, or None for any other text."""
    text = " ".join(instruction.lower().split())
    task = _core(text)
    if task:
        return task
    for setting in OPENINGS:
        for _, opening in _frames(setting)[0]:
            found = opening.read(text)
            task = _core(found[1], setting) if found else None
            if task:
                return task
    return None


def _core(text: str, setting: str = "") -> Task | None:
    first = WORD.search(text)
    for family, phrasing in _index().get(first[0], ()) if first else ():
        if setting and family.setting != setting:
            continue
        found = phrasing.read(text)
        if found is None:
            continue
        slots, rest = found
        tail = _tail(rest, family.setting)
        if tail is not None:
            return Task(text, family, {**slots, TAIL: tail})
    return None


def _tail(text: str, setting: str) -> str | None:
    """The template of a closing sentence: "" for no text, None for a text of others."""
    if not text:
        return ""
    for template, closing in _frames(setting)[1]:
        found = closing.read(text)
        if found and not found[1]:
            return template
    return None


@cache
def _phrasings(family_: Family) -> tuple[Phrasing, ...]:
    return tuple(parse(template, family_.pools) for template in family_.phrasings)


@cache
def _frames(setting: str) -> tuple[list[tuple[str, Phrasing]], list[tuple[str, Phrasing]]]:
    opening, closing = (
        [(template, parse(template)) for template in frames[setting]]
        for frames in (OPENINGS, CLOSINGS)
    )
    return opening, closing


@cache
def _index() -> dict[str, list[tuple[Family, Phrasing]]]:
    """Templates by the first word that their texts can have."""
    index: dict[str, list[tuple[Family, Phrasing]]] = {}
    for family in FAMILIES:
        for phrasing in _phrasings(family):
            for head in phrasing.heads():
                index.setdefault(head, []).append((family, phrasing))
    return index
