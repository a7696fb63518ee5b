"""Take a stage over from another run: its shards and what the journal says of it.

`synth run --from OLD --out NEW` begins with the stages whose settings, and all before them, are the
same. What is taken over is marked as copied: it is not asked again, and its cost stays in OLD's
books.
"""

from __future__ import annotations

import shutil

from pipeline import manifest, store
from pipeline.errors import DamagedError
from pipeline.manifest import StageManifest
from pipeline.run.context import Context
from pipeline.stage import NOT_ASKED


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
    has_gaps = bool(state.dropped_by_reason.get(NOT_ASKED))
    is_same = not has_gaps and state.fingerprint == prepared.fingerprints[index]
    if not state.complete or state.exported is not None or not is_same:
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
    await _copy_records(context, name)
    for part in state.parts:
        part.journal = context.journal.committed
    state.usage = []
    manifest.replace(copy / "stage.json", state)
    manifest.sync_tree(copy)
    new.parent.mkdir(exist_ok=True)
    copy.replace(new)
    manifest.sync_folder(new.parent)


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
