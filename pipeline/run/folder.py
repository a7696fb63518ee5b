"""The folder that a run is to have: what is there already, and whether more can be written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from pipeline import manifest
from pipeline.errors import DamagedError, Problems, RecipeError, StorageError, SynthError
from pipeline.manifest import RunManifest
from pipeline.readable import check_folders, check_readable
from pipeline.teacher.journal import NEEDED
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.reserve import free_bytes
from pipeline.terminal import shorten

BEFORE_RUN_JSON = {"lock", ".staging", "inputs", "recipe.yaml"}
"""What a run writes before it says that it is one: all that a process killed then leaves."""

OWN = (*sorted(BEFORE_RUN_JSON), "run.json", "stages", "data", ".index", "log.jsonl", "logs",
       "model", "reviews",
       *(f"journal.sqlite{end}"
         for end in ("", "-wal", "-shm", "-journal", "-reserve", "-repaired")))  # fmt: skip
"""All that a run writes into its folder."""


def existing_run(run: Path, problems: Problems) -> RunManifest | None:
    """The manifest of the run that is in the folder, null where there is none.

    Anything else in it is a problem: a run goes into an empty folder or goes on with its own.
    """
    path = run / "run.json"
    if _is_no_folder(run):
        return None  # said by `check_writable`
    try:
        check_folders(run)
    except SynthError as error:
        problems.add(error)
        return None
    except OSError as error:
        problems.add(StorageError(f"{shorten(str(run), 60)} cannot be used: {error.strerror}."))
        return None
    if (run / "purge" / "plan.json").is_file():
        problems.add(DamagedError(f"{run}: a purge was cut off:  synth purge {run}  goes on."))
        return None
    if path.is_file():
        try:
            found = manifest.read(RunManifest, path)
            if found.status != "finished":
                check_readable(run)
            return found if found.stages or _has_made_anything(run) else None
        except SynthError as error:
            problems.add(error)
    elif run.is_dir() and not _holds_only_a_start(run):
        problems.add(
            RecipeError(f"{run} is not empty and holds no run: name another folder with --out.")
        )
    return None


def _is_no_folder(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False  # said by whoever opens it


def _has_made_anything(run: Path) -> bool:
    """Whether a run has a shard or has ever asked; until then nothing pins its settings."""
    if next(run.glob("stages/*/*/*.parquet"), None) is not None:
        return True
    journal = run / "journal.sqlite"
    if not journal.is_file():
        return False
    with JournalReader(journal) as reader:
        return next(reader.records(), None) is not None


def _holds_only_a_start(run: Path) -> bool:
    """Whether a folder is empty, or holds what a run leaves that was killed as it began."""
    names = {path.name for path in run.iterdir() if not path.name.startswith((".new-", ".now-"))}
    return not names or ("lock" in names and names <= BEFORE_RUN_JSON)


def check_links(run: Path) -> None:
    """Raise `StorageError` where a part of the run is a symbolic link: it may lead anywhere.

    The run directory itself may be one: that is what was named.
    """
    for path in (run / name for name in OWN):
        for found in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
            if found.is_symlink():
                raise StorageError(
                    f"{found} is a symbolic link, and a run writes into its own folder alone: "
                    "remove the link, or name another folder with --out."
                )


def not_written(run: Path, error: OSError) -> StorageError:
    """What to say where the system does not write: which file, and how much room there is."""
    place = Path(error.filename) if isinstance(error.filename, str) else run
    free = free_bytes(place if place.is_dir() else place.parent)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    room = (
        f" {free} bytes are free there, make room for {NEEDED}."
        if is_full and free is not None
        else ""
    )
    return StorageError(
        f"{place} cannot be written: {error.strerror or error}.{room} Nothing that was received is "
        f"lost; start the same command again once {'there is room' if is_full else 'it can be'}."
    )


def check_writable(run: Path, problems: Problems) -> None:
    """Note where the folder cannot be written to, or its disk is nearly full."""
    parent = run
    try:
        while not parent.exists():
            parent = parent.parent
    except OSError:
        return  # said by `existing_run`
    if not parent.is_dir():
        problems.add(
            RecipeError(
                f"{parent} is a file, and --out names the folder of a run: name another one."
            )
        )
        return
    if not os.access(parent, os.W_OK | os.X_OK):
        problems.add(
            StorageError(f"{parent} cannot be written to: name another folder with --out.")
        )
        return
    mode = parent.stat().st_mode
    if parent == run and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        problems.add(
            StorageError(
                f"everybody may write into {run}: take that back with  chmod o-w {run}  or name "
                "another folder with --out."
            )
        )
        return
    if os.statvfs(parent).f_flag & os.ST_RDONLY:  # there `access` still says yes to root
        problems.add(StorageError(f"{parent} is on a file system that can only be read."))
        return
    free = shutil.disk_usage(parent).free
    if free < NEEDED:
        problems.add(
            StorageError(
                f"{parent} has {free // 2**20} MiB free, and a run wants {NEEDED // 2**20}: make "
                "room there, or name a folder on another disk with --out."
            )
        )
