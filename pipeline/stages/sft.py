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


def turns(row: Row) -> list[dict[str, str]]:
    """The conversation that a row is learned as; its last turn is an answer."""
    return list(export.render(row, "messages")["messages"])


def is_held_out(row: Row, config: Any, seed: int) -> bool:  # noqa: ANN401 - this stage's
    """Whether a row is for validation: with its whole root task, as in the exported data."""
    return bool(export.side_number(row["root_id"] or row["row_id"], seed) < config.validation)


STAGE = TrainStage(
    name="sft",
    version=1,
    summary="fine-tune a model on the rows: LoRA and its kin, prompts, or all weights",
    config=Config,
    turns=turns,
    is_held_out=is_held_out,
    reads=("row_id", "root_id", "instruction", "input", "output"),
    may_read=("messages", "curriculum"),
    writes=("tokens", "learned_tokens", "held_out"),
)
