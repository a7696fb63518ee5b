"""Have a teacher say of each row what it is about, what it asks for and in which language.

The tags are those of `tag`, which leaves them alone. One request a row; a reply is

    Domain: medicine
    Task: open_question
    Language: en

What is not among the tags that were offered is null, and the row is kept: `tag` after it fills in
what is null by its rules.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated

from pydantic import Field

from filters.tags import DOMAINS, GENERAL, TASK_TYPES
from pipeline.stage import (
    IDENTITY,
    AskingConfig,
    Drop,
    Form,
    LLMStage,
    Reply,
    Request,
    Row,
    Sampling,
)

LINE = re.compile(r"^[\W\d]*(domain|task|language)\W*:\W*([\w-]+)", re.IGNORECASE | re.MULTILINE)
LANGUAGE = re.compile(r"[a-z]{2}")


class Config(AskingConfig):
    """Settings of `teacher-tag`: the tags that are offered, and how many characters of a text."""

    domains: Annotated[tuple[str, ...], Field(min_length=1), IDENTITY] = (*DOMAINS, GENERAL)
    tasks: Annotated[tuple[str, ...], Field(min_length=1), IDENTITY] = TASK_TYPES
    characters: Annotated[int, Field(ge=1), IDENTITY] = 1500
    sampling: Sampling = Sampling(temperature=0, max_tokens=40)


def ask(row: Row, config: Config, rng: Random) -> Request:
    """One question a row, its texts cut."""
    texts = {
        name: (row[name] or "")[: config.characters] for name in ("instruction", "input", "output")
    }
    tags = {"domains": list(config.domains), "tasks": list(config.tasks)}
    return Request("tag", texts | tags, form=_form(config))


def _form(config: Config) -> Form:
    """The three lines as JSON, of the tags that are offered alone."""
    tags = {
        "domain": {"type": "string", "enum": list(config.domains)},
        "task": {"type": "string", "enum": list(config.tasks)},
        "language": {"type": "string", "pattern": "^[a-z]{2}$"},
    }
    return Form(
        name="tags",
        schema={
            "type": "object",
            "properties": tags,
            "required": list(tags),
            "additionalProperties": False,
        },
        text=lambda found: "\n".join(f"{name}: {found[name]}" for name in tags if name in found),
    )


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """The tags that were offered and that the reply names, the first of each; null where none."""
    said: dict[str, str] = {}
    for name, value in LINE.findall(reply.text):
        said.setdefault(name.lower(), value.lower())
    domains = {one.lower(): one for one in config.domains}
    tasks = {one.lower(): one for one in config.tasks}
    language = said.get("language", "")
    tags: Row = {
        "domain": domains.get(said.get("domain", "")),
        "task_type": tasks.get(said.get("task", "")),
        "language": language if LANGUAGE.fullmatch(language) else None,
    }
    return [tags]


STAGE = LLMStage(
    name="teacher-tag",
    version=1,
    summary="have a teacher say of each row its domain, task type and language",
    config=Config,
    prompts=("tag",),
    ask=ask,
    read=read,
    reads=("row_id", "instruction", "input", "output"),
    writes=("domain", "task_type", "language", "requests"),
)
