"""Take rows in from a finished run or from files: the first stage where data is the start.

Files are Parquet, JSON Lines, JSON, CSV, a folder of such shards, or a folder that the `datasets`
package saved. Their shape is told from the names of their fields (`input_shapes.py`), or by the
settings `shape` and `columns`. A row of a run keeps its columns and its id; a row of a file is
called after its number in the file, counted from 0 over all shards.

A conversation gives one row: its first user turn and the answer to it, and the whole of it as
`messages` where there is more. With `turns: user` it gives a row for each user turn instead, as
instructions for a pool, without answers. A prompt and its answers may be texts or turns each; a
second answer is no turn of the conversation: it is `other_output`, where the row is one question.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.stage import (
    EXTENT,
    IDENTITY,
    OPERATIONAL,
    Drop,
    ImportStage,
    Row,
    Settings,
    StageConfig,
)
from pipeline.stages.conversations import (
    Message,
    answered,
    first_exchange,
    is_one_exchange,
    is_unicode,
    messages_of,
    only_answer,
    turns_of,
    user_turns,
)
from pipeline.stages.input_shapes import OF_EVERY_SHAPE, Name, Shape, Target
from pipeline.stages.rating import NUMBER as PLAIN_NUMBER

TEXTS: tuple[Target, ...] = ("instruction", "input", "output", "other_output")


SetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class InputSet(Settings):
    """One of several data sets: its path, and how it is read where that is a way of its own."""

    path: Annotated[str, Field(min_length=1), OPERATIONAL]
    shape: Annotated[Literal["auto"] | Name | None, OPERATIONAL] = None  # part of the fingerprint
    columns: Annotated[dict[Target, str] | None, OPERATIONAL] = None
    split: Annotated[str | None, OPERATIONAL] = None
    license: Annotated[str | None, OPERATIONAL] = None


class Config(StageConfig):
    """Settings of `import`: where the rows come from (set by `--input`) and how they are read.

    `sets` are several data sets by name, in place of `path`: a path each, or a mapping with its
    `path`, and `shape`, `columns`, `split` or `license` where they are its own; `rows` are then the
    first of all of them, one after the other.
    `columns` names the file's fields where they are called otherwise, as in `{instruction:
    question, output: answer}`; `split` which split of a saved data set, or which shards of a folder
    by the beginning of their names. `answers` names fields that hold an answer each, as several
    models wrote them, for `compare`. Under `columns`, `reference` is the right answer, a text or a
    number, for `respond`, `reasoning` the chain of thought before the answer, for `format`,
    `rating` a number, for `keep`, and `embedding` a vector, for `semantic`. `fields` are those of
    labelled data, such as a text and its label, for the templates of `format`; with them a row
    needs no instruction.
    `license` is what rows get that name none themselves. A row of more than `row_bytes` is dropped;
    a file of more than `file_bytes` when unpacked, or more than `ratio` times as large as what is
    stored of it, is refused.
    """

    path: Annotated[str, OPERATIONAL] = ""  # its content is identity
    sets: Annotated[dict[SetName, str | InputSet], Field(default_factory=dict), OPERATIONAL]
    rows: Annotated[int | None, Field(ge=1), EXTENT] = None
    shape: Annotated[Literal["auto"] | Name, IDENTITY] = "auto"
    columns: Annotated[dict[Target, str], Field(default_factory=dict), IDENTITY]
    answers: Annotated[tuple[str, ...] | None, Field(min_length=2), IDENTITY] = None
    fields: Annotated[tuple[str, ...] | None, Field(min_length=1), IDENTITY] = None
    split: Annotated[str | None, IDENTITY] = None
    license: Annotated[str | None, IDENTITY] = None
    turns: Annotated[Literal["conversation", "user"], IDENTITY] = "conversation"
    row_bytes: Annotated[int, Field(ge=1, le=2**26), IDENTITY] = 2**22
    file_bytes: Annotated[int, Field(ge=1), OPERATIONAL] = 2**36
    ratio: Annotated[float, Field(ge=1), OPERATIONAL] = 200

    @field_validator("fields")
    @classmethod
    def _once(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if given is not None and len(set(given)) < len(given):
            raise ValueError("a field stands twice")
        return given

    @field_validator("answers")
    @classmethod
    def _names_apart(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if given is not None and len(set(given)) < len(given):
            raise ValueError("a field stands twice")
        if given is not None and (taken := {"tie", "flipped"} & set(given)):
            raise ValueError(f"no answer can be called {taken.pop()!r}: that is a verdict")
        return given

    @model_validator(mode="after")
    def _one_way_in(self) -> Config:
        if self.path and self.sets:
            raise ValueError("path is one data set, and sets are several: give one of the two")
        return self

    @field_validator("columns")
    @classmethod
    def _say_what_to_do(cls, given: dict[Target, str], info: ValidationInfo) -> dict[Target, str]:
        if info.data.get("shape") == "text":
            return given
        if given.keys() - OF_EVERY_SHAPE.keys() and not given.keys() & {"instruction", "messages"}:
            raise ValueError("it must name the field of 'instruction' or of 'messages'")
        return given


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of one file are read: their shape, and what is known of all of them.

    A field that is only called `reference`, `rating` or `embedding` may hold anything, and what is
    none is left out; where it is among those that the recipe `named`, such a row is dropped.
    """

    shape: Shape
    source: str
    license: str | None = None
    turns: Literal["conversation", "user"] = "conversation"
    answers: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    named: frozenset[Target] = frozenset()


def read(number: int, found: dict[str, Any], how: Reading) -> list[Row | Drop]:
    """The rows that a row of a file makes, or a `Drop` that says why it makes none."""
    row = row_of(number, 0, how)
    said: tuple[tuple[Target, str | None], ...] = (
        ("source", how.source),
        ("license", how.license),
    )
    for target, fallback in said:
        own = found.get(how.shape.fields.get(target, ""))
        is_said = isinstance(own, str) and own.strip() and is_unicode(own)
        row[target] = own if is_said else fallback
    for target, value_of in BESIDE.items():
        if target in how.shape.fields:
            value = value_of(found.get(how.shape.fields[target]))
            if isinstance(value, Drop) and target in how.named:
                return [_drop(value, row)]
            row[target] = None if isinstance(value, Drop) else value
    if how.answers:
        answers = _answers(found, how.answers)
        if isinstance(answers, Drop):
            return [_drop(answers, row)]
        row["answers"] = answers
    if how.labelled:
        fields = _fields(found, how.labelled)
        if isinstance(fields, Drop):
            return [_drop(fields, row)]
        row["fields"] = fields
    if "messages" in how.shape.fields:
        return _of_conversation(number, found.get(how.shape.fields["messages"]), row, how)
    if "instances" in how.shape.fields:
        return _of_instances(number, found, row, how)
    for name in TEXTS:
        row[name] = found.get(how.shape.fields.get(name, ""))
    is_asked = "instruction" in how.shape.fields
    if how.labelled and not is_asked:
        return [row if any(field["text"] for field in row["fields"]) else _no_fields(row)]
    has_turns = is_asked and any(_are_turns(row[name]) for name in TEXTS)
    if has_turns or isinstance(row["instruction"], list):
        return _of_turns(number, row, how)
    return [_checked(row, "instruction" if "instruction" in how.shape.fields else "output")]


def _reference(found: object) -> str | Drop | None:
    """The right answer of a row, a number as it is written; null without one."""
    if isinstance(found, int | float) and not isinstance(found, bool):
        found = str(found)
    if found is not None and not isinstance(found, str):
        return Drop("not_text", f"reference is a {type(found).__name__}")
    if found is not None and not is_unicode(found):
        return Drop("not_text", "reference is not valid Unicode")
    return found


def _reasoning(found: object) -> str | Drop | None:
    """The chain of thought of a row; null without one."""
    if found is None or (isinstance(found, str) and is_unicode(found)):
        return found or None
    return Drop("not_text", "reasoning is no text that can be written")


def _rating(found: object) -> float | Drop | None:
    """A row's number, which in CSV is a text, read as plainly as a judge's; null without one."""
    if found is None or found == "":
        return None
    is_plain = not isinstance(found, str) or PLAIN_NUMBER.fullmatch(found.strip()) is not None
    try:
        is_told = is_plain and not isinstance(found, bool)
        number = float(found) if is_told else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    is_number = math.isfinite(number)
    return number if is_number else Drop("not_number", f"rating is a {type(found).__name__}")


def _vector(found: object) -> npt.NDArray[np.float32] | Drop | None:
    """A row's vector, as `embed` gives it; null without one."""
    if found is None:
        return None
    if isinstance(found, list) and found and all(type(one) in (int, float) for one in found):
        with np.errstate(over="ignore"), contextlib.suppress(OverflowError):
            vector = np.array([float(one) for one in found]).astype(np.float32)
            if np.isfinite(vector).all():
                return vector
    return Drop("no_vector", f"embedding is a {type(found).__name__}, not a list of finite numbers")


MEASURES: dict[Target, Callable[[object], Any]] = {"rating": _rating, "embedding": _vector}
"""How numbers that rows were given elsewhere are read."""
BESIDE: dict[Target, Callable[[object], Any]] = {
    "reference": _reference,
    "reasoning": _reasoning,
    **MEASURES,
}
"""How all that stands beside a row's texts is read."""


def _answers(found: dict[str, Any], names: tuple[str, ...]) -> list[dict[str, str]] | Drop:
    """The answers of a row that are there, each with its field's name."""
    answers: list[dict[str, str]] = []
    for name in names:
        text = found.get(name)
        if not text:
            continue
        if _are_turns(text):
            turns = turns_of(text)
            if isinstance(turns, Drop):
                return Drop(turns.reason, f"{name}: {turns.detail}")
            if (text := only_answer(turns)) is None:
                return Drop("not_one_answer", f"{name} has {len(turns)} turns")
        if not isinstance(text, str):
            return Drop("not_text", f"{name} is a {type(text).__name__}")
        if not is_unicode(text):
            return Drop("not_text", f"{name} is not valid Unicode")
        answers.append({"source": name, "text": text})
    return answers


def _fields(found: dict[str, Any], names: tuple[str, ...]) -> list[dict[str, str | None]] | Drop:
    """The fields of labelled data as texts; a list, of words or of their tags, as JSON."""
    fields: list[dict[str, str | None]] = []
    for name in names:
        value = found.get(name)
        if isinstance(value, str):
            if not is_unicode(value):
                return Drop("not_text", f"{name} is not valid Unicode")
        elif value is not None:
            if not _is_plain(value):
                return Drop("not_text", f"{name} is a {type(value).__name__}")
            value = json.dumps(value, ensure_ascii=False)
            if not is_unicode(value):
                return Drop("not_text", f"{name} is not valid Unicode")
        fields.append({"name": name, "text": value})
    return fields


def _is_plain(value: object) -> bool:
    """Whether a value is a number, true or false, or a list of these and of texts."""
    if isinstance(value, list):
        return all(isinstance(one, str | int | float) for one in value)
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return isinstance(value, bool | int | float) and is_finite


def _no_fields(row: Row) -> Drop:
    return _drop(Drop("no_fields", "nothing in any of import.fields"), row)


def row_of(number: int, item: int, how: Reading) -> Row:
    """What is known of a row before it is read: its id, its root and where it comes from."""
    return {
        "row_id": f"import-{number:06d}-{item:02d}",
        "origin": "import",
        "source": how.source,
        "license": how.license,
        "root_id": f"import-{number:06d}-00",
    }


def _checked(row: Row, needed: Target = "instruction") -> Row | Drop:
    """The row, or a `Drop` where a text of it is none or the one that is needed is empty."""
    for name in TEXTS:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            return _drop(Drop("not_text", f"{name} is a {type(value).__name__}"), row)
        if value is not None and not is_unicode(value):
            return _drop(Drop("not_text", f"{name} is not valid Unicode"), row)
    if not (row[needed] or "").strip():
        return _drop(Drop(f"empty_{needed}"), row)
    return row


def _drop(why: Drop, row: Row) -> Drop:
    """The same drop with the texts of the row, those that can be written."""
    held = {
        name: value
        for name, value in row.items()
        if value is None
        or name in ("messages", "answers", "fields")
        or (isinstance(value, str) and is_unicode(value))
    }
    return Drop(why.reason, why.detail, row=held)


def _of_conversation(number: int, found: object, row: Row, how: Reading) -> list[Row | Drop]:
    messages = messages_of(found)
    if isinstance(messages, Drop):
        return [_drop(messages, row)]
    if how.turns == "user":
        return [
            _checked(
                row
                | {"row_id": f"import-{number:06d}-{item:02d}"}
                | {"instruction": turn, "input": None, "output": None}
            )
            for item, turn in enumerate(user_turns(messages))
        ]
    instruction, output = first_exchange(messages)
    row |= {"instruction": instruction, "input": None, "output": output}
    if not is_one_exchange(messages):
        row["messages"] = messages
    return [_checked(row)]


def _are_turns(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(one, dict) for one in found)


def _of_turns(number: int, row: Row, how: Reading) -> list[Row | Drop]:
    """A prompt and its answers of which some are texts and some turns: one conversation.

    A second answer is `other_output` where the row is one question, which both answer.
    """
    if row["input"]:
        return [_drop(Drop("not_text", "input stands beside turns"), row)]
    parts: list[list[Message]] = []
    names: tuple[Target, ...] = ("instruction", "output", "other_output")
    for name in names:
        part = _turns(row[name], name)
        if isinstance(part, Drop):
            return [_drop(part, row)]
        parts.append(part)
    prompt, answer, other = parts
    whole = answered(prompt, answer)
    is_one = len(user_turns(whole)) == 1
    row["other_output"] = only_answer(answered(prompt, other)) if is_one and other else None
    return _of_conversation(number, whole, row, how)


def _turns(found: object, name: Target) -> list[Message] | Drop:
    """A text as the one turn that it is, turns as they are; none of what is not there."""
    if found is None or found == "":
        return []
    if isinstance(found, str):
        role = "user" if name == "instruction" else "assistant"
        return turns_of([{"role": role, "content": found}])
    if isinstance(found, list):
        turns = turns_of(found)
        return Drop(turns.reason, f"{name}: {turns.detail}") if isinstance(turns, Drop) else turns
    return Drop("not_text", f"{name} is a {type(found).__name__}")


def _of_instances(number: int, found: dict[str, Any], row: Row, how: Reading) -> list[Row | Drop]:
    row["instruction"] = found.get(how.shape.fields["instruction"])
    instances = found.get(how.shape.fields["instances"])
    if not isinstance(instances, list) or not instances:
        detail = f"instances is a {type(instances).__name__}, not a list with some"
        return [_drop(Drop("no_instance", detail), row)]
    rows: list[Row | Drop] = []
    for item, instance in enumerate(instances):
        one = row | {"row_id": f"import-{number:06d}-{item:02d}"}
        if isinstance(instance, dict):
            texts = {"input": instance.get("input"), "output": instance.get("output")}
            rows.append(_checked(one | texts))
        else:
            rows.append(_drop(Drop("no_instance", f"a {type(instance).__name__}"), one))
    return rows


STAGE = ImportStage(
    name="import",
    version=4,
    summary="take rows in from a finished run or from files (--input)",
    config=Config,
    read=read,
    writes=("row_id", "origin", "source", "license", "root_id", *TEXTS, "messages"),
)
