"""A run's settings by class: what it is known by, and what may change where it is gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from filters import masks
from pipeline.errors import RecipeError
from pipeline.format_templates import FOLDER
from pipeline.manifest import RunManifest
from pipeline.recipe import Recipe, Step
from pipeline.stage import (
    DECISION,
    EXTENT,
    IDENTITY,
    AskingStage,
    EvaluateStage,
    FilterStage,
    RenderStage,
    Role,
    TrainStage,
    prompts_of,
    role_of,
)
from pipeline.teacher.settings import FOR_SPEED


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of one run, by class and dotted path (README, "Recipes and settings")."""

    identity: dict[str, Any]
    extent: dict[str, Any]
    decision: dict[str, Any]


def settings_of(found: Recipe, contents: Mapping[str, Any]) -> RunSettings:
    """Sort a recipe's settings by class; `contents` stand for what is read beside the recipe.

    To the identity belong also the stages and their versions, and the code of a user's filters.
    """
    classified = found.classified()
    identity, extent, decision = (
        {path: value for path, (one, value) in classified.items() if one is kind}
        for kind in (IDENTITY, EXTENT, DECISION)
    )
    if identity.get("mask"):
        identity["mask.version"] = masks.VERSION
    else:  # it says nothing of a run that masks nothing
        identity.pop("mask", None)
    for role in get_args(Role):  # `contents` say how each is asked, as its model's scheme decides
        identity.pop(f"{role}.structured_output", None)
        _keep_what_is_answered(identity, f"{role}.vllm.")
    for step in found.steps:
        if isinstance(step.stage, EvaluateStage):
            _keep_what_is_answered(identity, f"{step.name}.vllm.")
    identity |= {
        "stages": [step.stage.name for step in found.steps],
        **{f"{step.name}.version": step.stage.version for step in found.steps},
        **contents,
        **_users_files(found),
    }
    return RunSettings(identity, extent, decision)


def _keep_what_is_answered(identity: dict[str, Any], vllm: str) -> None:
    """Of the settings of a vLLM server, leave what says anything, and changes a reply."""
    options = identity.get(f"{vllm}options") or {}
    seen = {name: value for name, value in options.items() if name not in FOR_SPEED}
    given = {path: value for path, value in identity.items() if path.startswith(vllm)}
    for path, value in (given | {f"{vllm}options": seen or None}).items():
        if value is None:
            identity.pop(path, None)
        else:
            identity[path] = value


def _users_files(found: Recipe) -> dict[str, str]:
    """The SHA-256 of every file of the user's own that a stage's verdicts depend on."""
    return {
        f"{step.name}.file.{name}": hashlib.sha256(Path(name).read_bytes()).hexdigest()
        for step in found.steps
        if isinstance(step.stage, FilterStage | TrainStage)
        for name in step.stage.files(step.config)
        if Path(name).is_file()  # else it is a problem of its own
    }


def fingerprints(found: Recipe, settings: RunSettings) -> list[str]:
    """One digest a step: of its settings, of what it asks with, and of the step before it."""
    identity = settings.identity
    everything = identity | settings.extent | settings.decision
    names = set(found.step_names)
    shared = {path: value for path, value in identity.items() if path.split(".")[0] not in names}
    shared.pop("stages")
    asked = {
        role: {path: shared.pop(path) for path in list(shared) if path.startswith(f"{role}.")}
        for role in get_args(Role)
    }
    for name in [path for path in shared if path.startswith("prompts.")]:
        shared.pop(name)
    chain, digests = "", []
    for step in found.steps:
        own = {path: v for path, v in everything.items() if path.startswith(f"{step.name}.")}
        prompts = prompts_of(step.stage, step.config)
        own |= {f"prompts.{name}": identity.get(f"prompts.{name}") for name in prompts}
        own |= _formats(step, identity)
        if isinstance(step.stage, AskingStage):
            own |= asked[role_of(step.stage)]
        text = json.dumps([chain, step.stage.name, shared, own], sort_keys=True)
        chain = hashlib.sha256(text.encode()).hexdigest()
        digests.append(chain)
    return digests


def _formats(step: Step, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for the files of templates that a step renders with."""
    if not isinstance(step.stage, RenderStage):
        return {}
    begins = tuple(f"prompts.{FOLDER}/{task}" for task in step.stage.files(step.config))
    return {
        path: value
        for path, value in identity.items()
        if any(path == one or path.startswith(f"{one}.") for one in begins)
    }


def check_unchanged(
    run: Path,
    old: RunManifest,
    new: RunSettings,
    *,
    source: Path | None = None,
    other_versions: bool = False,
) -> None:
    """Raise a `RecipeError` that names every setting of the run in `run` that must not change.

    `source` is where rows come from now. With `other_versions` stages may be of other versions than
    those that the run was made with.
    """
    lines = []
    for kind, before, now in (
        ("identity", old.identity, new.identity),
        ("decision", old.decision, new.decision),
    ):
        for path in sorted(before.keys() | now.keys()):
            if other_versions and path.endswith(".version"):
                continue
            if before.get(path) != now.get(path):
                if path == "input" and source is not None and old.input is not None:
                    lines.append(f"{_other_input(Path(old.input['path']), source)} ({kind})")
                    continue
                was, is_now = (_short(value.get(path)) for value in (before, now))
                lines.append(f"{path} was {was} and is {is_now} ({kind})")
    for path in sorted(new.extent.keys() & old.extent.keys()):
        was, now = old.extent[path], new.extent[path]
        if now is not None and (was is None or now < was):  # null is all there are
            lines.append(f"{path} was {_short(was)} and is {now} (it can only be raised)")
    if lines:
        listed = "\n".join(f"- {line}" for line in lines)
        raise RecipeError(
            f"{run} holds a run with other settings:\n{listed}\nTake the same settings, "
            "or make a new run with --out; --from with it asks nothing again that was asked."
        )


def _other_input(was: Path, is_now: Path) -> str:
    """What is said of rows that are not those that a run began with."""
    if was.resolve() == is_now.resolve():
        return f"input is {is_now} as before, and what is taken in of it is not the same"
    return f"input was {was} and is {is_now}, and what is taken in of them is not the same"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
