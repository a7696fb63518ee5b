"""The curve of a training, one JSON object a line for each step that was logged, and what it says.

A training that was killed goes on from a checkpoint: what was logged after that is taken out, so
that each step stands there once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Tell = Callable[[dict[str, Any]], None]


def teller(curve: Path, steps: int, tell: Tell) -> TrainerCallback:
    """Writes the curve, and tells each step."""
    from transformers import TrainerCallback

    class Teller(TrainerCallback):
        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float] | None = None,
            **_: object,
        ) -> None:
            with curve.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")

        def on_step_end(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **_: object,
        ) -> None:
            tell({"step": state.global_step, "steps": steps})
            # a loss is the mean since the one before, and after a start since that start
            if state.global_step % args.save_steps == 0 or state.global_step == steps:
                control.should_log = True

    return Teller()


def cut(curve: Path, *, after: int) -> None:
    """Take out what was logged after the checkpoint that the training goes on from."""
    if curve.is_file():
        lines = curve.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = (line for line in lines if line.endswith("\n"))  # a kill may have cut the last
        kept = "".join(line for line in whole if json.loads(line)["step"] <= after)
        curve.write_text(kept, encoding="utf-8")


def mean_loss(curve: Path) -> float:
    """The mean over all steps; what `train` gives is that of the steps since the last start."""
    total, last = 0.0, 0
    for line in curve.read_text(encoding="utf-8").splitlines():
        logged = json.loads(line)
        if "loss" in logged:
            total += logged["loss"] * (logged["step"] - last)
            last = logged["step"]
    return total / last
