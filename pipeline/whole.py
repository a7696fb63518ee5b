"""Files of a run, compared with the SHA-256 that its books have of them before they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.errors import DamagedError
from pipeline.readable import not_permitted
from pipeline.shortage import shortage

CHANGED = "is damaged: its SHA-256 is not the one listed"


def check(path: Path, sha256: str, run: Path) -> None:
    """Read a file once. Raises `DamagedError` where it is not whole, or as `unreadable` says."""
    try:
        with path.open("rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error, run) from error
    if found != sha256:
        raise damaged(path, CHANGED, run)


def unreadable(path: Path, error: Exception, run: Path) -> Exception:
    """What to raise of a file of the run that could not be read."""
    if shortage(error):
        return error  # it says nothing about the file
    if (refused := not_permitted(error, path)) is not None:
        return refused
    return damaged(path, f"cannot be read: {error}", run)


def damaged(path: Path, said: str, run: Path) -> DamagedError:
    """What to raise of a file that is not what was written."""
    return DamagedError(f"{path} {said}. See  synth verify {run}")
