"""Take a stage over from another run: its shards and what the journal says of it.

`synth run --from OLD --out NEW` begins with the stages whose settings, and all before them, are the
same. What is taken over is marked as copied: it is not asked again, and its cost stays in OLD's
books.
"""

from __future__ import annotations

import shutil

from pipeline import manifest, store
from pipeline.durable import sync_folder, sync_tree
from pipeline.errors import DamagedError
from pipeline.manifest import StageManifest
from pipeline.model_files import LISTED, MODEL, faults, trains
from pipeline.run.context import Context
from pipeline.run.prepare import Prepared
from pipeline.stage import NOT_ASKED


def is_taken_over(prepared: Prepared, index: int) -> bool:
    """Whether the stage at `index` will be, or has been, copied from the old run as it is."""
    if prepared.old_run is None:
        return False
    folder = manifest.stage_folder(index, prepared.steps[index].name)
    there = prepared.run / folder
    path = (there if there.exists() else prepared.old_run / folder) / "stage.json"
    return path.is_file() and _is_same(manifest.read(StageManifest, path), prepared, index)


def _is_same(state: StageManifest, prepared: Prepared, index: int) -> bool:
    """Whether a stage is whole, and what the run would make of it."""
    is_whole = state.complete and not state.dropped_by_reason.get(NOT_ASKED)
    is_meant = state.fingerprint == prepared.fingerprints[index]
    assert prepared.old_run is not None
    has_model = not trains(state) or (prepared.old_run / MODEL / LISTED).is_file()
    return is_whole and is_meant and has_model and state.exported is None


async def reuse(context: Context, index: int) -> None:
    """Copy the stage at `index` from the old run where it is the same; else do nothing."""
    prepared = context.prepared
    if prepared.old_run is None:
        return
    name = prepared.steps[index].name
    folder = manifest.stage_folder(index, name)
    old, new = prepared.old_run / folder, prepared.run / folder
    if new.exists() or not (old / "stage.json").is_file():
        return
    state = manifest.read(StageManifest, old / "stage.json")
    if not _is_same(state, prepared, index):
        if prepared.is_replay:  # what was asked there is all that there will be
            await _copy_records(context, name)
        return
    copy = prepared.run / ".staging" / "stage"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(old, copy)
    for part in state.parts:
        for entry in (part.kept, part.dropped):
            if store.describe(copy / entry.path).sha256 != entry.sha256:
                raise DamagedError(f"{old / entry.path} is not what its stage.json lists.")
    if trains(state):
        _copy_model(context, state)
    await _copy_records(context, name)
    for part in state.parts:
        part.journal = context.journal.committed
    state.usage = []
    manifest.replace(copy / "stage.json", state)
    sync_tree(copy)
    new.parent.mkdir(exist_ok=True)
    copy.replace(new)
    sync_folder(new.parent)


def _copy_model(context: Context, state: StageManifest) -> None:
    """Copy what a stage trained, and look whether the copy is what its books list."""
    assert context.prepared.old_run is not None
    old, new = context.prepared.old_run / MODEL, context.prepared.run / MODEL
    shutil.rmtree(new, ignore_errors=True)  # of a process that was cut off
    shutil.copytree(old, new)
    for where, what in faults(context.prepared.run, state):
        raise DamagedError(f"{old.parent / where}: {what}.")
    sync_tree(new)


async def _copy_records(context: Context, stage: str) -> None:
    """Copy a stage's intents and replies, but those that an earlier, killed try has copied."""
    if context.old is None:
        return
    there = {(record.kind, record.key) for record in context.journal.records(stage)}
    for record in context.old.of_stage(stage):
        if (record.kind, record.key) not in there and record.kind != "failure":
            note = record.note | {"copied": True}
            context.journal.append(record.kind, record.key, stage, record.slot, note, record.raw)
            if context.journal.last % 1000 == 0:
                await context.journal.settle()
    await context.journal.settle()
