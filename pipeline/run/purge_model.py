"""Whether a trained model has to go with a row that is purged, and may."""

from __future__ import annotations

import polars as pl

from pipeline import store
from pipeline.errors import InputError
from pipeline.inspect import Run
from pipeline.manifest import HALVES, StageManifest
from pipeline.model_files import MODEL, trains


def has_learned_from(run: Run, state: StageManifest, wanted: set[str]) -> bool:
    """Whether the model that a stage trained is there and has learned from one of the rows.

    The loss on rows that are held out is measured, and nothing learned from them. A base that was
    made for the run has read the others before the training could drop any of them.
    """
    if not trains(state) or not (run.path / MODEL).is_dir():
        return False
    has_own_base = (run.path / MODEL / "base").is_dir()
    for half in HALVES if has_own_base else HALVES[:1]:
        shards = store.shards(run.path / state.folder, state, half)
        rows = store.read_frame(shards, ["row_id", "held_out"]) if shards else None
        if rows is not None and wanted & set(rows.filter(~pl.col("held_out"))["row_id"]):
            return True
    return False


def check_model(run: Run, wanted: set[str], *, may_go: bool) -> None:
    """What took hours to train goes only where somebody says so."""
    if may_go or not any(has_learned_from(run, state, wanted) for state in run.stage_manifests):
        return
    raise InputError(
        f"{run.path / MODEL} has learned from it, and goes with it: take --model to remove it too "
        f"(synth run sft --input {run.path} --out NEW trains another on the rows that are left), "
        "or keep a copy of the folder elsewhere first."
    )
