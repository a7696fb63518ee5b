"""Recipes: which stages run, in which order, with which settings, asked of whom.

A recipe is YAML validated by pydantic; unknown keys are errors. Every setting has one class
(`SettingClass`), written beside its type, which says what a changed value means for a run that
exists already.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipeline import yaml_text
from pipeline.errors import Problems, RecipeError
from pipeline.format_version import refuse_newer
from pipeline.package_data import RECIPES
from pipeline.stage import (
    IDENTITY,
    OPERATIONAL,
    AskingConfig,
    ChainStage,
    SettingClass,
    Settings,
    Stage,
    StageConfig,
)
from pipeline.stages import STAGES
from pipeline.teacher.settings import Budget, Price, TeacherSettings

ROLES = ("judge", "scorer")
"""Whom `when` can name: a step with it stands only where somebody has that role."""
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What a stage can be called in a recipe: its folder and its row ids are named for it."""


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
    shard_rows: Annotated[int, Field(ge=1), IDENTITY] = 10_000
    reserve_mib: Annotated[float, Field(ge=0, le=2**20), OPERATIONAL] = 64.0
    teacher: TeacherSettings = TeacherSettings()
    judge: TeacherSettings | None = None
    scorer: TeacherSettings | None = None
    budget: Budget = Budget()
    prices: Annotated[dict[str, Price], Field(default_factory=dict), OPERATIONAL]


@dataclass(frozen=True)
class Step:
    """One stage of a recipe with its settings; `name` is the stage's name in this recipe.

    `when` is the role without which it is left out, `half_of` the step whose
    second half it is, in whose entry its settings stand.
    """

    name: str
    stage: Stage
    config: StageConfig
    when: str | None = None
    half_of: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A validated recipe; `left_out` are the steps whose role nobody was named for, by place."""

    settings: RecipeSettings
    steps: tuple[Step, ...]
    left_out: tuple[tuple[int, Step], ...] = ()

    def said_of_left_out(self) -> list[str]:
        """What is said of what is left out, one line a stage."""
        said = [
            f"{step.half_of or step.name} is left out: no {step.when} is named (--{step.when})."
            for _, step in self.left_out
        ]
        return list(dict.fromkeys(said))

    def step(self, name: str) -> Step:
        """The step of that name; raises `RecipeError` with the names there are."""
        for step in self.steps:
            if step.name == name:
                return step
        raise RecipeError(f"the recipe has no stage {name!r}{_hint(name, self.step_names)}")

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
        if value is None and not classes:
            continue  # a group that is not given, such as `judge`
        if len(classes) != 1:
            raise TypeError(f"{type(model).__name__}.{name} needs exactly one setting class")
        yield name, (classes[0], dumped[name])


def builtin_names() -> tuple[str, ...]:
    """The names of the recipes that ship with the package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def builtin_text(name: str) -> str:
    """A built-in recipe as it is written, with its comments."""
    path = RECIPES / f"{name}.yaml"
    if name not in builtin_names():
        raise RecipeError(f"there is no recipe {name!r}{_hint(name, builtin_names())}")
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
    known = (*builtin_names(), *(stage.name for stage in STAGES))
    raise RecipeError(
        f"there is no recipe or stage {recipe!r}{_hint(recipe, known)} "
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
    problems = Problems()
    lost: set[str] = set()
    entries = []
    for index, entry in enumerate(tree.pop("stages")):
        if isinstance(entry, dict) and isinstance(entry.get("stage"), str):
            if (wrong := _wrong_name(entry.get("name", entry["stage"]))) is not None:
                line = lines.get(("stages", index), 1)
                problems.add(RecipeError(f"{where}: line {line}: {wrong}"))
                lost.add("stages")
            else:
                entries.append((index, dict(entry)))
        else:
            line = lines.get(("stages", index), 1)
            problems.add(
                RecipeError(f"{where}: line {line}: each of 'stages' is a mapping with a 'stage'.")
            )
            lost.add("stages")
    if isinstance(tree.get("format"), int):
        refuse_newer(where, tree["format"], FORMAT)
    named = {entry.get("name", entry["stage"]): entry for _, entry in entries}
    for path, value in (settings or {}).items():
        _lay_over(tree, named, path, value, problems)
    top = _validate(RecipeSettings, tree, (), lines, where, problems, lost)
    every = [
        step
        for index, entry in entries
        for step in _parse_steps(entry, ("stages", index), lines, where, problems, lost)
    ]
    left_out = [
        (place, step)
        for place, step in enumerate(every)
        if step.when is not None
        and isinstance(top, RecipeSettings)
        and ((role := getattr(top, step.when)) is None or role.uri is None)
    ]
    steps = [step for step in every if step not in [one for _, one in left_out]]
    for path in settings or ():
        for name, role in {
            (step.name, step.when) for _, step in left_out if step.name == path.partition(".")[0]
        }:
            problems.add(
                RecipeError(f"--set {path}: {name} is left out: no {role} is named (--{role}).")
            )
    names = [step.name for step in steps]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(
            RecipeError(f"{where}: two stages are called {name!r}: give one a 'name' of its own.")
        )
    if not steps and not problems.errors:
        problems.add(RecipeError(f"{where}: 'stages' is empty."))
    found = None
    if isinstance(top, RecipeSettings) and steps:
        found = Recipe(top, tuple(steps), tuple(left_out))
    if problems.errors:
        raise wrong_recipe(problems, found, frozenset(lost))
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


def _wrong_name(name: object) -> str | None:
    if not isinstance(name, str) or not STEP_NAME.fullmatch(name):
        return f"a stage cannot have the name {name!r}: letters, digits, - and _, at most 100."
    if name in RecipeSettings.model_fields:
        return f"a stage cannot have the name {name!r}: the recipe has a setting of that name."
    return None


def _parse_steps(
    entry: dict[str, Any],
    path: tuple[str | int, ...],
    lines: Mapping[tuple[str | int, ...], int],
    where: str,
    problems: Problems,
    lost: set[str],
) -> list[Step]:
    """The step that an entry of `stages` is, and its second half where it has one."""
    kind = entry.pop("stage")
    name = str(entry.pop("name", kind))
    by_name = {stage.name: stage for stage in STAGES}
    if kind not in by_name:
        line = lines.get(path, 1)
        problems.add(
            RecipeError(f"{where}: line {line}: there is no stage {kind!r}{_hint(kind, by_name)}")
        )
        lost.add("stages")
        return []
    stage = by_name[kind]
    when = entry.pop("when", None)
    if when not in (None, *ROLES):
        problems.add(
            RecipeError(f"{where}: {name}.when: it is {' or '.join(ROLES)}, not {when!r}.")
        )
        lost.add("stages")
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
        config = _validate(half.config, own, path, lines, where, problems, lost, label=name)
        if isinstance(config, StageConfig):
            steps.append(Step(label, half, config, when, name if number else None))
    return steps


def _validate(
    model: type[Settings],
    tree: dict[str, Any],
    path: tuple[str | int, ...],
    lines: Mapping[tuple[str | int, ...], int],
    where: str,
    problems: Problems,
    lost: set[str],
    label: str = "",
) -> Settings | None:
    """The settings; where some are wrong, which is noted, those without them, or null."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            at = (*path, *found["loc"])
            line = next((lines[at[:end]] for end in range(len(at), -1, -1) if at[:end] in lines), 1)
            key = ".".join(str(part) for part in ((label,) if label else ()) + found["loc"])
            text = " ".join(found["msg"].split())  # a file that is named may have its words in it
            if found["type"] == "extra_forbidden":
                known = _fields_at(model, found["loc"][:-1])
                text = f"there is no such setting{_hint(str(found['loc'][-1]), known)}"
            elif found["loc"][-1:] == ("key",):
                text += ": it names a variable, as env:NAME; the key itself stays out of a recipe."
            elif found["type"] != "missing":
                text += f" (it is {found['input']!r})."
            problems.add(RecipeError(f"{where}: line {line}: {key}: {text}"))
            lost.add(key)
        wrong = [found["loc"] for found in error.errors(include_url=False)]
        for places in (wrong, [place[:1] for place in wrong]):
            rest = _without(tree, places)
            if model is RecipeSettings:
                rest.setdefault("name", "unnamed")
            with contextlib.suppress(ValidationError):
                return model.model_validate(rest)
        lost.add("stages")
        return None


def _without(tree: dict[str, Any], places: Sequence[tuple[str | int, ...]]) -> dict[str, Any]:
    """Settings without what stands at some places, or holds them where nothing stands there."""
    tree = copy.deepcopy(tree)
    for place in places:
        holder: dict[Any, Any] = {}
        at: Any = tree
        for part in place:
            if not isinstance(at, dict) or part not in at:
                break
            holder, last, at = at, part, at[part]
        if holder:
            del holder[last]
    return tree


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    for part in loc:
        info = model.model_fields.get(str(part))
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


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
                f"--set {path}: the recipe has no setting or stage {first!r}{_hint(first, known)}"
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


def _hint(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}." if known else "."
