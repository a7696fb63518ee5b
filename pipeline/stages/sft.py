"""Fine-tune a model on the rows: an adapter, or all of its weights.

Every row that is left is trained on, those of validation apart (the same ones as `export` holds
out); a row that cannot be learned from is dropped and says why. What comes out is `model/` in the
run. The training itself is TRL's, in a process of its own (`pipeline.train.sft`).
"""

from __future__ import annotations

from typing import Any

from pipeline.stage import Row, TrainStage
from pipeline.stages import export
from pipeline.train.settings import Config

READ = ("row_id", "root_id", "instruction", "input", "output")


def turns(row: Row) -> list[dict[str, str]]:
    """The conversation that a row is learned as; its last turn is an answer."""
    return list(export.render(row, "messages")["messages"])


def is_held_out(row: Row, config: Any, seed: int) -> bool:  # noqa: ANN401 - this stage's
    """Whether a row is for validation: with its whole root task, as in the exported data."""
    return bool(export.side_number(row["root_id"] or row["row_id"], seed) < config.validation)


def phases(row: Row, config: Config) -> list[int]:
    """The phases that take a row: those of whose columns it has the values; from 0."""
    return [
        number
        for number, phase in enumerate(config.phases or ())
        if all(row.get(column) in values for column, values in phase.where.items())
    ]


def reads(config: Config) -> tuple[str, ...]:
    """The texts, what a curriculum sorts by, and what the phases look at."""
    by = () if config.curriculum is None else (config.curriculum.by,)
    where = (column for phase in config.phases or () for column in phase.where)
    return tuple(dict.fromkeys((*READ, *by, *where)))


def files(config: Config) -> tuple[str, ...]:
    """The file of plain text."""
    return () if config.plain is None else (config.plain.file,)


STAGE = TrainStage(
    name="sft",
    version=1,
    summary="fine-tune a model on the rows: LoRA and its kin, prompts, or all weights",
    config=Config,
    turns=turns,
    is_held_out=is_held_out,
    phases=phases,
    reads=reads,
    may_read=("messages", "curriculum", "copies"),
    files=files,
    writes=("tokens", "learned_tokens", "held_out"),
)
