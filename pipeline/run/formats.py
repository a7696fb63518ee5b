"""The files of templates that a recipe's stages render with, found, read and held against rows."""

from __future__ import annotations

import difflib
from pathlib import Path

from pipeline import format_templates
from pipeline.errors import Problems, RecipeError, SynthError
from pipeline.format_templates import FOLDER, FormatFile
from pipeline.recipe import Recipe, Step
from pipeline.run.source import Source
from pipeline.stage import RenderStage
from pipeline.stages import export, format_settings
from pipeline.stages.heuristic_values import HEURISTICS
from pipeline.stages.row_values import COLUMNS, DERIVED, TAGGED

BESIDE = ("text",)
"""Variables that a row has under another name, if under none of its own."""
MADE_OF: dict[str, tuple[str, ...]] = {
    "choices": ("label",),
    **dict.fromkeys(TAGGED, ("tokens", "tags")),
    **dict.fromkeys(HEURISTICS, ("text",)),
}
"""The variables that others are worked out of."""


def find_formats(
    found: Recipe, folder: Path | None, copies: Path | None, problems: Problems
) -> dict[str, FormatFile]:
    """Every file of templates that a recipe names, by its name; what is wrong goes to `problems`.

    They are looked for in `folder`, which its `prompts` names, in `copies`, a run's own, where that
    is not there any more, and in the package.
    """
    place = folder if folder is not None and folder.is_dir() else copies if folder else None
    files: dict[str, FormatFile] = {}
    for step in found.steps:
        if not isinstance(step.stage, RenderStage):
            continue
        for task in step.stage.files(step.config):
            names = format_templates.names_of(task, place)
            if not names:
                problems.add(_unknown(step, task))
            for name in names:
                try:
                    files[name] = format_templates.load(name, place)
                except SynthError as error:
                    problems.add(error)
        _check_held_out(found, step, problems)
        _check_named(step, files, problems)
    return files


def names_for(step: Step, files: dict[str, FormatFile]) -> tuple[str, ...]:
    """The files that a step renders with."""
    if not isinstance(step.stage, RenderStage):
        return ()
    tasks = step.stage.files(step.config)
    return tuple(name for name in files if _task(name) in tasks)


def _unknown(step: Step, task: str) -> RecipeError:
    known = format_templates.tasks()
    near = difflib.get_close_matches(task, known, n=1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    return RecipeError(
        f"{step.name}.tasks: there are no templates {task!r}; {hint} {', '.join(known)}. Those of "
        f"your own are FOLDER/{FOLDER}/{task}.md, with  prompts: FOLDER  in the recipe."
    )


def _check_held_out(found: Recipe, step: Step, problems: Problems) -> None:
    """What export puts into validation must not be shown in rows that a model is trained on."""
    config = step.config
    if not isinstance(config, format_settings.Config) or not config.with_demonstrations:
        return
    for other in found.steps:
        if isinstance(other.config, export.Config) and other.config.validation > config.held_out:
            problems.add(
                RecipeError(
                    f"{step.name} may show rows that {other.name} puts into validation: set "
                    f"{step.name}.held_out to {other.config.validation:g} or more (it is "
                    f"{config.held_out:g})."
                )
            )


def _check_named(step: Step, files: dict[str, FormatFile], problems: Problems) -> None:
    """A variable that is named and that no template is given was meant for another one."""
    config = step.config
    if not isinstance(config, format_settings.Config):
        return
    read = [files[name] for name in names_for(step, files) if _task(name) in config.tasks]
    if {_task(file.name) for file in read} < set(config.tasks):
        return  # what is not there has been said
    used = {name for file in read for one in file.templates for name in one.used}
    used |= {name for one in used for name in MADE_OF.get(one, ())}
    for setting in ("fields", "values"):
        for variable in sorted(getattr(config, setting).keys() - used):
            why = (
                f"no template of {', '.join(config.tasks)} uses {variable!r}; they use "
                f"{', '.join(sorted(used))}"
                if config.tasks
                else f"it is given to templates, and no tasks are named (--set {step.name}.tasks)"
            )
            problems.add(RecipeError(f"{step.name}.{setting}.{variable}: {why}."))


def _task(name: str) -> str:
    """The task that a file of templates is of."""
    return name.partition(".")[0]


def check_fields(
    found: Recipe,
    files: dict[str, FormatFile],
    source: Source | None,
    columns: list[tuple[str, ...]],
    problems: Problems,
) -> None:
    """What templates are given has to be there, as far as that can be told before rows are read."""
    for index, step in enumerate(found.steps):
        config = step.config
        if not isinstance(config, format_settings.Config) or not index:
            continue
        there = set(columns[index - 1])
        own = set(source.given.fields or ()) if source is not None and source.given else None
        if "fields" not in there:
            own = set()
        known = None if own is None else own | (there & set(COLUMNS))
        if config.with_steps and known is not None and config.rationale not in {*known, *COLUMNS}:
            problems.add(
                RecipeError(
                    f"{step.name}.rationale: rows have no field {config.rationale!r}{_has(known)}"
                )
            )
        for variable, stored_as in config.fields.items():
            if known is not None and stored_as not in known:
                problems.add(
                    RecipeError(
                        f"{step.name}.fields.{variable}: rows have no field {stored_as!r}"
                        f"{_has(known)}"
                    )
                )
        for name in names_for(step, files):
            if _task(name) in config.tasks and known is not None:
                _check_variables(step, files[name], known, problems)


def _check_variables(step: Step, file: FormatFile, known: set[str], problems: Problems) -> None:
    """A file of which no template can be given all that it uses renders no row."""
    config = step.config
    assert isinstance(config, format_settings.Config)
    given = known | set(DERIVED) | set(BESIDE) | config.fields.keys() | config.values.keys()
    lacking = [one.used - given for one in file.templates if one.form in config.forms]
    if not lacking or any(not names for names in lacking):
        return
    names = min((sorted(one) for one in lacking), key=lambda one: (len(one), one))
    problems.add(
        RecipeError(
            f"{step.name}: the templates of {file.name} use {', '.join(map(repr, names))}, and "
            f"rows have no such field{_has(known)} Name the fields of the file with  --set "
            f"'import.fields=[...]', and which is which with  --set '{step.name}.fields={{...}}'."
        )
    )


def _has(known: set[str]) -> str:
    return f"; they have {', '.join(sorted(known))}." if known else "."
