"""The templates of a recipe: found, read, and held against what each stage gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import templates
from pipeline.errors import Problems, RecipeError, SynthError
from pipeline.recipe import Recipe, Step
from pipeline.run.places import is_there, said_of
from pipeline.stage import ChainStage, prompts_of


def find_prompts(
    found: Recipe, folders: Sequence[Path], copies: Path | None, problems: Problems
) -> dict[str, templates.Template]:
    """Every template that the recipe asks with, by name; what is wrong goes to `problems`.

    `folders` are where its paths begin, `copies` is the folder of a run's own, for where the
    templates are there no more.
    """
    named = found.settings.prompts
    folder = Path(named) if named else None
    if named and not is_there(named):
        folder = copies
        if copies is None:
            problems.add(RecipeError(f"prompts: {said_of(named, folders)} is not a folder."))
    elif folder is not None and not folder.is_dir():
        problems.add(RecipeError(f"prompts: {folder} is not a folder."))
    prompts = {}
    for step in found.steps:
        for name in prompts_of(step.stage, step.config):
            try:
                prompts[name] = templates.load(name, folder)
            except SynthError as error:
                problems.add(error)
    for step in found.steps:
        for name, given in _given(step):
            if name in prompts:
                _check_given(step, prompts[name], given, problems)
    return prompts


def _given(step: Step) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a step gives to each of its templates: what its settings name, then our own.

    Our own templates use all that their stage gives them, and a test holds them to it.
    """
    named = step.stage.named(step.config) if isinstance(step.stage, ChainStage) else ()
    yield from named
    for name in prompts_of(step.stage, step.config)[len(named) :]:
        yield name, templates.load(name).variables


def _check_given(
    step: Step, template: templates.Template, given: tuple[str, ...], problems: Problems
) -> None:
    """A name that is given no value would end the run at the first request, with rows in it."""
    if unknown := [name for name in template.variables if name not in given]:
        problems.add(
            RecipeError(
                f"{template.where}: the text uses {', '.join(map(repr, unknown))}, and "
                f"{step.name} gives this template {', '.join(given)}. Take it out of the text and "
                "of the header's variables, or name another template."
            )
        )
