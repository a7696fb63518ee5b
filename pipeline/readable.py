"""Files that this user may not read: they are there and whole, and no reason to make them again."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from pipeline.errors import StorageError

READ = ("run.json", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-journal", "stages",
        "inputs", "data")  # fmt: skip
"""What a run reads again of its own folder."""


def not_permitted(error: BaseException, what: object) -> StorageError | None:
    """What to say where a file could not be opened for want of the right; null elsewhere."""
    return _refusal(what) if isinstance(error, PermissionError) else None


def check_folders(run: Path) -> None:
    """Raise `StorageError` where the manifests of a run lie in folders that may not be looked into.

    What is in such a folder would else be taken for what is not there.
    """
    stages = run / "stages"
    for folder in itertools.chain((run, stages), stages.glob("*")):
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise _refusal(folder)


def check_readable(run: Path) -> None:
    """Raise `StorageError` for the first part of a run that this user may not read."""
    check_folders(run)
    for place in (run / name for name in READ):
        for found in (place, *sorted(place.rglob("*"))):
            wanted = os.R_OK | os.X_OK if found.is_dir() else os.R_OK
            if not os.access(found, wanted) and found.exists():
                raise _refusal(found)


def _refusal(what: object) -> StorageError:
    return StorageError(
        f"{what} is there, and this user may not read it. Nothing is lost: give the right back "
        "(chmod u+rwX), then start the same command again."
    )
