"""Which columns each stage of a recipe has, and whether each finds those that it reads."""

from __future__ import annotations

import itertools

from pipeline.errors import Problems, RecipeError
from pipeline.recipe import Recipe
from pipeline.run.source import Source
from pipeline.schema import in_order
from pipeline.stage import DraftStage, ExportStage, ImportStage, columns_read, columns_written
from pipeline.stages import STAGES, read_input

FEW = 3  # stages that are named; a text that more of them write is mostly in the data


def columns_of_steps(
    found: Recipe, source: Source | None, problems: Problems
) -> list[tuple[str, ...]]:
    """The columns of each step's shards; a step that reads what nothing wrote is a problem."""
    first = found.steps[0].config
    there: tuple[str, ...] = source.columns if source else ()
    if source is None and isinstance(first, read_input.Config) and first.sets:
        there = ("data_set",)  # a set that cannot be opened is a problem of its own
    columns = []
    for index, step in enumerate(found.steps):
        is_source = isinstance(step.stage, DraftStage | ImportStage)
        if is_source and index > 0:
            problems.add(
                RecipeError(f"stage {index + 1} {step.name} starts a recipe: put it first.")
            )
        elif not is_source and index == 0:
            problems.add(
                RecipeError(
                    f"stage 1 {step.name} has no rows to work on: put 'bootstrap' before it, or "
                    "start from data with --input."
                )
            )
        elif not is_source:
            for column in columns_read(step.stage, step.config):
                if column not in there:
                    problems.add(
                        RecipeError(
                            f"stage {index + 1} {step.name} reads column {column!r}, and nothing "
                            f"before it writes it. {_remedy(column)}"
                        )
                    )
        if not (isinstance(step.stage, ImportStage) and source and source.shards):
            # rows of a run keep the columns that they have
            there = in_order((*there, *columns_written(step.stage, step.config)))
        if found.settings.mask:
            there = in_order((*there, "masked"))
        columns.append(there)
    for earlier, later in itertools.pairwise(found.steps):
        if isinstance(earlier.stage, ExportStage):
            problems.add(
                RecipeError(f"stage {earlier.name} ends a recipe, {later.name} is after it.")
            )
    return columns


def _remedy(column: str) -> str:
    """What is to be done where no row has a column: which stages write it, where few do."""
    writers = [
        stage.name
        for stage in STAGES
        if not isinstance(stage, DraftStage | ImportStage)
        and column in columns_written(stage, stage.config())
    ]
    if not 0 < len(writers) <= FEW:
        return "Mend the order of the stages, or start from data that has it."
    named = " or ".join(map(repr, writers))
    return f"Put {named} before it, or start from data that has it, such as a run with that stage."
