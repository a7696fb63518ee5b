"""The settings of the stage `format`, and the files of templates that they need."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pipeline.format_templates import Form
from pipeline.stage import DECISION, StageConfig
from pipeline.stages.demonstrations import How
from pipeline.stages.row_values import Language, Named

STEPS = "steps"
DEMONSTRATIONS = "demonstrations"

Share = Annotated[float, Field(ge=0, le=1), DECISION]


class Config(StageConfig):
    """Settings of `format`.

    `tasks` name files of templates: with them each row is rendered by `rows_a_row` templates of
    those `forms`, drawn among all that suit it; `share` is the share of rows that are, and with
    `keep_received` they go on as they are too. `fields` says which field of a row, or column of
    ours, a variable of a template is, where the two are called otherwise, `values` what a variable
    is for all rows, `labels` what a label is called in a template; either may say it for each
    language, {en: ..., zh: ...}. `language` is that of the templates, by default the row's own.

    `with_steps` is the share of rows that are asked for steps and show those of the column, or the
    field, `rationale` before the answer: rows without any are given none, and where too few have
    some, fewer are rendered so. `with_demonstrations` is the share that show other rows before
    them, `fewest` to `most` of them, `chosen` at random, by similarity or by diversity, none longer
    than `longest_demonstration` characters, none with the same long answer or about the same text,
    and none more alike than `alike_at_most` (null: 0.7 of the words, as MinHash has it, or a cosine
    of 0.9). Rows of the `held_out` share of root tasks are shown to none: export puts them into
    validation.
    """

    tasks: Annotated[tuple[str, ...], DECISION] = ()
    forms: Annotated[tuple[Form, ...], Field(min_length=1), DECISION] = (
        "plain", "prefix", "cloze", "reversed",
    )  # fmt: skip
    share: Share = 1.0
    rows_a_row: Annotated[int, Field(ge=1, le=20), DECISION] = 1
    keep_received: Annotated[bool, DECISION] = False
    language: Annotated[Language | None, DECISION] = None
    fields: Annotated[dict[str, str], Field(default_factory=dict), DECISION]
    values: Annotated[dict[str, Named], Field(default_factory=dict), DECISION]
    labels: Annotated[dict[str, Named], Field(default_factory=dict), DECISION]
    with_steps: Share = 0.0
    rationale: Annotated[str, DECISION] = "reasoning"
    with_demonstrations: Share = 0.0
    fewest: Annotated[int, Field(ge=1, le=20), DECISION] = 1
    most: Annotated[int, Field(ge=1, le=20), DECISION] = 3
    chosen: Annotated[How, DECISION] = "similar"
    alike_at_most: Annotated[float | None, Field(gt=0, le=1), DECISION] = None
    longest_demonstration: Annotated[int, Field(ge=1), DECISION] = 1500
    held_out: Share = 0.05

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        if self.fewest > self.most:
            raise ValueError(f"fewest is {self.fewest}, and most is {self.most}")
        return self

    @field_validator("labels", "values")
    @classmethod
    def _named(cls, given: dict[str, Named]) -> dict[str, Named]:
        if empty := [name for name, value in given.items() if not value]:
            raise ValueError(f"{empty[0]!r} has no name")
        return given

    @field_validator("labels", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:  # noqa: ANN401 - pydantic says what is wrong with it
        """YAML reads a label that is a number as one: {0: bad} is {"0": bad}."""
        if not isinstance(given, dict):
            return given
        return {str(key) if type(key) is int else key: value for key, value in given.items()}


def is_idle(config: Config) -> bool:
    """Whether nothing is asked for: every row goes on as it is, even one without an answer."""
    return not (config.tasks or config.with_steps or config.with_demonstrations)


def files(config: Config) -> tuple[str, ...]:
    """The tasks whose templates are needed under the settings."""
    steps = (STEPS,) if config.with_steps else ()
    return (*config.tasks, *steps, *((DEMONSTRATIONS,) if config.with_demonstrations else ()))
