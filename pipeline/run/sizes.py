"""The data-size curve: the same training on shares of its rows, measured on the same held-out rows.

The shares are nested: a row of a smaller one is in every larger one, by a hash of run seed and row.
Each is trained from the same base, with the settings of the training that is evaluated: for as many
epochs, so for fewer steps, unless `sft.max_steps` says how many. Their models are not kept.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, redact, store
from pipeline.errors import InputError
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.engines import LOGS
from pipeline.run.evaluated import Models, own_training, trained_by
from pipeline.run.training import CHILD, given_config, said_by, write_rows
from pipeline.stages import export, sft
from pipeline.store import StageFolder
from pipeline.train import evaluate_settings
from pipeline.train.evaluate_settings import ADAPTER, BASE
from pipeline.train.settings import Config

Ask = Callable[[Models], dict[str, list[dict[str, Any]]]]
"""Measures the losses of models on the rows that are evaluated."""


def curve(
    context: Context,
    step: Step,
    folder: StageFolder,
    work: Path,
    models: Models,
    whole: list[dict[str, Any]],
    ask: Ask,
) -> list[dict[str, Any]]:
    """One entry a share: `share`, `rows_trained`, `loss`, and the `rows` that it is over.

    `whole` are the losses of the adapter that was trained on all rows: it stands for the share 1.
    """
    assert isinstance(step.config, evaluate_settings.Config)
    ids = _trained(context)
    if not ids:
        raise InputError(
            f"{step.name}.sizes: the rows do not say which of them a model was trained on (their "
            "column held_out): start from a run of 'sft', or take a recipe that trains."
        )
    training = _training(context, step)
    rows = _rows(context, training, work / "all.parquet")
    base = next(str(one["base"]) for one in models if one["name"] == BASE)
    found = []
    for share in step.config.sizes:
        done = work / f"size-{share:g}.json"
        if share == 1:
            found.append({"share": share, "rows_trained": len(ids), **_loss(whole)})
            continue
        if not done.is_file():
            chosen = set(ids[: math.ceil(share * len(ids))])
            is_shown = [row_id in chosen or held for row_id, held in _held_out(context)]
            out = work / f"size-{share:g}"
            made = _train(context, folder, training, base, rows.filter(pa.array(is_shown)), out)
            losses = ask([{"name": ADAPTER, **_model(made, base)}])[ADAPTER]
            entry = {"share": share, "rows_trained": len(chosen), **_loss(losses)}
            manifest.replace_bytes(done, json.dumps(entry).encode())
            shutil.rmtree(out)
        found.append(json.loads(done.read_bytes()))
    return found


def _held_out(context: Context) -> list[tuple[str, bool | None]]:
    """Every row of the stage before, and whether it was held out; null where nobody says."""
    names = [name for name in ("row_id", "held_out") if name in context.input_columns()]
    rows = store.read_rows(context.input_shards(), names)
    return [(row["row_id"], row.get("held_out")) for row in rows]


def _trained(context: Context) -> list[str]:
    """The rows that were trained on, in the order in which shares take them."""
    seed = context.prepared.recipe.settings.seed
    ids = [row_id for row_id, held in _held_out(context) if held is False]
    return sorted(ids, key=lambda one: (export.side_number(f"size:{one}", seed), one))


def _rows(context: Context, training: Step, path: Path) -> pa.Table:
    """All rows of the stage before as training reads them, held out as they were."""
    write_rows(context, training, path)
    table = pq.read_table(path)
    held = pa.array([bool(one) for _, one in _held_out(context)], pa.bool_())
    at = table.column_names.index("held_out")
    return table.set_column(at, "held_out", held)


def _training(context: Context, step: Step) -> Step:
    """The training that is evaluated; its merged model is not wanted again."""
    own = own_training(context.prepared.recipe, step)
    if own is not None:
        assert isinstance(own.config, Config)
        return replace(own, config=own.config.model_copy(update={"merge": False}))
    source = context.prepared.source
    trained = None if source is None else trained_by(source.path)
    if trained is None:
        raise InputError(
            f"{step.name}.sizes: the run that the rows come from is not there any more, and its "
            "training's settings with it."
        )
    config = Config.model_validate({**trained.step.settings, "merge": False})
    return Step(trained.step.name, sft.STAGE, config)


def _train(
    context: Context,
    folder: StageFolder,
    training: Step,
    base: str,
    rows: pa.Table,
    out: Path,
) -> Path:
    """Train on the rows; gives the folder of the adapter, or of the model, that comes out."""
    out.mkdir(exist_ok=True)
    with pq.ParquetWriter(out / "rows.parquet", rows.schema) as writer:
        writer.write_table(rows)
    assert isinstance(training.config, Config)
    given = {
        "base": base,
        "named": None,
        "rows": str(out / "rows.parquet"),
        "out": str(out.resolve()),
        "config": given_config(training.config),
        "seed": context.prepared.recipe.settings.seed,
        "keys": redact.remembered(),
    }
    log = context.run / LOGS / f"{folder.state.name}-sizes.log"
    for said in said_by(CHILD, given, log, context.ending):
        if "step" in said:
            context.tell(folder, said["steps"], said["step"])
    return out / ("full" if training.config.method == "full" else "adapter")


def _model(made: Path, base: str) -> dict[str, str | None]:
    is_whole = made.name == "full"
    return {
        "base": str(made.resolve()) if is_whole else base,
        "adapter": None if is_whole else str(made.resolve()),
    }


def _loss(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean loss over the tokens of all references."""
    lost = [one for one in entries if one["loss"] is not None]
    tokens = sum(one["loss_tokens"] for one in lost)
    if not tokens:
        raise InputError("no row that is evaluated has a reference, so that no loss can be taken.")
    total = sum(one["loss"] * one["loss_tokens"] for one in lost)
    return {"loss": total / tokens, "rows": len(lost)}
