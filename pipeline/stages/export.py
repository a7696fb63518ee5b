"""Render the kept rows as a data set for other programs.

`data/` becomes a dataset repository with two configurations: `messages` (the default: a list of
role and content) and `alpaca` (instruction, input, output), each split into train and validation by
root task, so that no row is on another side than the task that it descends from. Where rows have
a place in a curriculum (`order`), it goes with them; where they stand several times in a mixture
(`mix`), they are written as often, one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from pipeline.stage import DECISION, ExportStage, Row, StageConfig
from pipeline.stages.conversations import whole_conversation

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMAS = {
    "messages": pa.schema([("messages", pa.list_(MESSAGE)), ("row_id", pa.string())]),
    "alpaca": pa.schema(
        [(name, pa.string()) for name in ("instruction", "input", "output", "row_id")]
    ),
}

CARRIED = "curriculum"
"""What goes along where rows have it."""
READ_TOO = ("messages", "copies", CARRIED)


def schemas(columns: Collection[str]) -> dict[str, pa.Schema]:
    """The columns of each form, of rows that have `columns`."""
    carried = [pa.field(CARRIED, pa.int64())] if CARRIED in columns else []
    return {form: pa.schema([*schema, *carried]) for form, schema in SCHEMAS.items()}


class Config(StageConfig):
    """Settings of `export`: the share of root tasks that goes to validation."""

    validation: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.05


def split(root_id: str, seed: int, config: Config) -> str:
    """Whether a root task's rows are for "train" or "validation": a hash of run seed and root."""
    digest = hashlib.blake2b(f"{seed}:{root_id}".encode(), digest_size=8).digest()
    return "validation" if int.from_bytes(digest) / 2**64 < config.validation else "train"


def renderings(row: Row, form: str) -> list[Row]:
    """A row in one form, with its place in a curriculum, as often as it is in the mixture."""
    found = render(row, form)
    if CARRIED in row:
        found[CARRIED] = row[CARRIED]
    copies = row.get("copies")
    return [found] * (1 if copies is None else copies)


def render(row: Row, form: str) -> Row:
    """One row in the form "messages", a conversation whole, or "alpaca"."""
    if form == "alpaca":
        return {name: row[name] or "" for name in ("instruction", "input", "output", "row_id")}
    if turns := whole_conversation(row):
        return {"messages": turns, "row_id": row["row_id"]}
    asked = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": row["output"] or ""},
    ]
    return {"messages": messages, "row_id": row["row_id"]}


STAGE = ExportStage(
    name="export",
    version=1,
    summary="write data/ as a dataset repository: messages and alpaca, train and validation",
    config=Config,
    reads=("row_id", "root_id", "instruction", "input", "output"),
)
