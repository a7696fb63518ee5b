"""Prompt templates: a header that names and versions them, then Jinja2 text.

A template file begins with a YAML header between two lines of `---`: `name`, `version`, `variables`
(every name that the text uses, no more, no less), `source` (the paper or file that it follows) and,
if wanted, `system` (a system message). What a model wrote is only ever a value, never a template.
What a template may take of time and room is bounded (`template_limits.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline import template_apart, yaml_text
from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS
from pipeline.template_limits import (
    WALKED,
    TooLongError,
    compile_plain,
    is_plain,
    render_plain,
    walked,
)

ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # prompts are plain text; HTML escapes would change them
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters[WALKED] = walked
FAILURES = (
    jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
    RecursionError,
)  # fmt: skip
"""What a text that does not suit its values raises."""
MAX_BYTES = 2**18
"""How long a template file may be."""


@dataclass(frozen=True)
class Text:
    """A text of Jinja2 that is ready to be filled in; `used` are the names that it uses."""

    where: str
    used: frozenset[str]
    body: str
    compiled: jinja2.Template | None

    def render(self, values: Mapping[str, Any]) -> str:
        """The text; a missing value raises `jinja2.UndefinedError`.

        Raises `RecipeError` where it takes more time or room than it may.
        """
        try:
            if self.compiled is None:
                text = template_apart.render(self.body, values)
            else:
                text = render_plain(self.compiled, values)
        except TooLongError as error:
            raise _refused(self.where, error) from error
        return text.removesuffix("\n")


@dataclass(frozen=True)
class Template:
    """One prompt: what it is called, its text, and how to fill it in."""

    name: str
    version: int
    variables: tuple[str, ...]
    source: str
    system: str | None
    text: str
    sha256: str
    where: str
    body: Text

    @property
    def label(self) -> str:
        """Name and version, as rows carry it: `bootstrap@1`."""
        return f"{self.name}@{self.version}"

    def render(self, values: Mapping[str, Any]) -> str:
        """The prompt; a missing value raises `jinja2.UndefinedError`.

        Raises `RecipeError` where the template takes more time or room than it may.
        """
        return self.body.render(values)

    def prompt(self, values: Mapping[str, Any], stage: str) -> str:
        """The prompt of a request of `stage`; what the template raises is its author's to mend."""
        try:
            return self.render(values)
        except FAILURES as error:
            raise RecipeError(
                f"{self.where}: the template cannot be filled in for {stage}: "
                f"{type(error).__name__}: {str(error)[:200]}. Mend it, then start the same command "
                "again; a template that has been asked with needs a run of its own (--out)."
            ) from error


def load(name: str, folder: Path | None = None) -> Template:
    """Read the template `NAME.md`, from `folder` if it is there, else from the package.

    Raises `RecipeError` where the header or the text does not hold together.
    """
    path = PROMPTS / f"{name}.md"
    if folder is not None and (folder / f"{name}.md").is_file():
        path = folder / f"{name}.md"
    if not path.is_file():
        own = "FOLDER" if folder is None else str(folder)
        asked = "" if folder is not None else ", and name that with  prompts: FOLDER  in the recipe"
        raise RecipeError(
            f"there is no prompt template {name!r}: none comes with synth; put one of your own "
            f"into {own}/{name}.md{asked}."
        )
    try:
        return parse(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the prompt template {path} cannot be read: {error}.") from error


def parse(content: str, *, where: str) -> Template:
    """Take a template file's content apart and check it; one that computes is tried."""
    header, text = header_and_text(content, where=where)
    variables = [str(name) for name in header["variables"]]
    body = text_of(text, where=where)
    if body.used != set(variables):
        raise RecipeError(
            f"{where}: the text uses {sorted(body.used)}, the header names {sorted(variables)}."
        )
    return Template(
        name=str(header["name"]),
        version=header["version"],
        variables=tuple(variables),
        source=str(header["source"]),
        system=header.get("system"),
        text=content,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        where=where,
        body=body,
    )


def header_and_text(content: str, *, where: str) -> tuple[dict[str, Any], str]:
    """A template file's header, checked, and what follows it. Raises `RecipeError`."""
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{where}: it has {len(content)} characters, and may have {MAX_BYTES}.")
    parts = content.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise RecipeError(f"{where}: a template starts with a header between two lines of '---'.")
    header = yaml_text.load(parts[1], where=where)
    wanted = {"name", "version", "variables", "source"}
    if not isinstance(header, dict) or not wanted <= header.keys() <= wanted | {"system"}:
        raise RecipeError(
            f"{where}: the header holds {', '.join(sorted(wanted))} and, if wanted, system."
        )
    kinds: tuple[tuple[str, type, str], ...] = (
        ("version", int, "a number"),
        ("variables", list, "a list of names"),
        ("system", str, "text"),
    )
    for key, kind, called in kinds:
        if key in header and type(header[key]) is not kind:  # true is no version
            raise RecipeError(f"{where}: {key} is {called}, not {header[key]!r}.")
    return header, parts[2]


def text_of(body: str, *, where: str) -> Text:
    """Compile a text of Jinja2; one that computes is tried. Raises `RecipeError`."""
    compiled: jinja2.Template | None = None
    try:
        tree = ENVIRONMENT.parse(body)
        if is_plain(tree):
            used = meta.find_undeclared_variables(tree)
            compiled = compile_plain(ENVIRONMENT, tree)
        else:  # even to compile it may take for ever: constants are worked out then
            used = template_apart.names_used(body)
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"{where}: line {error.lineno}: {error.message}") from error
    except TooLongError as error:
        raise _refused(where, error) from error
    return Text(where, frozenset(used), body, compiled)


def _refused(where: str, error: TooLongError) -> RecipeError:
    return RecipeError(
        f"{where}: the template {error}. Shorten its loops, or have it compute less; then start "
        "the same command again."
    )
