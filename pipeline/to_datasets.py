"""A run's rows as Hugging Face `datasets`."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

from pipeline import whole
from pipeline.errors import InputError, RecipeError
from pipeline.extras import pip_line
from pipeline.stages import export

if TYPE_CHECKING:
    from datasets import DatasetDict

    from pipeline.inspect import Run


def of_run(run: Run, config: str) -> DatasetDict:
    """The exported splits, or, of a run that exported nothing, its kept rows as `train`."""
    try:
        import datasets
    except ImportError as error:
        raise RecipeError(f"the package datasets is not installed: {pip_line('data')}.") from error
    forms = export.schemas(())
    if config not in forms:
        raise InputError(f"there is no config {config!r}; there are {', '.join(forms)}.")
    if not run.manifest.data:
        return datasets.DatasetDict(train=datasets.Dataset.from_polars(run.kept()))
    files: dict[str, list[str]] = {}
    for entry in run.manifest.data:
        _, form, name = entry.path.split("/")
        if form == config:
            whole.check(run.path / entry.path, entry.sha256, run.path)
            files.setdefault(name.partition("-")[0], []).append(str(run.path / entry.path))
    if not files:
        there = sorted({entry.path.split("/")[1] for entry in run.manifest.data})
        wants = ": its recipe has no export.completion" if config == "completion" else ""
        raise InputError(
            f"{run.path} has not exported {config}{wants}. There are {', '.join(there)}."
        )
    return datasets.DatasetDict(
        {
            # it takes what it is given for a pattern
            split: datasets.Dataset.from_parquet([glob.escape(path) for path in paths])
            for split, paths in files.items()
        }
    )
