"""Files that are made of a run for people, outside of it: where `--out` says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline import durable
from pipeline.errors import RecipeError, StorageError

BOOKS = ("run.json", "journal.sqlite")
"""What the folder of a run has, one or the other at the least."""


def check_file(target: Path) -> None:
    """Raise before any work is done where no file can be put.

    `RecipeError` where a folder or a device is, `StorageError` where its folder is not
    there, or cannot be written in.
    """
    with translated(target):
        if target.is_dir():
            raise RecipeError(f"--out {target} is a folder: name a file.")
        if target.exists() and not target.is_file():  # a device: it would be replaced
            raise RecipeError(f"--out {target} is no file: name one.")
        _check_folder(target, target.parent)


def refuse_inside(target: Path) -> None:
    """Raise `RecipeError` where a place is in the folder of any run, whose books it would break."""
    for folder in target.resolve().parents:
        if any((folder / name).is_file() for name in BOOKS):
            raise RecipeError(f"--out {target} is inside the run {folder}: name a place elsewhere.")


def check_folder(target: Path) -> None:
    """The same for a folder, which is made where it is not there, with those above it.

    `RecipeError` where it is a file.
    """
    with translated(target):
        there = next(one for one in (target, *target.parents) if one.exists())
        if not there.is_dir():
            raise RecipeError(f"--out {target}: {there} is a file, name a folder.")
        _check_folder(target, there)


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears whole or not at all. Raises `StorageError` where it cannot."""
    with translated(target), durable.replacing(target) as file:
        yield file


@contextmanager
def translated(target: Path) -> Iterator[None]:
    """What the system says of a place, as `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}.") from error


def _check_folder(target: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise StorageError(
            f"{target} cannot be written: there is no folder {folder}. Make it, or name another."
        )
    with tempfile.TemporaryFile(dir=folder):  # tells more than its mode: read-only, full, no right
        pass
