"""Take the seed tasks in as rows: the first stage of a recipe that works on rows from the start."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipeline.stage import EXTENT, Drop, ImportStage, Row, StageConfig


class Config(StageConfig):
    """Settings of `seed-tasks`: how many of the recipe's seed tasks are read; null is all."""

    rows: Annotated[int | None, Field(ge=1), EXTENT] = None


def read(number: int, found: dict[str, Any], source: str) -> list[Row | Drop]:
    """One seed task, counted from 0, as a row with its first instance."""
    row_id = f"seed-tasks-{number:06d}-00"
    row: Row = {
        "row_id": row_id,
        "origin": "seed",
        "source": source,
        "root_id": row_id,
        "instruction": found["instruction"],
        "input": found["input"],
        "output": found["output"],
        "is_classification": found["is_classification"],
    }
    return [row]


STAGE = ImportStage(
    name="seed-tasks",
    version=1,
    summary="take the seed tasks in as rows",
    config=Config,
    read=read,
    writes=(
        "row_id",
        "origin",
        "source",
        "root_id",
        "instruction",
        "input",
        "output",
        "is_classification",
    ),
)
