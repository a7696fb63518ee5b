"""Recipes: which stages run, in which order, with which settings, asked of whom.

A recipe is YAML validated by pydantic; unknown keys are errors. Every setting has one class
(`SettingClass`), written beside its type, which says what a changed value means for a run that
exists already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, field_validator

from filters import masks
from pipeline import yaml_text
from pipeline.errors import Problems, RecipeError
from pipeline.format_version import refuse_newer
from pipeline.package_data import RECIPES
from pipeline.recipe_text import RecipeText, hint
from pipeline.stage import (
    IDENTITY,
    OPERATIONAL,
    AskingConfig,
    ChainStage,
    FilterStage,
    SettingClass,
    Settings,
    Stage,
    StageConfig,
)
from pipeline.stages import STAGES, decontaminate
from pipeline.teacher.settings import Budget, Price, TeacherSettings

ROLES = ("judge", "scorer")
"""Whom `when` can name, beside a setting of the step's own: it stands only where somebody has that
role, or where that setting is not null."""
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What a stage can be called in a recipe: its folder and its row ids are named for it."""


SHARED_NAMES = {"format"}
"""A stage and a setting have this name: `format.tasks` is the stage's, `format` the recipe's."""
FORMAT = 1
"""Version of recipes, as `format` says it; one without it is of this one."""


class RecipeSettings(Settings):
    """Everything in a recipe but its stages."""

    format: Annotated[int, Field(ge=1, le=FORMAT), OPERATIONAL] = FORMAT
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"), OPERATIONAL]
    description: Annotated[str, OPERATIONAL] = ""
    seed: Annotated[int, Field(ge=0, lt=2**63), IDENTITY] = 42
    language: Annotated[Literal["en"], IDENTITY] = "en"
    seeds: Annotated[str, OPERATIONAL] = "builtin"  # its content is identity
    prompts: Annotated[str | None, OPERATIONAL] = None  # their content is identity
    mask: Annotated[tuple[str, ...], IDENTITY] = ()
    shard_rows: Annotated[int, Field(ge=1), IDENTITY] = 10_000
    reserve_mib: Annotated[float, Field(ge=0, le=2**20), OPERATIONAL] = 64.0
    teacher: TeacherSettings = TeacherSettings()
    judge: TeacherSettings | None = None
    scorer: TeacherSettings | None = None
    budget: Budget = Budget()
    prices: Annotated[dict[str, Price], Field(default_factory=dict), OPERATIONAL]

    @field_validator("mask", mode="before")
    @classmethod
    def _kinds(cls, given: object) -> object:
        """Groups of kinds written out, each kind once, in their order."""
        if given in (None, False):
            return ()
        named = [given] if isinstance(given, str) else given
        if not isinstance(named, list | tuple) or not all(isinstance(one, str) for one in named):
            return given
        if unknown := [one for one in named if one not in (*masks.GROUPS, *masks.KINDS)]:
            known = ", ".join((*masks.GROUPS, *masks.KINDS))
            raise ValueError(f"there is no kind {unknown[0]!r} to be masked; there are {known}")
        wanted = {kind for one in named for kind in masks.GROUPS.get(one, (one,))}
        return tuple(kind for kind in masks.KINDS if kind in wanted)


@dataclass(frozen=True)
class Step:
    """One stage of a recipe with its settings; `name` is the stage's name in this recipe.

    `when` is the role, or its own setting, without which it is left out, `half_of` the step whose
    second half it is, in whose entry its settings stand.
    """

    name: str
    stage: Stage
    config: StageConfig
    when: str | None = None
    half_of: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A validated recipe; `left_out` are the steps that lack what `when` names, by place."""

    settings: RecipeSettings
    steps: tuple[Step, ...]
    left_out: tuple[tuple[int, Step], ...] = ()

    def said_of_left_out(self) -> list[str]:
        """What is said of what is left out, or has nothing to look for, one line a stage."""
        said = [
            f"{step.half_of or step.name} is left out: no {step.when} is named (--{step.when})."
            for _, step in self.left_out
            if step.when in ROLES
        ]
        if unset := [step for _, step in self.left_out if step.when not in ROLES]:
            names = ", ".join(step.name for step in unset)
            lacking = ", ".join(f"{step.name}.{step.when}" for step in unset)
            is_left = "is left out: it wants" if len(unset) == 1 else "are left out: they want"
            said.append(f"{names} {is_left} {lacking} (--set).")
        said += [
            f"{step.name} looks for nothing: no benchmark prompts are named "
            f"(--set {step.name}.benchmarks=FILE)."
            for step in self.steps
            if isinstance(step.config, decontaminate.Config) and step.config.benchmarks is None
        ]
        said += [
            f"{step.name} {why}"
            for step in self.steps
            if isinstance(step.stage, FilterStage) and (why := step.stage.idle(step.config))
        ]
        return list(dict.fromkeys(said))

    def step(self, name: str) -> Step:
        """The step of that name; raises `RecipeError` with the names there are."""
        for step in self.steps:
            if step.name == name:
                return step
        raise RecipeError(f"the recipe has no stage {name!r}{hint(name, self.step_names)}")

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the steps, in order."""
        return tuple(step.name for step in self.steps)

    def to_yaml(self) -> str:
        """The recipe with every default written out; loading it gives an equal recipe."""
        tree = self.settings.model_dump(mode="json")
        steps = list(self.steps)
        for place, step in self.left_out:
            steps.insert(place, step)
        tree["stages"] = [
            {"stage": step.stage.name}
            | ({"name": step.name} if step.name != step.stage.name else {})
            | ({"when": step.when} if step.when is not None else {})
            | step.config.model_dump(mode="json")
            | {
                key: value
                for half in steps
                if half.half_of == step.name
                for key, value in half.config.model_dump(mode="json").items()
            }
            for step in steps
            if step.half_of is None
        ]
        return yaml.safe_dump(tree, sort_keys=False)

    def classified(self) -> dict[str, tuple[SettingClass, Any]]:
        """Every setting by its dotted path, with its class and its value as plain data."""
        found = dict(classified_settings(self.settings))
        for step in self.steps:
            found |= {
                f"{step.name}.{path}": value for path, value in classified_settings(step.config)
            }
        return found


class WrongRecipeError(RecipeError):
    """A recipe with something wrong; `rest` is what is left without it, where that is a recipe.

    In it a setting that is wrong has its default, and a stage that nobody knows is left out; `lost`
    are those settings and stages, by their dotted paths.
    """

    rest: Recipe | None = None
    lost: frozenset[str] = frozenset()


def classified_settings(model: BaseModel) -> Iterator[tuple[str, tuple[SettingClass, Any]]]:
    """Walk a settings model: dotted path, class and value of every leaf, a stage's own first.

    Raises `TypeError` for a leaf that has no class or several: each must say what it is.
    """
    dumped = model.model_dump(mode="json")
    fields = type(model).model_fields.items()
    for name, info in sorted(fields, key=lambda field: field[0] in AskingConfig.model_fields):
        value = getattr(model, name)
        if isinstance(value, Settings):
            for path, leaf in classified_settings(value):
                yield f"{name}.{path}", leaf
            continue
        classes = [mark for mark in info.metadata if isinstance(mark, SettingClass)]
        if value is None and (not classes or _holds_groups(info.annotation)):
            continue  # a group that is not given, such as `judge`, or a list of them
        if len(classes) != 1:
            raise TypeError(f"{type(model).__name__}.{name} needs exactly one setting class")
        yield name, (classes[0], dumped[name])


def _holds_groups(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type):
        return issubclass(annotation, Settings)
    return any(_holds_groups(one) for one in get_args(annotation))


def builtin_names() -> tuple[str, ...]:
    """The names of the recipes that ship with the package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def builtin_text(name: str) -> str:
    """A built-in recipe as it is written, with its comments."""
    path = RECIPES / f"{name}.yaml"
    if name not in builtin_names():
        raise RecipeError(f"there is no recipe {name!r}{hint(name, builtin_names())}")
    return path.read_text(encoding="utf-8")


def find(recipe: str) -> tuple[str, str]:
    """The text of a recipe and what to call it in messages.

    `recipe` is a built-in name, the path of a YAML file, or the name of a single stage.
    """
    if recipe in builtin_names():
        return builtin_text(recipe), f"recipe {recipe}"
    if is_path(recipe):
        path = Path(recipe)
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"the recipe {recipe} cannot be read: {error}.") from error
    if recipe in {stage.name for stage in STAGES}:
        return f"name: {recipe}\nstages:\n  - stage: {recipe}\n", f"stage {recipe}"
    known = list(dict.fromkeys((*builtin_names(), *(stage.name for stage in STAGES))))
    raise RecipeError(
        f"there is no recipe or stage {recipe!r}{hint(recipe, known)} "
        "A recipe of your own is named by its path, ending in .yaml, and a run by its folder."
    )


def is_known(recipe: str) -> bool:
    """Whether a built-in recipe or a stage has this name."""
    return recipe in builtin_names() or recipe in {stage.name for stage in STAGES}


def is_path(recipe: str) -> bool:
    """Whether a recipe is named by the path of its file, not by a name of ours."""
    is_builtin = recipe in builtin_names()
    return not is_builtin and (Path(recipe).suffix in (".yaml", ".yml") or "/" in recipe)


def parse(text: str, *, where: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Validate a recipe with `settings` (dotted path to value) laid over it.

    Raises one `RecipeError` that lists everything wrong with it.
    """
    tree, lines = yaml_text.load_with_lines(text, where=where)
    if not isinstance(tree, dict) or not isinstance(tree.get("stages"), list):
        raise RecipeError(f"{where}: a recipe is a mapping with a list of 'stages'.")
    source = RecipeText(where, lines, Problems())
    entries = _entries(tree.pop("stages"), source)
    if isinstance(tree.get("format"), int):
        refuse_newer(where, tree["format"], FORMAT)
    named = {entry.get("name", entry["stage"]): entry for _, entry in entries}
    for path, value in (settings or {}).items():
        _lay_over(tree, named, path, value, source.problems)
    top = source.validated(RecipeSettings, tree, ())
    every = [step for index, entry in entries for step in _steps(entry, ("stages", index), source)]
    left_out = [(at, step) for at, step in enumerate(every) if _is_left_out(step, top)]
    out = [step for _, step in left_out]
    steps = [step for step in every if step not in out]
    _refuse_settings_of(out, settings or (), source)
    _check_names(steps, source)
    found = None
    if isinstance(top, RecipeSettings) and steps:
        found = Recipe(top, tuple(steps), tuple(left_out))
    if source.problems.errors:
        raise wrong_recipe(source.problems, found, frozenset(source.lost))
    assert found is not None
    return found


def wrong_recipe(problems: Problems, rest: Recipe | None, lost: frozenset[str]) -> WrongRecipeError:
    """All that is wrong with a recipe as one error, with what is left of it."""
    try:
        problems.raise_if_any()
    except RecipeError as error:
        found = WrongRecipeError(str(error))
        found.parts = list(error.parts)
        found.rest, found.lost = rest, lost
        return found
    raise AssertionError("nothing is wrong")


def _entries(stages: list[Any], source: RecipeText) -> list[tuple[int, dict[str, Any]]]:
    """The entries of `stages` that can be read, each with its place there."""
    entries = []
    for index, entry in enumerate(stages):
        if not isinstance(entry, dict) or not isinstance(entry.get("stage"), str):
            source.refuse("each of 'stages' is a mapping with a 'stage'.", ("stages", index))
            source.lost.add("stages")
        elif (wrong := _wrong_name(entry.get("name", entry["stage"]))) is not None:
            source.refuse(wrong, ("stages", index))
            source.lost.add("stages")
        else:
            entries.append((index, dict(entry)))
    return entries


def _is_left_out(step: Step, top: Settings | None) -> bool:
    """Whether a step stands only where somebody has a role, or a setting, that is not there."""
    if step.when is None or not isinstance(top, RecipeSettings):
        return False
    if step.when not in ROLES:
        return getattr(step.config, step.when) is None
    role = getattr(top, step.when)
    return role is None or role.uri is None


def _refuse_settings_of(out: list[Step], paths: Iterable[str], source: RecipeText) -> None:
    """Whoever sets something of a step that is left out takes it to be there."""
    for path in paths:
        named = path.partition(".")[0]
        for lacking in {step.when for step in out if step.name == named}:
            why = f"no {lacking} is named (--{lacking})"
            if lacking not in ROLES:
                why = f"it wants {named}.{lacking} (--set)"
            source.problems.add(RecipeError(f"--set {path}: {named} is left out: {why}."))


def _check_names(steps: list[Step], source: RecipeText) -> None:
    names = [step.name for step in steps]
    for name in sorted({name for name in names if names.count(name) > 1}):
        source.refuse(f"two stages are called {name!r}: give one a 'name' of its own.")
    if not steps and not source.problems.errors:
        source.refuse("'stages' is empty.")


def _wrong_name(name: object) -> str | None:
    if not isinstance(name, str) or not STEP_NAME.fullmatch(name):
        return f"a stage cannot have the name {name!r}: letters, digits, - and _, at most 100."
    if name in RecipeSettings.model_fields.keys() - SHARED_NAMES:
        return f"a stage cannot have the name {name!r}: the recipe has a setting of that name."
    return None


def _steps(entry: dict[str, Any], path: tuple[str | int, ...], source: RecipeText) -> list[Step]:
    """The step that an entry of `stages` is, and its second half where it has one."""
    kind = entry.pop("stage")
    name = str(entry.pop("name", kind))
    by_name = {stage.name: stage for stage in STAGES}
    if kind not in by_name:
        source.refuse(f"there is no stage {kind!r}{hint(kind, by_name)}", path)
        source.lost.add("stages")
        return []
    stage = by_name[kind]
    when = entry.pop("when", None)
    if when not in (None, *ROLES, *stage.config.model_fields):
        source.refuse(
            f"{name}.when: it is {' or '.join(ROLES)}, or a setting of {name}, not {when!r}."
        )
        source.lost.add("stages")
        return []
    halves: list[tuple[str, Stage]] = [(name, stage)]
    if isinstance(stage, ChainStage) and stage.then is not None:
        halves.append((f"{name}-{stage.then.name}", stage.then))
    steps = []
    for number, (label, half) in enumerate(halves):
        others = [other for _, other in halves if other is not half]
        own = {
            key: value
            for key, value in entry.items()
            if key in half.config.model_fields
            or (number == 0 and not any(key in other.config.model_fields for other in others))
        }
        config = source.validated(half.config, own, path, label=name)
        if isinstance(config, StageConfig):
            steps.append(Step(label, half, config, when, name if number else None))
    return steps


def _lay_over(
    tree: dict[str, Any],
    named: Mapping[str, dict[str, Any]],
    path: str,
    value: object,
    problems: Problems,
) -> None:
    first, *rest = path.split(".")
    place: Any = tree
    if first in named and rest:
        place = named[first]
    elif first in RecipeSettings.model_fields:
        rest = [first, *rest]
    else:
        known = [*RecipeSettings.model_fields, *named]
        problems.add(
            RecipeError(
                f"--set {path}: the recipe has no setting or stage {first!r}{hint(first, known)}"
            )
        )
        return
    for part in rest[:-1]:
        inner = place.get(part)
        place[part] = dict(inner) if isinstance(inner, dict) else {}
        place = place[part]
    place[rest[-1]] = value


def parse_setting(text: str) -> tuple[str, Any]:
    """Take `stage.key=value` apart; the value is read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {text}: write it as stage.key=value.")
    return path.strip(), yaml_text.load(value, where=f"--set {path}") if value else ""
