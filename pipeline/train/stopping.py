"""When a training is to end early: once measurements on rows held out bring nothing better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.train.groups import Stopping

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def has_stalled(log: Sequence[Mapping[str, Any]], stopping: Stopping) -> bool:
    """Whether the last `patience` measurements of a log were all no better than one before them.

    >>> told = [{"eval_loss": loss} for loss in (3.0, 2.0, 2.0, 2.1)]
    >>> has_stalled(told, Stopping(patience=2)), has_stalled(told, Stopping(patience=3))
    (True, False)
    """
    best, since = float("inf"), 0
    for entry in log:
        if "eval_loss" in entry:
            is_better = entry["eval_loss"] < best - stopping.least
            best, since = (entry["eval_loss"], 0) if is_better else (best, since + 1)
    return since >= stopping.patience


def stopper(stopping: Stopping) -> TrainerCallback:
    """Ends a training that has stalled; it looks at the log, which a checkpoint keeps."""
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def on_train_begin(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **_: object,
        ) -> None:
            if state.best_model_checkpoint:  # the run's folder may have another name by now
                name = Path(state.best_model_checkpoint).name
                state.best_model_checkpoint = str(Path(str(args.output_dir)) / name)

        def on_evaluate(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **_: object,
        ) -> None:
            if has_stalled(state.log_history, stopping):
                control.should_training_stop = True

    return Stopper()


def told_of_end(state: TrainerState, steps: int) -> str:
    """What is said of where a training ended, and of which step the model is."""
    best = str(state.best_model_checkpoint).rpartition("-")[2]
    if state.global_step < steps:
        how = f"It ended after step {state.global_step} of {steps}: nothing better came any more"
    else:
        how = f"All {steps} steps were taken"
    return (
        f"{how}; the model is that of step {best}, with a held-out loss of {state.best_metric:.4f}."
    )
