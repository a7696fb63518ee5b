"""What a run trained, as its books list it: each file of `model/` with its size and its SHA-256.

The list is `model/files.json`; its own SHA-256 stands in the books of the stage that trained, so
that neither a file nor the list can change unseen. Where a purge has taken the model away, the
books say that instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline import manifest
from pipeline.manifest import OwnPath, StageManifest
from pipeline.stage import TrainStage
from pipeline.stages import STAGES

MODEL = "model"
"""The folder of a run that holds what was trained."""
LISTED = "files.json"
DIGEST = "model_files"
"""Among a stage's measures: the SHA-256 of the list."""
REMOVED = "model_removed"
"""Among them too: why there is no model any more."""
PURGED_MODEL = "a purge took it away with rows that it had learned from"


class Listed(BaseModel):
    """One file: its path below `model/`, its size in bytes, its SHA-256."""

    path: OwnPath
    bytes: int
    sha256: str


FILES = TypeAdapter(list[Listed])


def write_list(model: Path, without: Collection[str] = ()) -> str:
    """List all files of a model, but some that go again; gives the SHA-256 of the list."""
    others = {LISTED, *without}
    paths = sorted(path for path in model.rglob("*") if path.is_file() and path.name not in others)
    found = [
        Listed(path=name, bytes=path.stat().st_size, sha256=_sha256(path))
        for path in paths
        if (name := path.relative_to(model).as_posix())
    ]
    text = json.dumps([one.model_dump() for one in found], indent=1).encode() + b"\n"
    manifest.replace_bytes(model / LISTED, text)
    return hashlib.sha256(text).hexdigest()


def trains(state: StageManifest) -> bool:
    """Whether a stage is done that trains a model."""
    kind = next((one for one in STAGES if one.name == state.stage), None)
    return isinstance(kind, TrainStage) and state.complete


def is_unlisted(run: Path, state: StageManifest) -> bool:
    """Whether a model is there of a time when none was listed: nobody can say if it is whole."""
    return state.measures.get(DIGEST) is None and (run / MODEL).is_dir()


def listed(run: Path, state: StageManifest) -> list[Listed]:
    """The files that a stage lists.

    Raises `ValueError`, with what is wrong, where the list is not the one that was written.
    """
    try:
        text = (run / MODEL / LISTED).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if hashlib.sha256(text).hexdigest() != state.measures.get(DIGEST):
        raise ValueError("it is not what the run wrote")
    try:
        return FILES.validate_json(text)
    except ValidationError as error:
        raise ValueError("it lists no files") from error


def faults(run: Path, state: StageManifest) -> Iterator[tuple[str, str]]:
    """What is wrong with the model that a stage trained: the file below the run, and what."""
    if state.measures.get(REMOVED) is not None or is_unlisted(run, state):
        return
    try:
        found = listed(run, state)
    except ValueError as error:
        yield f"{MODEL}/{LISTED}", str(error)
        return
    for one in found:
        path = run / MODEL / one.path
        try:
            size = path.stat().st_size
            digest = one.sha256 if size != one.bytes else _sha256(path)
        except OSError as error:
            yield f"{MODEL}/{one.path}", f"listed, and cannot be read: {error.strerror}"
            continue
        if size != one.bytes:
            yield f"{MODEL}/{one.path}", f"{size} bytes, {one.bytes} are listed"
        elif digest != one.sha256:
            yield (
                f"{MODEL}/{one.path}",
                f"SHA-256 is {digest[:16]}..., {one.sha256[:16]}... is listed",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
