"""What a person asked for on the command line, and the recipe that it makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import manifest, recipe
from pipeline.errors import InputError, Problems, RecipeError, SynthError
from pipeline.manifest import RunManifest
from pipeline.recipe import Recipe, Step, WrongRecipeError
from pipeline.run.places import (
    PATHS,
    find_places,
    in_working_folder,
    is_there,
    set_in_working_folder,
)
from pipeline.run.sets import sets_of
from pipeline.stage import DraftStage, ImportStage
from pipeline.stages import read_input, seed_rows

SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SIZES = "evaluate.sizes"
SEEDS_STAGE = re.compile(r"(\bstage: *)seed-tasks\b")


@dataclass(frozen=True)
class Options:
    """What a person asked for on the command line; null where nothing was said."""

    recipe: str
    out: str | None = None
    input: str | None = None
    inputs: Sequence[str] = ()  # several, each a path or NAME=PATH
    teacher: str | None = None
    judge: str | None = None
    scorer: str | None = None
    seeds: str | None = None
    settings: Sequence[str] = ()
    limit: int | None = None
    sizes: str | None = None
    made_from: str | None = None
    until: str | None = None
    may_stall: bool = False
    needs_key: bool = True
    is_replay: bool = False


def of_run(options: Options) -> Options:
    """Where a run directory stands in place of a recipe: that run's own recipe, in its folder."""
    named = Path(options.recipe)
    try:
        is_run = not recipe.is_known(options.recipe) and (named / "run.json").is_file()
    except (OSError, ValueError):
        return options  # no name of a file: who opens the recipe says so
    if not is_run:
        return options
    return replace(options, recipe=str(named / "recipe.yaml"), out=options.out or str(named))


def old_run(options: Options, problems: Problems) -> Path | None:
    """The run that this one is made from; raises what is wrong with it."""
    if options.made_from is None:
        return None
    old = Path(options.made_from)
    if not (old / "run.json").is_file():
        problems.add(InputError(f"--from {old}: there is no run in that folder."))
    if options.out is None or Path(options.out).resolve() == old.resolve():
        problems.add(RecipeError("--from makes a new run: name its folder with --out."))
    problems.raise_if_any()
    return old


def find_recipe(options: Options, old: Path | None) -> Recipe:
    """The recipe with all that was said laid over it; a built-in one comes from the run `old`.

    Raises `RecipeError` that says all that is wrong with it.
    """
    try:
        return find_places(_laid_over(options, old), folders_of(options, old))
    except WrongRecipeError as error:
        if error.rest is not None:
            error.rest = find_places(error.rest, folders_of(options, old))
        raise


def _laid_over(options: Options, old: Path | None) -> Recipe:
    problems, lost = Problems(), frozenset[str]()
    settings = {}
    for text in options.settings:
        try:
            path, value = recipe.parse_setting(text)
            settings[path] = value
        except RecipeError as error:
            problems.add(error)
            lost |= {text.partition("=")[0].strip()}
    found: Recipe | None = None
    try:
        found = _with_settings(options, old, settings)
    except WrongRecipeError as error:
        problems.add(error)
        found, lost = error.rest, lost | error.lost
    except SynthError as error:
        problems.add(error)
    if problems.errors:
        raise recipe.wrong_recipe(problems, found, lost)
    assert found is not None
    return found


def _with_settings(options: Options, old: Path | None, settings: dict[str, Any]) -> Recipe:
    for name in ("teacher", "judge", "scorer"):
        if (given := getattr(options, name)) is not None:
            settings[f"{name}.uri"] = given
    if options.seeds is not None:
        settings["seeds"] = options.seeds
    if options.input is not None:
        settings["import.path"] = options.input
    if options.inputs:
        settings["import.sets"] = named_sets(options.inputs)
    if options.sizes is not None:
        settings[SIZES] = _shares(options.sizes)
    settings |= {path: in_working_folder(settings[path]) for path in PATHS if path in settings}
    if isinstance(sets := settings.get("import.sets"), dict):
        settings["import.sets"] = {name: set_in_working_folder(one) for name, one in sets.items()}
    has_input = options.input is not None or bool(settings.get("import.sets"))
    text, where = recipe.find(options.recipe)
    if (path := _recipe_of_run(options, old)) is not None:
        text, where = path.read_text(encoding="utf-8"), str(path)
    if not has_input and options.limit is None and old is None:
        return recipe.parse(text, where=where, settings=settings)
    first = _first_step(text, where)
    config = first.config
    if isinstance(config, read_input.Config) and not (config.path or config.sets) and old:
        settings = _begun(first.name, old) | settings
    if has_input and isinstance(first.config, seed_rows.Config):
        text = SEEDS_STAGE.sub(r"\1import", text, count=1)
        first = _first_step(text, where)
    elif has_input and not isinstance(first.stage, ImportStage):
        if isinstance(first.stage, DraftStage):
            raise RecipeError(f"{where} starts from seed tasks: use --seeds, not --input.")
        text = _with_import(text)
    if options.limit is not None:
        is_generating = isinstance(first.stage, DraftStage)
        has_rows = isinstance(first.stage, DraftStage | ImportStage)
        name = first.name if has_rows else "import"
        settings[f"{name}.target" if is_generating else f"{name}.rows"] = options.limit
    return recipe.parse(text, where=where, settings=settings)


def _shares(text: str) -> list[float]:
    """The shares of `--sizes`: numbers between commas."""
    try:
        return [float(share) for share in text.split(",")]
    except ValueError as error:
        raise RecipeError(
            f"--sizes {text}: write shares of the training rows between commas, as in 0.1,0.3,1."
        ) from error


def _begun(name: str, old: Path) -> dict[str, Any]:
    """What the run `old` began with, as settings of the import of that name."""
    said = manifest.read(RunManifest, old / "run.json").input or {}
    if sets := sets_of(said):
        return {f"{name}.sets": sets}
    return {f"{name}.path": said["path"]} if said.get("path") else {}


def named_sets(inputs: Sequence[str]) -> dict[str, str]:
    """Several `--input` by name: the one that is given (NAME=PATH), else that of the file or run.

    Raises `RecipeError` where two have the same.
    """
    found: dict[str, str] = {}
    problems = Problems()
    for text in inputs:
        name, path = _named_set(text)
        if name in found:
            problems.add(
                RecipeError(
                    f"--input {text}: another data set is called {name!r} too. Give them names:  "
                    f"--input {name}-1={found[name]} --input {name}-2={path}"
                )
            )
        found[name] = path
    problems.raise_if_any()
    return found


def _named_set(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if equals and SET_NAME.fullmatch(name) and path and not is_there(text):
        return name, path
    whole = Path(text)
    run, _, stage = whole.name.rpartition(":")
    base = run if stage and run and not whole.exists() else whole.name
    plain = base.partition(".")[0] if Path(base).suffix else base
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-") or "data", text


def _first_step(text: str, where: str) -> Step:
    """The first stage of a recipe; what is wrong elsewhere in it is said once all is laid over."""
    try:
        return recipe.parse(text, where=where).steps[0]
    except WrongRecipeError as error:
        if error.rest is None or "stages" in error.lost:
            raise
        return error.rest.steps[0]


def _recipe_of_run(options: Options, old: Path | None) -> Path | None:
    """The recipe of the run `old`, where it stands in place of a built-in one.

    So it does in place of a stage alone, where the run took rows in for that stage alone.
    """
    if old is None or not recipe.is_known(options.recipe):
        return None
    is_builtin = options.recipe in recipe.builtin_names()
    if not is_builtin:
        stages = manifest.read(RunManifest, old / "run.json").identity.get("stages")
        if stages != [read_input.STAGE.name, options.recipe]:
            return None
    return old / "recipe.yaml"


def folders_of(options: Options, old: Path | None) -> tuple[Path, ...]:
    """Where a path in the recipe begins: the folder of its file, then the working folder."""
    path = _recipe_of_run(options, old)
    if path is None and recipe.is_path(options.recipe):
        path = Path(options.recipe)
    here = Path.cwd()
    return (here,) if path is None else tuple(dict.fromkeys((path.resolve().parent, here)))


def _with_import(text: str) -> str:
    head, mark, tail = text.partition("stages:\n")
    indent = tail[: len(tail) - len(tail.lstrip(" "))]
    return f"{head}{mark}{indent}- stage: import\n{tail}"
