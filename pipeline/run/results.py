"""Write what an evaluation came to: `evaluation/metrics.parquet` and `report.md`.

Both are made of the rows of the stages alone, so that they can be recounted, and made anew where a
row is purged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import manifest, store
from pipeline.evaluate import report, results
from pipeline.evaluate.results import Result
from pipeline.manifest import FileEntry, StageManifest
from pipeline.run.context import Context
from pipeline.run.evaluating import FOLDER
from pipeline.stages import evaluate, win_rate

METRICS = "evaluation/metrics.parquet"
REPORT = "evaluation/report.md"
COLUMNS = ("evaluations", "not_evaluated", "wanted_label", "preferred", "is_flipped", "not_judged")


def write_results(context: Context, kin: str | None) -> list[FileEntry]:
    """Write the results of the stages that are done; gives the files, none without an evaluation.

    `kin` is the family of the judge, where it is that of a model that it judged.
    """
    done = [state for state in context.done if state.complete]
    found = results_of(done, lambda state: store.shards(context.run / state.folder, state))
    if not found:
        return []
    (context.run / FOLDER).mkdir(exist_ok=True)
    entry = store.write_shard(results.table(found), context.run / METRICS, context.run)
    text = report.render(found, run=context.run.name, kin=kin)
    manifest.replace_bytes(context.run / REPORT, text.encode())
    return [entry.model_copy(update={"path": METRICS})]


def results_of(
    states: Sequence[StageManifest], shards: Callable[[StageManifest], list[Path]]
) -> list[Result]:
    """The results of the stages of a run, whose kept shards `shards` finds."""
    found: list[Result] = []
    by: Sequence[str] = ()
    for state in states:
        if state.stage == evaluate.STAGE.name:
            by = state.settings.get("by") or ()
            found += results.of_answers(_rows(state, shards, by), by)
            found += _curve(state.measures)
        elif state.stage == win_rate.STAGE.name:
            found += results.of_verdicts(_rows(state, shards, by), by)
    return found


def _curve(measures: dict[str, Any]) -> list[Result]:
    """The losses of the data-size curve, one a share of the rows; each is of one trained model."""
    return [
        Result("adapter", f"size={one['share']:g}", metric, one[metric], one["rows"])
        for one in measures.get("sizes") or ()
        for metric in ("loss", "rows_trained")
    ]


def _rows(
    state: StageManifest, shards: Callable[[StageManifest], list[Path]], by: Sequence[str]
) -> pl.DataFrame:
    wanted = [name for name in dict.fromkeys((*COLUMNS, *by)) if name in state.columns]
    paths = shards(state)
    return store.read_frame(paths, wanted) if paths else pl.DataFrame()
