"""A run's rows as Hugging Face `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import InputError, RecipeError
from pipeline.extras import pip_line

if TYPE_CHECKING:
    from datasets import DatasetDict

    from pipeline.inspect import Run

CONFIGS = ("messages", "alpaca")


def of_run(run: Run, config: str) -> DatasetDict:
    """The exported splits, or, of a run that exported nothing, its kept rows as `train`."""
    try:
        import datasets
    except ImportError as error:
        raise RecipeError(f"the package datasets is not installed: {pip_line('data')}.") from error
    if config not in CONFIGS:
        raise InputError(f"there is no config {config!r}; there are {', '.join(CONFIGS)}.")
    if not run.manifest.data:
        return datasets.DatasetDict(train=datasets.Dataset.from_polars(run.kept()))
    files: dict[str, list[str]] = {}
    for entry in run.manifest.data:
        folder, _, name = entry.path.rpartition("/")
        if folder.endswith(config):
            files.setdefault(name.partition("-")[0], []).append(str(run.path / entry.path))
    if not files:
        raise InputError(f"{run.path} has not exported {config}.")
    return datasets.DatasetDict(
        {split: datasets.Dataset.from_parquet(paths) for split, paths in files.items()}
    )
