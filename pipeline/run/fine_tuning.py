"""What a fine-tuning reads beside its rows' texts, looked at before anything runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from pipeline.errors import Problems, RecipeError, SynthError
from pipeline.recipe import Recipe
from pipeline.schema import COLUMNS
from pipeline.stage import TrainStage
from pipeline.stages import export
from pipeline.train import plain
from pipeline.train.settings import Config


def check_fine_tuning(found: Recipe, problems: Problems) -> None:
    """Plain text has to be there, and columns be of the kind that is looked for in them."""
    for step in found.steps:
        if not isinstance(step.stage, TrainStage):
            continue
        assert isinstance(step.config, Config)
        if step.config.plain is not None:
            try:
                plain.check(Path(step.config.plain.file))
            except SynthError as error:
                problems.add(RecipeError(f"{step.name}.plain.file: {error}"))
            if found.settings.mask:
                problems.add(
                    RecipeError(
                        f"{step.name}.plain and mask: rows are masked, and plain text is learned "
                        "as it stands; mask it before and leave 'mask' out, or leave it out."
                    )
                )
        if step.config.tensorboard and find_spec("tensorboard") is None:
            problems.add(
                RecipeError(f"{step.name}.tensorboard needs tensorboard: pip install tensorboard.")
            )
        group = step.config.distributed
        if group is not None and group.strategy == "deepspeed" and find_spec("deepspeed") is None:
            problems.add(
                RecipeError(
                    f"{step.name}.distributed.strategy=deepspeed needs deepspeed: pip install "
                    "deepspeed, or set 'fsdp'."
                )
            )
        _check_columns(step.name, step.config, problems)
        _check_export(found, step.name, step.config, problems)


def _check_export(found: Recipe, name: str, config: Config, problems: Problems) -> None:
    """Rows are held out from the training and from `data/train` alike: `data/` says which."""
    for step in found.steps:
        if isinstance(step.config, export.Config) and step.config.validation != config.validation:
            problems.add(
                RecipeError(
                    f"{name}.validation is {config.validation:g} and {step.name}.validation is "
                    f"{step.config.validation:g}: what data/ holds out would be other rows than "
                    f"the model was not trained on. Set both alike, as in  --set "
                    f"{step.name}.validation={config.validation:g}"
                )
            )


def _check_columns(name: str, config: Config, problems: Problems) -> None:
    by = None if config.curriculum is None else config.curriculum.by
    if by in COLUMNS and not _is_number(COLUMNS[by].type):
        problems.add(RecipeError(f"{name}.curriculum: column {by!r} holds no numbers to sort by."))
    for column in {column for phase in config.phases or () for column in phase.where}:
        if column in COLUMNS and not pa.types.is_string(COLUMNS[column].type):
            problems.add(
                RecipeError(f"{name}.phases: column {column!r} holds no text to look for.")
            )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
