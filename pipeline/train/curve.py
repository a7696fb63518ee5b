"""The curve of a training, one JSON object a line for each step that was logged, and what it says.

A training that was killed goes on from a checkpoint: what was logged after that is taken out, so
that each step stands there once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.child_process import Tell
from pipeline.durable import replacing
from pipeline.train.settings import MOST_BITS

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

TOO_MUCH = (
    "The data holds about {each:.1f} bits a trainable parameter (the first epoch's summed loss "
    "over {trainable} parameters), more than the {most:g} or so that one can hold: it will not all "
    "be learned. Train more of them (sft.r, sft.method=full), or fewer rows."
)


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
            if not state.is_world_process_zero:
                return
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


def capacity(curve: Path, first_seen: Sequence[float], tell: Tell) -> TrainerCallback:
    """Warns once the first epoch's summed loss says that the data holds more than weights can.

    Allen-Zhu and Li 2024 ("Knowledge Capacity Scaling Laws", arXiv:2404.05405) find two bits a
    parameter; what a token adds to that is its loss when it is first seen. `first_seen` are the
    tokens that each step of the first epoch learns.
    """
    from transformers import TrainerCallback

    class Capacity(TrainerCallback):
        def on_step_end(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **_: object,
        ) -> None:
            if state.global_step == len(first_seen):
                control.should_log = True

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            model: Any = None,  # noqa: ANN401 - whatever is trained
            logs: dict[str, float] | None = None,
            **_: object,
        ) -> None:
            is_time = state.global_step == len(first_seen) and "loss" in (logs or {})
            if not is_time or not state.is_world_process_zero:
                return
            trainable = sum(one.numel() for one in model.parameters() if one.requires_grad)
            each = bits(curve, first_seen) / trainable
            if each > MOST_BITS:
                tell({"said": TOO_MUCH.format(each=each, most=MOST_BITS, trainable=trainable)})

    return Capacity()


def bits(curve: Path, first_seen: Sequence[float]) -> float:
    """The loss of all tokens when they were first seen, in bits, from the means in a curve."""
    total, last = 0.0, 0
    for line in curve.read_text(encoding="utf-8").splitlines():
        logged = json.loads(line)
        if "loss" in logged:
            total += logged["loss"] * sum(first_seen[last : logged["step"]])
            last = logged["step"]
    return total / math.log(2)


def cut(curve: Path, *, after: int) -> None:
    """Take out what was logged after the checkpoint that the training goes on from."""
    if curve.is_file():
        lines = curve.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = (line for line in lines if line.endswith("\n"))  # a kill may have cut the last
        kept = "".join(line for line in whole if json.loads(line)["step"] <= after)
        with replacing(curve) as file:
            file.write(kept.encode())


def mean_loss(curve: Path) -> float:
    """The mean over all steps; what `train` gives is that of the steps since the last start."""
    total, last = 0.0, 0
    for line in curve.read_text(encoding="utf-8").splitlines():
        logged = json.loads(line)
        if "loss" in logged:
            total += logged["loss"] * (logged["step"] - last)
            last = logged["step"]
    return total / last
