"""Files and folders that outlive a power cut: whole or not at all, and with their names."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.crashpoint import crashpoint

NEW = ".new-"
"""How the names begin of files that are not in their place yet."""


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


FILE_MODE = 0o666 & ~_umask()  # asked once: asking changes it for every thread
"""Mode of the files that a run publishes: what the umask leaves."""


@contextmanager
def replacing(
    target: Path,
    *,
    staging: Path | None = None,
    check: Callable[[Path], None] = lambda written: None,
) -> Iterator[IO[bytes]]:
    """A file to write that takes its place in one step, once it is whole and durable.

    It is written in `staging`, else beside its place, synced, handed to `check`, renamed over what
    is there, and its folder is synced. Whatever is raised on the way leaves `target` as it was.
    """
    prefix = NEW if staging is None else None  # beside its place no reader is to take it for one
    handle, name = tempfile.mkstemp(prefix=prefix, dir=staging or target.parent)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        crashpoint("file_written")
        check(written)
        written.replace(target)
    except BaseException as error:
        written.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # a write says no name
        raise
    crashpoint("file_renamed")
    sync_folder(target.parent)


def sync_tree(folder: Path) -> None:
    """Make every file below `folder` durable, and every name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, each durable in the one that holds it.

    A new one is for its owner alone: replies may hold what is nobody else's business.
    """
    missing = [path for path in folder.parents if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder, *missing):
        with contextlib.suppress(PermissionError):  # a folder that we may enter and not list
            sync_folder(path.parent)
