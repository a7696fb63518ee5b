"""Templates of the stage `format`: files of several templates, each of which renders whole rows.

After the header of any template file (`templates.py`) stand the templates, each under a line with
its name and its form, and what it says of a row's instruction, input and output:

    === ask: plain
    Is this review positive or negative?
    --- input
    {{ text }}
    --- output
    {{ label }}

The form is `plain` where none is named; an input may be missing. A file is called after its task
and its language (`sentiment.en`), or after its task alone where it is for texts in any language.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2.exceptions import SecurityError

from pipeline import templates
from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS
from pipeline.templates import FAILURES, Text

FOLDER = "formats"
"""Below the package's prompts, the folder that a recipe's `prompts` names, and a run's inputs."""
Form = Literal["plain", "prefix", "cloze", "reversed", "shared"]
"""How a template asks: a question with its text beside it; all in one text whose last line is to be
gone on with; a gap to be filled in; from the output to the input; `shared` is for demonstrations of
one and the same instruction."""
FORMS: tuple[Form, ...] = get_args(Form)
LANGUAGES = ("en", "zh")
HEADING = re.compile(r"^=== *(?P<name>[A-Za-z0-9_-]{1,60})(?: *: *(?P<form>\S+))? *$", re.MULTILINE)
PART = re.compile(r"^--- *(?P<name>input|output) *$", re.MULTILINE)
SHOWN = [dict.fromkeys(("question", "answer", "instruction", "input", "output"), "a text")]
"""What stands for demonstrations where a template is tried."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row's texts, and the labels of the templates that made them."""

    instruction: str
    input: str
    output: str
    templates: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """Instruction and input as one text."""
        return "\n\n".join(part for part in (self.instruction, self.input) if part)


@dataclass(frozen=True)
class FormatTemplate:
    """One template: its label (`sentiment.en/ask@1`), and the texts of the row that it makes."""

    label: str
    form: Form
    used: frozenset[str]
    instruction: Text
    input: Text | None
    output: Text

    def render(self, values: Mapping[str, Any], before: tuple[str, ...] = ()) -> Rendered:
        """A row's texts, without blank lines round them; `before` are templates applied before.

        Raises one of `FAILURES` where the values do not suit, and `RecipeError` where it takes more
        time or room than it may.
        """
        texts = (self.instruction, self.input, self.output)
        instruction, given, output = (
            "" if text is None else text.render(values).strip() for text in texts
        )
        return Rendered(instruction, given, output, (*before, self.label))


@dataclass(frozen=True)
class FormatFile:
    """A file of templates."""

    name: str
    version: int
    templates: tuple[FormatTemplate, ...]
    text: str
    sha256: str
    where: str

    @property
    def variables(self) -> frozenset[str]:
        """All names that its templates use."""
        return frozenset().union(*(one.used for one in self.templates))


def names_of(task: str, folder: Path | None = None) -> tuple[str, ...]:
    """The files of a task: one a language, or one for all. Empty where there is none."""
    names = (*(f"{task}.{language}" for language in LANGUAGES), task)
    return tuple(name for name in names if _path(name, folder) is not None)


def tasks() -> tuple[str, ...]:
    """The tasks that ship with the package."""
    return tuple(sorted({path.name.split(".")[0] for path in (PROMPTS / FOLDER).glob("*.md")}))


def load(name: str, folder: Path | None = None) -> FormatFile:
    """Read a file of templates, from `folder` if it is there, else from the package.

    Raises `RecipeError` where it does not hold together.
    """
    path = _path(name, folder)
    if path is None:
        raise RecipeError(f"there is no file of templates {FOLDER}/{name}.md.")
    try:
        return parse(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the templates {path} cannot be read: {error}.") from error


def _path(name: str, folder: Path | None) -> Path | None:
    own = () if folder is None else (folder / FOLDER / f"{name}.md",)
    return next((one for one in (*own, PROMPTS / FOLDER / f"{name}.md") if one.is_file()), None)


def parse(content: str, *, where: str) -> FormatFile:
    """Take a file of templates apart, check it and try each of them. Raises `RecipeError`."""
    header, body = templates.header_and_text(content, where=where)
    label = f"{header['name']}@{header['version']}"
    start, *pieces = _pieces(HEADING, body)
    if start[1].strip() or not pieces:
        raise RecipeError(f"{where}: after the header a template begins, with a line '=== NAME'.")
    found = [_template(heading, text, label, where) for heading, text in pieces if heading]
    names = [one.label for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RecipeError(f"{where}: two templates are called {sorted(twice)[0]}.")
    file = FormatFile(
        name=str(header["name"]),
        version=header["version"],
        templates=tuple(found),
        text=content,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        where=where,
    )
    variables = {str(name) for name in header["variables"]}
    if file.variables != variables:
        raise RecipeError(
            f"{where}: the texts use {sorted(file.variables)}, the header names "
            f"{sorted(variables)}."
        )
    return file


def _pieces(mark: re.Pattern[str], text: str) -> list[tuple[re.Match[str] | None, str]]:
    """What stands before the first mark, and each mark with what stands behind it."""
    marks = list(mark.finditer(text))
    ends = [*(one.start() for one in marks), len(text)]
    return [
        (None, text[: ends[0]]),
        *((one, text[one.end() + 1 : end]) for one, end in zip(marks, ends[1:], strict=True)),
    ]


def _template(heading: re.Match[str], text: str, label: str, where: str) -> FormatTemplate:
    name, said = heading["name"], heading["form"] or "plain"
    place = f"{where}: template {name}"
    form = next((one for one in FORMS if one == said), None)
    if form is None:
        raise RecipeError(f"{place}: the form is {', '.join(FORMS)}, not {said!r}.")
    (_, instruction), *rest = _pieces(PART, text)
    parts = {part["name"]: said for part, said in rest if part}
    if len(parts) < len(rest) or "output" not in parts or not instruction.strip():
        raise RecipeError(
            f"{place}: it has an instruction, then '--- output' and, if wanted, '--- input', once "
            "each."
        )
    texts = {part: templates.text_of(said, where=place) for part, said in parts.items()}
    asked = templates.text_of(instruction, where=place)
    file, _, version = label.rpartition("@")
    found = FormatTemplate(
        label=f"{file}/{name}@{version}",
        form=form,
        used=asked.used.union(*(one.used for one in texts.values())),
        instruction=asked,
        input=texts.get("input"),
        output=texts["output"],
    )
    _try(found, place)
    return found


def _try(template: FormatTemplate, place: str) -> None:
    """Refuse what no row could be rendered with: other failures may be for want of real values."""
    values = {name: SHOWN if name == "shown" else "a text" for name in template.used}
    try:
        template.render(values)
    except SecurityError as error:
        raise RecipeError(f"{place}: it may not do that: {str(error).rstrip('.')}.") from error
    except FAILURES:
        return
