"""The text of a recipe while it is read: what is wrong is said with its line and its key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import Problems, RecipeError
from pipeline.stage import Settings

Place = tuple[str | int, ...]
"""Where something stands in the tree of the text: keys, and numbers in a list."""


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A text by its name, the lines of its parts, and what was found wrong so far."""

    where: str
    lines: Mapping[Place, int]
    problems: Problems

    def refuse(self, said: str, path: Place | None = None) -> None:
        """Note what is wrong, with the line of `path` if it has one."""
        line = "" if path is None else f"line {self.lines.get(path, 1)}: "
        self.problems.add(RecipeError(f"{self.where}: {line}{said}"))

    def validated(
        self, model: type[Settings], tree: dict[str, Any], path: Place, label: str = ""
    ) -> Settings | None:
        """The settings of a part; null where they are refused. `label` stands before its keys."""
        try:
            return model.model_validate(tree)
        except ValidationError as error:
            for found in error.errors(include_url=False):
                self._refuse_setting(model, found, path, label)
            return None

    def _refuse_setting(
        self, model: type[Settings], found: ErrorDetails, path: Place, label: str
    ) -> None:
        """Say what pydantic found, with the line of the nearest part that has one."""
        loc = found["loc"]
        text = " ".join(found["msg"].split())  # a file that is named may have its words in it
        at = (*path, *loc)
        place = next((at[:end] for end in range(len(at), -1, -1) if at[:end] in self.lines), ())
        key = ".".join(str(part) for part in ((label,) if label else ()) + loc)
        if found["type"] == "extra_forbidden":
            text = f"there is no such setting{hint(str(loc[-1]), _fields_at(model, loc[:-1]))}"
        elif loc[-1:] == ("key",):
            text += ": it names a variable, as env:NAME; the key itself stays out of a recipe."
        elif found["type"] != "missing":
            text += f" (it is {found['input']!r})."
        self.refuse(f"{key}: {text}", place)


def hint(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """How a message about an unknown name ends: with the one that was meant, or all there are."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}." if known else "."


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    for part in loc:
        info = model.model_fields.get(str(part))
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
