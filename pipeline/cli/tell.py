"""Commands that say what there is: `stages`, `recipes`, `doctor`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def stages() -> None:
    """List the stages and their settings."""
    from pipeline.recipe import classified_settings
    from pipeline.stage import ChainStage
    from pipeline.stages import STAGES

    lines = []
    for stage in STAGES:
        lines.append(f"{stage.name} (version {stage.version}): {stage.summary}")
        lines += [
            f"    {path} = {json.dumps(value)}  [{kind.value}]"
            for path, (kind, value) in classified_settings(stage.config())
        ]
        if isinstance(stage, ChainStage) and stage.then is not None:
            lines += [
                f"    {path} = {json.dumps(value)}  [{kind.value}]"
                for path, (kind, value) in classified_settings(stage.then.config())
            ]
    sys.stdout.write("\n".join(lines) + "\n")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe.")] = None,
) -> None:
    """List the built-in recipes, or print one as a start for your own."""
    from pipeline import recipe

    if name is not None:
        sys.stdout.write(recipe.builtin_text(name))
        return
    for builtin in recipe.builtin_names():
        found = recipe.parse(recipe.builtin_text(builtin), where=builtin)
        sys.stdout.write(f"{builtin}: {found.settings.description}\n")
        sys.stdout.write(f"    stages: {', '.join(found.step_names)}\n")


def doctor(
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="A teacher to try to reach, unpaid.")
    ] = None,
) -> None:
    """Say what is installed, which teachers can be reached, and how much disk is free."""
    from pipeline.doctor import examine

    report, is_well = examine(tuple(teacher or ()))
    sys.stdout.write(report)
    if not is_well:
        raise typer.Exit(2)
