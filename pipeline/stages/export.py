"""Render the kept rows as a data set for other programs.

`data/` becomes a dataset repository with two configurations: `messages` (the default: a list of
role and content) and `alpaca` (instruction, input, output), and where it is asked for a third,
`completion` (prompt, completion), each split into train and validation by root task, so that no row
is on another side than the task that it descends from. Where rows have a place in a curriculum
(`order`), it goes with them; where they stand several times in a mixture (`mix`), they are written
as often, one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.stage import DECISION, ExportStage, Row, Settings, StageConfig
from pipeline.stages.conversations import whole_conversation
from pipeline.stages.finetune_encoding import END, encode, rewrite_colon

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMAS = {
    "messages": pa.schema([("messages", pa.list_(MESSAGE)), ("row_id", pa.string())]),
    "alpaca": pa.schema(
        [(name, pa.string()) for name in ("instruction", "input", "output", "row_id")]
    ),
}
COMPLETION = pa.schema([(name, pa.string()) for name in ("prompt", "completion", "row_id")])
"""What base models are tuned on; written only where the setting says how."""

CARRIED = "curriculum"
"""What goes along where rows have it."""
READ_TOO = ("messages", "copies", CARRIED)


class Card(Settings):
    """What the card says that the run cannot know: the licence of the whole, and of own seeds."""

    license: Annotated[str | None, Field(min_length=1, max_length=100), DECISION] = None
    seeds_license: Annotated[str | None, Field(min_length=1, max_length=100), DECISION] = None


class Config(StageConfig):
    """Settings of `export`: the share of root tasks that goes to validation, and other forms.

    `completion` writes prompts and completions too, laid out as Self-Instruct does: each row in a
    layout that is drawn for it, or all in a fixed one; `end` closes each completion (null:
    <|endoftext|>). Of a share of rows, `colon_rewrite`, the input loses the name of its field in
    these, of one half there: it damages addresses and ratios, so that it is off. `card` is what the
    card in `data/` says of licences.
    """

    validation: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.05
    completion: Annotated[Literal["drawn", "fixed"] | None, DECISION] = None
    end: Annotated[str | None, DECISION] = None
    colon_rewrite: Annotated[float | None, Field(ge=0, le=1), DECISION] = None
    card: Card | None = None


DEFAULT = Config()


def schemas(columns: Collection[str], config: Config | None = None) -> dict[str, pa.Schema]:
    """The forms that are written of rows with these columns; without a `config` all there are."""
    with_completion = config is None or config.completion is not None
    forms = SCHEMAS | ({"completion": COMPLETION} if with_completion else {})
    carried = [pa.field(CARRIED, pa.int64())] if CARRIED in columns else []
    return {form: pa.schema([*schema, *carried]) for form, schema in forms.items()}


def side_number(root_id: str, seed: int) -> float:
    """A hash of run seed and root task, 0 to 1: below the share of validation it is there."""
    digest = hashlib.blake2b(f"{seed}:{root_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def split(root_id: str, seed: int, config: Config) -> str:
    """Whether a root task's rows are for "train" or "validation"."""
    return "validation" if side_number(root_id, seed) < config.validation else "train"


def renderings(row: Row, form: str, config: Config = DEFAULT, seed: int = 0) -> list[Row]:
    """A row in one form, with its place in a curriculum, as often as it is in the mixture."""
    found = render(row, form, config, seed)
    if CARRIED in row:
        found[CARRIED] = row[CARRIED]
    copies = row.get("copies")
    return [found] * (1 if copies is None else copies)


def render(row: Row, form: str, config: Config = DEFAULT, seed: int = 0) -> Row:
    """One row in the form "messages", a conversation whole, "alpaca" or "completion".

    In all but the first a conversation is its first exchange. Draws are of the seed and the id.
    """
    if form == "completion":
        return _completion(row, config, seed)
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


def _completion(row: Row, config: Config, seed: int) -> Row:
    given = row["input"] or ""
    if side_number(f"colon:{row['row_id']}", seed) < (config.colon_rewrite or 0):
        given = rewrite_colon(given)
    number = int(side_number(f"layout:{row['row_id']}", seed) * 2**32)
    prompt, completion = encode(
        row["instruction"] or "",
        given,
        row["output"] or "",
        layout=None if config.completion == "fixed" else number,
        end=END if config.end is None else config.end,
    )
    return {"prompt": prompt, "completion": completion, "row_id": row["row_id"]}


STAGE = ExportStage(
    name="export",
    version=1,
    summary="write data/ as a dataset repository: messages and alpaca, train and validation",
    config=Config,
    reads=("row_id", "root_id", "instruction", "input", "output"),
)
