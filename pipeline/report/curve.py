"""What a fine-tuning logged, as `model/metrics.jsonl` has it: one JSON object a line and step."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import whole
from pipeline.inspect import Run
from pipeline.model_files import MODEL, REMOVED, listed, trains

NAME = "metrics.jsonl"


def of_run(run: Run) -> list[dict[str, float]]:
    """Each step with what was measured there; a line that one at work has still to end is left out.

    Raises `DamagedError` where the file is not what the run wrote, or has lines that say nothing.
    """
    path = run.path / MODEL / NAME
    if not path.is_file():
        return []
    if (sha256 := _listed(run)) is not None:
        whole.check(path, sha256, run.path)
    *lines, _ = path.read_bytes().split(b"\n")
    return [_step(run, path, number, line) for number, line in enumerate(lines, start=1)]


def _listed(run: Run) -> str | None:
    """The SHA-256 that the books have of the file; null while nobody has listed it."""
    for state in run.stage_manifests:
        if trains(state) and state.measures.get(REMOVED) is None:
            try:
                files = listed(run.path, state)
            except ValueError as error:
                problem = f"cannot be compared with its list: {error}"
                raise whole.damaged(run.path / MODEL, problem, run.path) from error
            return next((one.sha256 for one in files if one.path == NAME), None)
    return None


def _step(run: Run, path: Path, number: int, line: bytes) -> dict[str, float]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("step"), int):
        raise whole.damaged(path, f"is damaged: line {number} is no step of a training", run.path)
    return found
