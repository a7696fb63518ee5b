"""Answers to classification tasks: which label each gives, and how often that is right."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.evaluate.texts import normalised


@dataclass(frozen=True, slots=True)
class OfLabel:
    """How one label was told: precision, recall and their F1; 0 where nothing divides."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int
    """Rows whose reference it is."""


def label_of(answer: str, labels: Collection[str]) -> str | None:
    """The label that an answer gives, of `labels` (normalised), or null.

    It is the whole answer, but for case and punctuation, or else the only label that stands in it
    as whole words: an answer that names two says neither. Of two labels of which one holds the
    other ("not spam", "spam") the longer one is meant where it stands.

    >>> label_of("The answer is: Not spam!", {"spam", "not spam"})
    'not spam'
    >>> label_of("Yes or no?", {"yes", "no"}) is None
    True
    """
    said = normalised(answer)
    if said in labels:
        return said
    found = set()
    for label in sorted(labels, key=lambda one: (-len(one), one)):
        if not label:
            continue
        rest = re.sub(rf"(?<!\w){re.escape(label)}(?!\w)" if label.isascii() else re.escape(label),
                      "\x00", said)  # fmt: skip
        if rest != said:
            found.add(label)
            said = rest
    return found.pop() if len(found) == 1 else None


def accuracy(said: Sequence[str | None], wanted: Sequence[str]) -> float:
    """The share of rows with the right label; a row without one is wrong."""
    return sum(one == other for one, other in zip(said, wanted, strict=True)) / len(wanted)


def by_label(said: Sequence[str | None], wanted: Sequence[str]) -> list[OfLabel]:
    """Each label that a reference has, in order of the alphabet."""
    found = []
    for label in sorted(set(wanted)):
        right = sum(one == other == label for one, other in zip(said, wanted, strict=True))
        given, there = sum(one == label for one in said), sum(one == label for one in wanted)
        precision, recall = right / given if given else 0.0, right / there
        both = precision + recall
        f1 = 2 * precision * recall / both if both else 0.0
        found.append(OfLabel(label, precision, recall, f1, there))
    return found
