"""What a stage is: pure functions and a declaration.

A stage knows rows and its settings: no sockets, no torch, no paths but a scratch folder that it is
handed. Sending, retrying, journalling and saving belong to `run` and `teacher`. A stage file ends
in `STAGE = ...`, one of

* `DraftStage`: writes new tasks from a pool that its own rows feed (`bootstrap`);
* `LLMStage`: asks a teacher once for every row that it receives;
* `ChainStage`: holds a conversation with a teacher about every row, one request after another;
* `FilterStage`: judges rows by columns, and may add columns to them, no teacher;
* `RenderStage`: renders rows into others by templates, no teacher;
* `ImportStage`: takes rows in from a file;
* `TrainStage`: trains a model on the rows;
* `EvaluateStage`: has models answer the rows, and measures it;
* `ExportStage`: renders the kept rows for other programs.
"""

from __future__ import annotations

import enum
import json
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]
"""Columns of one row by name (`schema.py`)."""

Parts = Callable[[], Iterator["pl.DataFrame"]]
"""The rows of a stage in parts that fit into memory, one or more; each call gives all again."""

Role = Literal["teacher", "judge", "scorer"]
"""Whom a stage asks: who writes, who rates, who measures token loss."""
Endpoint = Literal["embeddings", "score"]
"""What a stage has to be asked through that wants no text."""

OURS = {
    *("model", "messages", "prompt", "input", "stream"),
    *("max_completion_tokens", "n", "best_of"),
}
"""Parameters that no recipe adds to a request: what it asks, of whom, and how much may come."""

NOT_ASKED = "not_asked"
"""Why a replay drops a row to which the journal holds no reply."""


class SettingClass(enum.Enum):
    """What a changed setting means for a run that exists (README, "Recipes and settings")."""

    IDENTITY = "identity"
    EXTENT = "extent"
    DECISION = "decision"
    OPERATIONAL = "operational"


IDENTITY = SettingClass.IDENTITY
EXTENT = SettingClass.EXTENT
DECISION = SettingClass.DECISION
OPERATIONAL = SettingClass.OPERATIONAL


def check_flag(annotation: Any, value: object) -> None:  # noqa: ANN401 - any annotation
    """Raise `PydanticCustomError` for true or false in the place of a number.

    Python, and so pydantic, takes them for 1 and 0.
    """
    kinds = set(get_args(annotation) or (annotation,))
    if isinstance(value, bool) and kinds & {int, float, Decimal} and bool not in kinds:
        raise PydanticCustomError("flag_for_number", "Input should be a number, not true or false")


class Settings(BaseModel):
    """A group of settings: frozen, unknown keys refused, and true or false for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        check_flag(cls.model_fields[str(info.field_name)].annotation, value)
        return value


class TogetherError(ValueError):
    """Settings that are well alone and do not go together: `parts`, each told by itself."""

    def __init__(self, parts: Sequence[str]) -> None:
        """Each part names the settings that it is of."""
        super().__init__("; and ".join(parts))
        self.parts = tuple(parts)


class StageConfig(Settings):
    """Settings of a stage."""


class AskingConfig(StageConfig):
    """Settings of a stage that asks, as far as they are common to all.

    Once `stall_after` items came (null: never), the stage is stopped where less than `stall_below`
    of the last ones were kept. A stage that asks about rows without making any counts those that it
    asked about; what is dropped by its `decisions` was given, and counts as kept here.
    """

    stall_after: Annotated[int | None, Field(ge=1), OPERATIONAL] = 500
    stall_below: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.02


class Sampling(Settings):
    """How a teacher decodes. A setting that is null is not sent."""

    temperature: Annotated[float | None, Field(ge=0, le=2), IDENTITY] = None
    top_p: Annotated[float | None, Field(gt=0, le=1), IDENTITY] = None
    top_k: Annotated[int | None, Field(ge=1), IDENTITY] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), IDENTITY] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), IDENTITY] = None
    stop: Annotated[tuple[str, ...], Field(max_length=4), IDENTITY] = ()
    max_tokens: Annotated[int | None, Field(ge=1), IDENTITY] = None
    seed: Annotated[int | None, IDENTITY] = None
    extra: Annotated[dict[str, Any], IDENTITY] = {}

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What is counted before a request leaves is not to be said a second time beside it."""
        if taken := sorted(given.keys() & OURS):
            raise ValueError(f"{', '.join(taken)} stand in a request already, or make it cost more")
        if own := sorted(given.keys() & cls.model_fields.keys()):
            raise ValueError(f"{', '.join(own)} are settings of their own, beside 'extra'")
        try:
            json.dumps(given, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"it cannot be sent as JSON: {error}") from error
        return given

    def parameters(self) -> dict[str, Any]:
        """What goes into a request's body, without what is null or empty."""
        given = {name: value for name, value in self if name != "extra"}
        sent = {name: value for name, value in given.items() if value not in (None, ())}
        if "stop" in sent:
            sent["stop"] = list(sent["stop"])
        return sent | self.extra


@dataclass(frozen=True, slots=True)
class Form:
    """A reply as one JSON object: its name, its JSON schema, and the text that says the same.

    A model that is asked for JSON is held to `schema`, and what it writes is handed to the stage as
    `text(found)`, which raises `KeyError` where a field is lacking.
    """

    name: str
    schema: Mapping[str, Any]
    text: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Request:
    """What a stage wants to ask: a template, the values it is rendered with, the tasks shown.

    Without a template the values are asked about as they are (a scorer's endpoint).
    `sampling` is the stage's setting that says how the reply is decoded; `form` is how the reply
    looks where JSON is asked for, null where that cannot be.
    """

    template: str
    values: Mapping[str, Any]
    shown: tuple[str, ...] = ()
    sampling: str = "sampling"
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a scorer found for an answer: mean token losses in nats, and tokens.

    `loss` is that of the answer given its prompt, `alone` without it; both are null where no token
    was measured. `tokens` were measured, `cut` did not fit into the context; `why` is what the
    scorer says kept it from measuring, if anything.
    """

    loss: float | None
    alone: float | None
    tokens: int
    cut: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a teacher answered; `finish_reason` is "stop", "length" (cut off) or "unknown".

    An embeddings endpoint gives a `vector` instead of a text, a scorer what it `measured`.
    """

    text: str
    finish_reason: str = "stop"
    vector: tuple[float, ...] = ()
    measured: Measured | None = None

    @property
    def is_cut_off(self) -> bool:
        """Whether the text ended before the teacher was done; unknown reasons count as cut."""
        return self.finish_reason != "stop"


@dataclass(frozen=True, slots=True)
class Drop:
    """An item or row that a rule dropped: reason, what was measured, and what there is of it.

    `ref` is the row that it met: an id, or the place of another entry of the same conversation;
    `similarity`, 0 to 1, is how alike the two are, where that was measured.
    """

    reason: str
    detail: str = ""
    ref: str | int | None = None
    row: Row = field(default_factory=dict)
    similarity: float | None = None

    def columns(self, ref: str | None = None) -> Row:
        """The row's `drop_` columns; `ref` where it is only known now."""
        return {
            "drop_reason": self.reason,
            "drop_detail": self.detail,
            "drop_ref": self.ref if ref is None else ref,
            "drop_similarity": self.similarity,
        }


class Pool:
    """The tasks that demonstrations are drawn from: seed tasks and accepted drafts, in order.

    `seeds` and `drafts` hold (row id, instruction). `drafts_at(slot)` is how many drafts there were
    once that slot was committed, so that a request can be drawn from the pool as it then stood.
    """

    def __init__(self, seeds: Sequence[tuple[str, str]]) -> None:
        """Start with the seed tasks and no drafts."""
        self.seeds = list(seeds)
        self.drafts: list[tuple[str, str]] = []
        self._slots: list[int] = []

    def add(self, row_id: str, instruction: str, slot: int) -> None:
        """Append an accepted draft; slots never go back."""
        self.drafts.append((row_id, instruction))
        self._slots.append(slot)

    @property
    def last_slot(self) -> int:
        """The slot of the last draft; -1 before the first."""
        return self._slots[-1] if self._slots else -1

    def drafts_at(self, slot: int) -> int:
        """How many drafts the pool held once `slot` was committed; 0 before the first."""
        return bisect_right(self._slots, slot)


@dataclass(frozen=True)
class DraftStage:
    """A stage that writes new tasks from a pool which its own rows feed.

    `ask(pool, n_drafts, config, rng)` builds one request from the seeds and the first `n_drafts`
    drafts. `read(reply, config)` gives one entry an item, in order. `judge(items, config)` gives
    the heuristic verdict of each item before novelty is looked at.
    """

    name: str
    version: int
    config: type[StageConfig]
    prompts: tuple[str, ...]
    ask: Callable[[Pool, int, Any, Random], Request]
    read: Callable[[Reply, Any], list[Row | Drop]]
    judge: Callable[[list[str], Any], list[Drop | None]]
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class LLMStage:
    """A stage that asks a teacher once for every row.

    `ask(row, config, rng)` builds the request; `read(reply, row, config)` gives the row's new
    columns or a `Drop`: one entry where the stage annotates rows, one an item where it
    `makes_rows`. `reads` names the columns that it needs, or tells them from the settings.
    `role` says whom it asks, `endpoint` what it has to be asked through; null is whatever the
    settings of that role say. `decisions` are the reasons of drops by which a teacher did not fail:
    it gave what was asked for, and a rule said no.
    """

    name: str
    version: int
    config: type[StageConfig]
    prompts: tuple[str, ...]
    ask: Callable[[Row, Any, Random], Request]
    read: Callable[[Reply, Row, Any], list[Row | Drop]]
    reads: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    writes: tuple[str, ...]
    role: Role = "teacher"
    endpoint: Endpoint | None = None
    makes_rows: bool = False
    measure: Callable[[pl.DataFrame], dict[str, Any]] | None = None
    decisions: tuple[str, ...] = ()
    summary: str = ""


Conversation = Generator[Sequence[Request], Sequence[Reply | Drop], list[Row | Drop]]
"""Yields requests that may be sent at once, is sent one reply a request in their order, and returns
the entries of its row. Where a request brought no usable reply, a `Drop` with the outcome's name
stands in its place; one named `NOT_ASKED` is the end of a replay, and what it is about a `Drop`."""


@dataclass(frozen=True)
class ChainStage:
    """A stage that holds a conversation with a teacher about every row.

    `work(row, config, rng)` is the conversation, a generator without side effects: one entry where
    the stage annotates rows, any number where it `makes_rows`. An entry can say of itself

    * `requests`: the `Request` objects, as they were yielded, that made it; without it, all;
    * `parent_id`: the id of the row that it was made from, or the place of that entry in the list;
      without it, its row;
    * `row_id`: that of the row received, which then goes on as it is.

    `requests_a_row(config)` and `rows_a_row(config)` are what an estimate expects, or, where it
    depends on the rows, `requests_about(row, config)` of some of them. The most that they can be
    are `most_requests_a_row` and `most_rows_a_row` (null: as expected); `most_added_tokens(config)`
    is how far replies can lengthen a later request, null where nothing bounds them.
    `stand_in(request, row)` is what an estimate takes for a reply. `prompts` can be told from the
    settings, `named(config)` are those of them that the settings name, each with the variables that
    it is given; `measured` are the columns that `measure` looks at, null is all. The other fields
    are those of an `LLMStage`. `role` says whom it asks: "judge" is the teacher where no judge is
    named. `then` is its second half: a decision over what it measured, with settings of its own,
    which stands as a step `NAME-keep` after it.
    """

    name: str
    version: int
    config: type[StageConfig]
    prompts: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    work: Callable[[Row, Any, Random], Conversation]
    reads: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    writes: tuple[str, ...]
    requests_a_row: Callable[[Any], float]
    requests_about: Callable[[Row, Any], float] | None = None
    rows_a_row: Callable[[Any], float] = lambda config: 1.0
    most_requests_a_row: Callable[[Any], float] | None = None
    most_rows_a_row: Callable[[Any], float] | None = None
    most_added_tokens: Callable[[Any], int | None] = lambda config: 0
    stand_in: Callable[[Request, Row], str] | None = None
    role: Role = "teacher"
    endpoint: Endpoint | None = None
    makes_rows: bool = False
    measure: Callable[[pl.DataFrame], dict[str, Any]] | None = None
    measured: tuple[str, ...] | None = None
    then: FilterStage | None = None
    named: Callable[[Any], tuple[tuple[str, tuple[str, ...]], ...]] = lambda config: ()
    decisions: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class FilterStage:
    """A stage that judges every row by its columns and removes nothing itself.

    `judge(frame, config)` returns one row an entry, in order, with `reason`, `detail` and `ref`,
    and with the columns that it `writes`, or writes under its settings, which all rows get, kept
    and dropped.
    `judge_parts(parts, config, scratch)` returns the same for rows that are too many for memory at
    once; `scratch` is an empty folder that it may fill. `reads(config)` names the columns that it
    needs, `may_read` those that it takes where rows have them, `files(config)` the files of the
    user's own that its verdicts depend on, `needs(config)` what takes a package that does not come
    with every synth: what it is, the package, the extra. `idle(config)` is why it would do nothing
    under its settings, null where it does something, and `said(rows, config)` what who runs it is
    told once it is known how many rows come. `measure(kept, config)` is what the books
    say of the rows that stayed, from the columns that it needs and writes. With a
    `classifier(config)`, the folder of a model, `judge` and `judge_parts` are also given
    `classify`, texts to scores.
    """

    name: str
    version: int
    config: type[StageConfig]
    judge: Callable[..., pl.DataFrame]
    reads: Callable[[Any], tuple[str, ...]]
    writes: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = ()
    may_read: tuple[str, ...] = ()
    judge_parts: Callable[..., pl.DataFrame] | None = None
    files: Callable[[Any], tuple[str, ...]] = lambda config: ()
    needs: Callable[[Any], tuple[tuple[str, str, str], ...]] = lambda config: ()
    idle: Callable[[Any], str | None] = lambda config: None
    said: Callable[[int, Any], str | None] = lambda rows, config: None
    measure: Callable[[pl.DataFrame, Any], dict[str, Any]] | None = None
    classifier: Callable[[Any], str] | None = None
    summary: str = ""


@dataclass(frozen=True)
class RenderStage:
    """A stage that renders rows into others by templates, and asks nobody.

    `plan(parts, config, seed, templates)` looks at all rows and says what becomes of each, which
    `render(place, row, plan)` then makes of the one at that place: any number of entries, as in a
    `ChainStage` that makes rows, where one with the `row_id` of the row received is that row, going
    on or dropped. `said(plan)` is told to who runs it. `files(config)` names the tasks whose files
    of templates are needed: `templates` has them by name. Where `is_idle(config)` every row goes on
    as it is. `reads` and `may_read` are those of a `FilterStage`; `rows_a_row(config)` is what an
    estimate expects, `measured` are the columns that `measure` looks at.
    """

    name: str
    version: int
    config: type[StageConfig]
    plan: Callable[[Parts, Any, int, Mapping[str, Any]], Any]
    render: Callable[[int, Row, Any], list[Row | Drop]]
    files: Callable[[Any], tuple[str, ...]]
    reads: Callable[[Any], tuple[str, ...]]
    writes: tuple[str, ...]
    may_read: tuple[str, ...] = ()
    said: Callable[[Any], Sequence[str]] = lambda plan: ()
    is_idle: Callable[[Any], bool] = lambda config: False
    rows_a_row: Callable[[Any], float] = lambda config: 1.0
    measure: Callable[[pl.DataFrame, Any], dict[str, Any]] | None = None
    measured: tuple[str, ...] | None = None
    summary: str = ""


@dataclass(frozen=True)
class ImportStage:
    """The stage that takes rows in: `read(number, row, how)` gives rows for a row of a file."""

    name: str
    version: int
    config: type[StageConfig]
    read: Callable[[int, dict[str, Any], Any], list[Row | Drop]]
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class ExportStage:
    """The stage that renders kept rows as a data set for other programs; it keeps every row."""

    name: str
    version: int
    config: type[StageConfig]
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class TrainStage:
    """A stage that trains a model on rows, in a process of its own; `model/` comes out.

    `turns(row)` is the conversation that a row is learned as, `is_held_out(row, config, seed)`
    whether only the loss on it is measured. A row that nothing can be learned from is dropped; the
    others get the columns that it `writes`. `reads`, `may_read` and `files` are those of a
    `FilterStage`; `phases(row, config)` are the phases of the training that take a row.
    """

    name: str
    version: int
    config: type[StageConfig]
    turns: Callable[[Row], list[dict[str, str]]]
    is_held_out: Callable[[Row, Any, int], bool]
    phases: Callable[[Row, Any], list[int]]
    reads: Callable[[Any], tuple[str, ...]]
    writes: tuple[str, ...]
    may_read: tuple[str, ...] = ()
    files: Callable[[Any], tuple[str, ...]] = lambda config: ()
    summary: str = ""


@dataclass(frozen=True)
class EvaluateStage:
    """A stage that has models answer rows, in a process of its own, and measures the answers.

    `prompt(row)` is what a model is asked and the answer that is there, null without one;
    `why_not(row)` why a row is not asked about, null where it is. `score(rows, config)` fills in
    what is measured of the rows' `evaluations`, and the columns that it writes beside them. Every
    row is kept. `reads`, `may_read` and `measure` are those of a `FilterStage`.
    """

    name: str
    version: int
    config: type[StageConfig]
    prompt: Callable[[Row], tuple[list[dict[str, str]], str | None]]
    why_not: Callable[[Row], str | None]
    score: Callable[[list[Row], Any], None]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    may_read: tuple[str, ...] = ()
    measure: Callable[[pl.DataFrame, Any], dict[str, Any]] | None = None
    summary: str = ""


RowStage = LLMStage | ChainStage
"""A stage that asks a teacher about every row that it receives."""
AskingStage = DraftStage | RowStage
"""A stage that asks a teacher."""
ComputedStage = FilterStage | RenderStage | TrainStage | EvaluateStage
"""A stage whose rows are made of all rows of the stage before, without a teacher."""
Stage = AskingStage | ComputedStage | ImportStage | ExportStage


def columns_read(stage: Stage, config: StageConfig) -> tuple[str, ...]:
    """The columns that a stage needs under its settings."""
    return stage.reads(config) if callable(stage.reads) else stage.reads


def columns_written(stage: Stage, config: StageConfig) -> tuple[str, ...]:
    """The columns that a stage gives to rows under its settings."""
    return stage.writes(config) if callable(stage.writes) else stage.writes


def role_of(stage: AskingStage) -> Role:
    """Whom a stage asks."""
    return "teacher" if isinstance(stage, DraftStage) else stage.role


def prompts_of(stage: Stage, config: StageConfig) -> tuple[str, ...]:
    """The templates that a stage asks with under its settings; none where it asks nobody."""
    if not isinstance(stage, AskingStage):
        return ()
    return stage.prompts(config) if callable(stage.prompts) else stage.prompts
