"""Paths that a recipe names: where they begin, and what a run has of its own in their place.

A path on the command line begins in the working folder, one in a recipe's file in the folder of
that file, or, where it is not there, in the working folder. What is found is written out whole, so
that a run finds it from wherever it is gone on with. What is there no more is taken from the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.manifest import RunManifest, StageManifest, read, stage_folder
from pipeline.recipe import Recipe, Step
from pipeline.run.source import Source
from pipeline.stage import OPERATIONAL
from pipeline.stages import read_input
from pipeline.stages.read_input import InputSet
from pipeline.store import shards

PATHS = ("prompts", "seeds", "import.path")
BUILTIN = "builtin"


def in_working_folder(named: object) -> object:
    """A path of the command line, whole; what is none stays as it is."""
    if not isinstance(named, str) or named in ("", BUILTIN):
        return named
    return str(Path.cwd() / named)


def set_in_working_folder(given: object) -> object:
    """A data set of the command line, a path or a mapping with one, with its path whole."""
    if isinstance(given, dict) and "path" in given:
        return given | {"path": in_working_folder(given["path"])}
    return in_working_folder(given)


def find_places(found: Recipe, folders: Sequence[Path]) -> Recipe:
    """The recipe with its paths written out whole, but those that are nowhere."""
    settings, steps = found.settings, found.steps
    if settings.prompts is not None:
        place = _find(settings.prompts, folders)
        settings = settings.model_copy(update={"prompts": place})
    if settings.seeds != BUILTIN:
        settings = settings.model_copy(update={"seeds": _find(settings.seeds, folders)})
    if isinstance(config := steps[0].config, read_input.Config) and (config.path or config.sets):
        sets = {name: _found(given, folders) for name, given in config.sets.items()}
        place = _find(config.path, folders) if config.path else ""
        first = replace(steps[0], config=config.model_copy(update={"path": place, "sets": sets}))
        steps = (first, *steps[1:])
    return replace(found, settings=settings, steps=steps)


def _found(given: str | InputSet, folders: Sequence[Path]) -> str | InputSet:
    """A data set with its path written out whole."""
    if isinstance(given, str):
        return _find(given, folders)
    return given.model_copy(update={"path": _find(given.path, folders)})


def paths_of(config: read_input.Config) -> list[str]:
    """Where all rows come from, as the recipe names it."""
    named = [one if isinstance(one, str) else one.path for one in config.sets.values()]
    return named or [config.path]


def _find(named: str, folders: Sequence[Path]) -> str:
    if Path(named).is_absolute():
        return named
    there = (folder / named for folder in folders)
    return next((str(path) for path in there if is_there(str(path))), named)


def is_there(named: str) -> bool:
    """Whether a path, or the run of a `RUN:STAGE`, is there."""
    try:
        return Path(named).exists() or Path(named.rpartition(":")[0] or named).exists()
    except (OSError, ValueError):  # no name of a file: who opens it says so
        return False


def said_of(named: str, folders: Sequence[Path]) -> str:
    """A path for a message: where it was looked for, where it is nowhere."""
    if Path(named).is_absolute() or len(folders) < 2:
        return named
    return f"{named} (looked for in {' and '.join(map(str, folders))})"


def folder_of_copies(runs: Sequence[Path | None]) -> Path | None:
    """The folder `inputs` of the first of these that is a run and has one."""
    for run in runs:
        if run is not None and (run / "run.json").is_file() and (run / "inputs").is_dir():
            return run / "inputs"
    return None


def taken_in(run: Path, state: RunManifest, step: Step) -> Source | None:
    """What a run started from, as its import wrote it down; null where that is not all of it.

    `step` is the import as it is wanted now: under other settings, or for more rows, it has to read
    the source again.
    """
    path = run / stage_folder(0, step.name) / "stage.json"
    config = step.config
    if not isinstance(config, read_input.Config) or not path.is_file():
        return None
    stage = read(StageManifest, path)
    fingerprint = state.identity.get("input")
    before, now = stage.settings.get("rows"), config.rows
    has_enough = before is None or stage.next_slot < before or (now is not None and now <= before)
    same_sets = list(stage.settings.get("sets") or ()) == list(config.sets)
    is_same = same_sets and all(
        value == stage.settings.get(name, value)
        for name, value in config.model_dump(mode="json").items()
        if name != "rows" and OPERATIONAL not in type(config).model_fields[name].metadata
    )
    if not (stage.complete and fingerprint and has_enough and is_same):
        return None
    where = (state.input or {}).get("path", config.path)
    return Source(
        Path(where),
        stage.columns,
        str(fingerprint),
        stage.next_slot,
        config.rows,
        tuple(shards(path.parent, stage)),
        taken_from=run,
    )
