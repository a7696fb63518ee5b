"""Prompt templates: a header that names and versions them, then Jinja2 text.

A template file begins with a YAML header between two lines of `---`: `name`, `version`, `variables`
(every name that the text uses, no more, no less), `source` (the paper or file that it follows) and,
if wanted, `system` (a system message). What a model wrote is only ever a value, never a template.
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

from pipeline import yaml_text
from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # prompts are plain text; HTML escapes would change them
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


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
    _compiled: jinja2.Template

    @property
    def label(self) -> str:
        """Name and version, as rows carry it: `bootstrap@1`."""
        return f"{self.name}@{self.version}"

    def render(self, values: Mapping[str, Any]) -> str:
        """The prompt; a missing value raises `jinja2.UndefinedError`."""
        return self._compiled.render(values).removesuffix("\n")


def load(name: str, folder: Path | None = None) -> Template:
    """Read the template `NAME.md`, from `folder` if it is there, else from the package.

    Raises `RecipeError` where the header or the text does not hold together.
    """
    path = PROMPTS / f"{name}.md"
    if folder is not None and (folder / f"{name}.md").is_file():
        path = folder / f"{name}.md"
    if not path.is_file():
        raise RecipeError(f"there is no prompt template {name!r} ({path} is missing).")
    try:
        return parse(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the prompt template {path} cannot be read: {error}.") from error


def parse(content: str, *, where: str) -> Template:
    """Take a template file's content apart and check it."""
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
    variables = [str(name) for name in header["variables"]]
    try:
        used = meta.find_undeclared_variables(_ENVIRONMENT.parse(parts[2]))
        compiled = _ENVIRONMENT.from_string(parts[2])
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"{where}: line {error.lineno}: {error.message}") from error
    if used != set(variables):
        raise RecipeError(
            f"{where}: the text uses {sorted(used)}, the header names {sorted(variables)}."
        )
    return Template(
        name=str(header["name"]),
        version=header["version"],
        variables=tuple(variables),
        source=str(header["source"]),
        system=header.get("system"),
        text=content,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        _compiled=compiled,
    )
