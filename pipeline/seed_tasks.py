"""Seed tasks: human-written tasks in Self-Instruct's JSONL format, read and checked.

One line is one task: `id`, `name`, `instruction`, `instances` (one or more of `input` and `output`)
and `is_classification`. Lines may hold more keys; they are not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, Problems
from pipeline.package_data import SEEDS
from pipeline.stage import Pool

BUILTIN = SEEDS / "en.jsonl"


@dataclass(frozen=True, slots=True)
class SeedTask:
    """One human-written task; `instances` are (input, output)."""

    id: str
    instruction: str
    instances: tuple[tuple[str, str], ...]
    is_classification: bool


@dataclass(frozen=True, slots=True)
class SeedFile:
    """The tasks of one file, its bytes and their SHA-256."""

    path: Path
    tasks: tuple[SeedTask, ...]
    content: bytes
    sha256: str


def load(where: str, *, at_least: int = 1) -> SeedFile:
    """Read `builtin` or a path; `at_least` is how many tasks a prompt needs.

    Raises one `InputError` that names every bad line.
    """
    path = BUILTIN if where == "builtin" else Path(where)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        said = getattr(error, "strerror", None) or error
        raise InputError(f"the seed tasks {path} cannot be read: {said}.") from error
    problems = Problems()
    tasks: list[SeedTask] = []
    ids: dict[str, int] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            task = parse_task(line)
            if task.id in ids:
                raise ValueError(f"the id {task.id!r} stands on line {ids[task.id]} too")
            ids[task.id] = number
            tasks.append(task)
        except ValueError as error:
            problems.add(InputError(f"{path}: line {number}: {error}."))
    if not tasks and not problems.errors:
        problems.add(InputError(f"{path} is empty: it needs at least {at_least} seed tasks."))
    elif len(tasks) < at_least and not problems.errors:
        problems.add(
            InputError(
                f"{path} holds {len(tasks)} seed tasks, and a prompt shows {at_least}: add some, "
                "or lower bootstrap.demonstrations."
            )
        )
    problems.raise_if_any()
    return SeedFile(path, tuple(tasks), content, hashlib.sha256(content).hexdigest())


def parse_task(line: bytes) -> SeedTask:
    """One line of such a file. Raises `ValueError` that says what is wrong with it."""
    try:
        row = json.loads(line)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    wanted: dict[str, type] = {
        "id": str,
        "instruction": str,
        "instances": list,
        "is_classification": bool,
    }
    for key, kind in wanted.items():
        if key not in row:
            raise ValueError(f"it lacks {key!r}")
        if not isinstance(row[key], kind):
            raise ValueError(f"{key!r} is not a {kind.__name__}")
    if not row["instruction"].strip() or not row["instances"]:
        raise ValueError("'instruction' and 'instances' must not be empty")
    instances = tuple(_parse_instance(instance) for instance in row["instances"])
    for text in (row["id"], row["instruction"], *(part for pair in instances for part in pair)):
        text.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return SeedTask(row["id"], row["instruction"], instances, row["is_classification"])


def _parse_instance(instance: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON holds anything
    if not isinstance(instance, dict) or not all(
        isinstance(instance.get(key), str) for key in ("input", "output")
    ):
        raise ValueError("each of 'instances' holds 'input' and 'output' as text")
    return instance["input"], instance["output"]


class TaskPool(Pool):
    """A pool whose seed tasks can be shown whole: `task(row_id)` is the seed task of that id."""

    def __init__(self, tasks: Sequence[SeedTask]) -> None:
        """Start with the seed tasks and no drafts."""
        super().__init__([(task.id, task.instruction) for task in tasks])
        self._tasks = {task.id: task for task in tasks}

    def task(self, row_id: str) -> SeedTask:
        """The seed task of that id, instances and all."""
        return self._tasks[row_id]
