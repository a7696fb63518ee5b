"""What the templates of `format` are given of a row: its fields, its texts, and what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from filters.script import is_han_kana_hangul
from pipeline.stage import Row
from pipeline.stages.heuristic_values import HEURISTICS, Values, is_prose, tagged

Language = Literal["en", "zh"]
Named = str | dict[Language, str]
"""A name, or one for each language."""

COLUMNS = ("instruction", "input", "output", "reasoning", "reference")
"""The row's own columns that a template may be given."""
TAGGED = ("tagged_text", "entities")
DERIVED = ("choices", *TAGGED, *HEURISTICS)
"""What is worked out of a row, if it has no field of that name."""
MOST_CHOICES = 50
"""More labels than this are no choice that a question could list."""
LONGEST_HEURISTIC = 20_000
"""Characters of a text that tasks about itself are made of."""


@dataclass(frozen=True)
class Given:
    """What the settings say of all rows.

    `fields` names a variable's field, or column, where it is called otherwise; `values` are what
    all rows have; `labels` are the names of labels as templates say them, and `seen` those of the
    data, in order, where none are named.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Named] = field(default_factory=dict)
    labels: Mapping[str, Named] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    seed: int = 0

    def label(self, found: str, language: Language) -> str | None:
        """A label as templates say it; null where labels are named and this one is not."""
        if not self.labels:
            return found
        named = self.labels.get(found)
        return None if named is None else _in(named, language)

    def choices(self, language: Language) -> str:
        """All labels as one text; empty where they are too many to be listed."""
        names = [_in(one, language) for one in self.labels.values()] or list(self.seen)
        if len(names) > MOST_CHOICES:
            return ""
        return ("、" if language == "zh" else ", ").join(dict.fromkeys(names))


def _in(named: Named, language: Language) -> str:
    """The name in a language, or in whichever there is."""
    if isinstance(named, str):
        return named
    return named.get(language) or next(iter(named.values()))


def random_of(seed: int, purpose: str, row_id: str) -> Random:
    """A random stream of a row's own."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{row_id}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest))


def stored(row: Row) -> dict[str, str]:
    """A row's fields by name, those that hold something."""
    return {one["name"]: one["text"] for one in row.get("fields") or () if one["text"]}


def language_of(row: Row) -> Language:
    """The language that a row is written in, as far as templates are concerned."""
    texts = [*stored(row).values(), *(row.get(name) or "" for name in ("instruction", "output"))]
    return "zh" if is_han_kana_hangul(" ".join(texts)[:2000]) else "en"


class RowValues:
    """The values of one row, worked out as they are asked for."""

    def __init__(self, row: Row, given: Given, language: Language) -> None:
        """Nothing is worked out before it is asked for."""
        self._row, self._given, self._language = row, given, language
        self._fields = stored(row)
        self._known: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """A value; null where the row has none, and `missing` says why."""
        if name not in self._known and name not in self.missing:
            value, why = self._find(name)
            if value.strip():
                self._known[name] = value
            else:
                self.missing[name] = why
        return self._known.get(name)

    def all_of(self, names: Sequence[str] | frozenset[str]) -> dict[str, str] | None:
        """These values; null where one is missing. An input may be empty."""
        found = {name: self.get(name) for name in sorted(names)}
        if "input" in found:
            found["input"] = found["input"] or ""
            self.missing.pop("input", None)
        known = {name: value for name, value in found.items() if value is not None}
        return known if len(known) == len(names) else None

    def _find(self, name: str) -> tuple[str, str]:
        """The value and, where it is empty, why."""
        given = self._given
        if name in given.values:
            return _in(given.values[name], self._language), "empty_text"
        stored_as = given.fields.get(name, name)
        if name == "label" or (name == "answer" and given.labels):
            return self._label(stored_as)
        if stored_as in self._fields:
            return self._fields[stored_as], "empty_text"
        if stored_as in COLUMNS:
            return str(self._row.get(stored_as) or ""), "empty_text"
        if name == "choices":
            return given.choices(self._language), "too_many_labels"
        if name in TAGGED:
            return self._derive(name, self._tagged, "not_tagged")
        if name in HEURISTICS:
            return self._derive(name, lambda: self._of_text(name), "text_does_not_suit")
        if name == "text":  # what `import.shape=text` took in
            return str(self._row.get("output") or ""), "missing_field"
        return "", "missing_field"

    def _label(self, stored_as: str) -> tuple[str, str]:
        found = self._fields.get(stored_as) or self._row.get(stored_as)
        if not found:
            return "", "missing_field"
        return self._given.label(str(found), self._language) or "", "unknown_label"

    def _derive(self, name: str, act: Callable[[], Values], why: str) -> tuple[str, str]:
        self._known |= {key: value for key, value in act().items() if value.strip()}
        return self._known.get(name, ""), why

    def _of_text(self, name: str) -> Values:
        text = self.get("text")
        if text is None or len(text) > LONGEST_HEURISTIC or not is_prose(text):
            return {}
        function = HEURISTICS[name]
        own = random_of(self._given.seed, function.__name__, self._row["row_id"])
        return function(text.strip(), own)

    def _tagged(self) -> Values:
        tokens, tags = self.get("tokens"), self.get("tags")
        if tokens is None or tags is None:
            return {}
        given, language = self._given, self._language
        return tagged(tokens, tags, lambda label: given.label(label, language) or label)
