"""The text of a recipe while it is read: what is wrong is said with its line and its key."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import Problems, RecipeError
from pipeline.stage import Settings, TogetherError

Place = tuple[str | int, ...]
"""Where something stands in the tree of the text: keys, and numbers in a list."""


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A text by its name, the lines of its parts, and what was found wrong so far.

    `lost` are the settings, by their dotted paths, that cannot be read, and "stages" where one of
    those cannot.
    """

    where: str
    lines: Mapping[Place, int]
    problems: Problems
    lost: set[str] = field(default_factory=set)

    def refuse(self, said: str, path: Place | None = None) -> None:
        """Note what is wrong, with the line of `path` if it has one."""
        line = "" if path is None else f"line {self.lines.get(path, 1)}: "
        self.problems.add(RecipeError(f"{self.where}: {line}{said}"))

    def validated(
        self, model: type[Settings], tree: dict[str, Any], path: Place, label: str = ""
    ) -> Settings | None:
        """The settings of a part, without those that are refused; null where nothing is left.

        `label` stands before its keys.
        """
        try:
            return model.model_validate(tree)
        except ValidationError as error:
            wrong = list(_apart(error))
            for found in wrong:
                self._refuse_setting(model, found, path, label)
        places = [found["loc"] for found in wrong]
        more: list[ErrorDetails] = []
        for left_out in (places, [place[:1] for place in places]):
            rest = _without(tree, left_out)
            if "name" in model.model_fields:
                rest.setdefault("name", "unnamed")
            try:
                return model.model_validate(rest)
            except ValidationError as error:
                more = more or list(_apart(error))
        for found in more:  # what does not go together is looked at where each is well alone
            if all(places) and not _is_of(found, places):
                self._refuse_setting(model, found, path, label)
        self.lost.add("stages")
        return None

    def _refuse_setting(
        self, model: type[Settings], found: ErrorDetails, path: Place, label: str
    ) -> None:
        """Say what pydantic found, with the line of the nearest part that has one."""
        loc = found["loc"]
        text = " ".join(found["msg"].split())  # a file that is named may have its words in it
        text = text.removeprefix("Value error, ")  # before what a check of ours says
        at = (*path, *loc)
        place = next((at[:end] for end in range(len(at), -1, -1) if at[:end] in self.lines), ())
        key = ".".join(str(part) for part in ((label,) if label else ()) + loc)
        if found["type"] == "extra_forbidden":
            text = f"there is no such setting{hint(str(loc[-1]), _fields_at(model, loc[:-1]))}"
        elif loc[-1:] == ("key",):
            text += ": it names a variable, as env:NAME; the key itself stays out of a recipe."
        elif found["type"] != "missing":
            text += "." if _is_said(text, found) else f" (it is {found['input']!r})."
        self.refuse(f"{key}: {text}", place)
        self.lost.add(key)


def _is_said(text: str, found: ErrorDetails) -> bool:
    """Whether a message names what was given, or is of several settings and names its own."""
    if found["type"] == "value_error" and isinstance(found["input"], dict):
        return True
    return _says(text, found["input"])


def _apart(error: ValidationError) -> Iterator[ErrorDetails]:
    """All that pydantic found; what a check of ours says of several things is one each."""
    for found in error.errors(include_url=False):
        raised = found.get("ctx", {}).get("error")
        if isinstance(raised, TogetherError):
            for part in raised.parts:
                found["msg"] = part
                yield found.copy()
        else:
            yield found


def _is_of(found: ErrorDetails, places: Sequence[Place]) -> bool:
    """Whether a message names one of some settings: without it nobody knows if it still holds."""
    words = set(re.findall(r"\w+", found["msg"]))
    return any(str(part) in words for place in places for part in place)


def _says(text: str, given: object) -> bool:
    """Whether a message names what was given."""
    whole = r"(?<![\w.]){}(?!\w)"
    return isinstance(given, str) and bool(re.search(whole.format(re.escape(given)), text))


def hint(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """How a message about an unknown name ends: with the one that was meant, or all there are."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}." if known else "."


def _without(tree: dict[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """Settings without what stands at some places, or holds them where nothing stands there."""
    tree = copy.deepcopy(tree)
    for place in places:
        holder: dict[Any, Any] = {}
        at: Any = tree
        for part in place:
            if not isinstance(at, dict) or part not in at:
                break
            holder, last, at = at, part, at[part]
        if holder:
            del holder[last]
    return tree


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    for part in loc:
        info = model.model_fields.get(str(part))
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
