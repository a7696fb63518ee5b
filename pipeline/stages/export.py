"""Render the kept rows as a data set for other programs.

`data/` becomes a dataset repository with two configurations: `messages` (the default: a list of
role and content) and `alpaca` (instruction, input, output), each split into train and validation by
root task, so that no row is on another side than the task that it descends from.
"""

from __future__ import annotations

import hashlib
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


class Config(StageConfig):
    """Settings of `export`: the share of root tasks that goes to validation."""

    validation: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.05


def side_number(root_id: str, seed: int) -> float:
    """A hash of run seed and root task, 0 to 1: below the share of validation it is there."""
    digest = hashlib.blake2b(f"{seed}:{root_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def split(root_id: str, seed: int, config: Config) -> str:
    """Whether a root task's rows are for "train" or "validation"."""
    return "validation" if side_number(root_id, seed) < config.validation else "train"


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
