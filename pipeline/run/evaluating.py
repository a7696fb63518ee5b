"""Run a stage that has models answer rows: in a process of its own, which a signal ends at once.

What is answered is written down a batch at a time in `evaluation/work`, so that an evaluation that
was killed asks for nothing again that it has; once the stage is sealed its rows have it all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import redact, store
from pipeline.errors import InputError
from pipeline.model_files import MODEL
from pipeline.recipe import Step
from pipeline.run.aside import aside
from pipeline.run.bases import check_base
from pipeline.run.context import Context
from pipeline.run.engines import LOGS
from pipeline.run.evaluated import Models, is_adapter, own_training
from pipeline.run.events import Message
from pipeline.run.judging import open_computed, publish_verdicts
from pipeline.run.served_answers import answer_by_vllm
from pipeline.run.sizes import Ask, curve
from pipeline.run.training import said_by
from pipeline.schema import COLUMNS, MESSAGE
from pipeline.stage import EvaluateStage, Row
from pipeline.stages import win_rate
from pipeline.store import StageFolder
from pipeline.train.evaluate_settings import ADAPTER, BASE, OTHER, Config

FOLDER = "evaluation"
"""The folder of a run that holds the results, and while it is at work the answers so far."""
WORK = "work"
PARTS = ("answers", "losses")
CHILD = "pipeline.train.evaluate_child"
ROWS = pa.schema([("prompt", pa.list_(MESSAGE)), ("reference", pa.string())])
BATCH = 2048


async def run_evaluate_stage(context: Context, index: int, step: Step) -> None:
    """Have the models answer the rows of the stage before that were not trained on."""
    assert isinstance(step.stage, EvaluateStage)
    assert isinstance(step.config, Config)
    folder = open_computed(context, index, step)
    total = context.input_rows()
    if folder.state.complete:
        shutil.rmtree(context.run / FOLDER / WORK, ignore_errors=True)  # a kill may have left it
        context.done.append(folder.state)
        return
    work = _work_folder(context, folder)
    chosen, why_not = _choose(context, step)
    _check_rows(context, step, chosen)
    _write_rows(step, chosen, work / "rows.parquet")
    models = models_of(context, step)
    parts: tuple[str, ...] = PARTS
    if step.config.vllm is not None:
        _asked(context, step, folder, work, models, ("prompts",))
        await answer_by_vllm(context, step, folder, work, models)
        parts = ("losses",)
    answers, refused = _asked(context, step, folder, work, models, parts)
    sizes: list[dict[str, Any]] = []
    if step.config.sizes:
        sizes = curve(
            context,
            step,
            folder,
            work,
            models,
            answers[ADAPTER],
            _measuring(context, step, folder, work),
        )
    for at, why in refused.items():
        why_not[chosen[at]["row_id"]] = why.partition(":")[0]
    rows = _with_answers(step, chosen, answers, refused)
    config, score = step.config, step.stage.score
    aside(lambda: score(rows, config), context.ending)
    frame = _verdicts(context, step, rows, why_not)
    publish_verdicts(context, step, folder, frame, step.stage.writes)
    if step.stage.measure is not None and folder.state.parts:
        kept = store.read_frame(store.shards(folder.path, folder.state))
        folder.state.measures = step.stage.measure(kept, step.config)
        folder.state.measures |= {"sizes": sizes} if sizes else {}
    context.seal(folder, total, total)
    shutil.rmtree(work)  # the rows once more, in a place that a purge does not look into


def _work_folder(context: Context, folder: StageFolder) -> Path:
    """Where answers are kept until the stage is sealed; anew where they are of others."""
    work = context.run / FOLDER / WORK
    made_of = work / "made_of"
    wanted = f"{folder.state.fingerprint} {folder.state.input_digest}"
    if work.exists() and (not made_of.is_file() or made_of.read_text("utf-8") != wanted):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    made_of.write_text(wanted, "utf-8")
    return work


def _choose(context: Context, step: Step) -> tuple[list[Row], dict[str, str]]:
    """The rows that are asked about, with `asked` and `reference`, and why others are not."""
    assert isinstance(step.stage, EvaluateStage)
    there = context.input_columns()
    columns = (*step.stage.reads, *(name for name in step.stage.may_read if name in there))
    chosen, why_not = [], {}
    for row in store.read_rows(context.input_shards(), columns):
        context.ending.check()
        why = step.stage.why_not(row)
        if why is not None:
            why_not[row["row_id"]] = why
            continue
        prompt, reference = step.stage.prompt(row)
        texts = [row["instruction"], row["input"], *(turn["content"] for turn in prompt)]
        asked = [text for text in texts if text]
        chosen.append(row | {"prompt": prompt, "reference": reference, "asked": asked})
    return chosen, why_not


def _check_rows(context: Context, step: Step, chosen: list[Row]) -> None:
    """Raise `InputError` where there is nothing to evaluate on, before a weight is loaded."""
    if not chosen:
        raise InputError(
            f"{step.name} has no row to evaluate on: of {context.input_rows()} rows all were "
            "trained on. Hold some out (sft.validation), or name other rows with --input."
        )
    is_judged = any(one.stage is win_rate.STAGE for one in context.prepared.steps)
    if not is_judged and all(row["reference"] is None for row in chosen):
        raise InputError(
            f"{step.name} has no reference: none of {len(chosen)} rows has an output to compare "
            "answers with. Name its field (import.columns), or a judge that wants none (--judge)."
        )


def _write_rows(step: Step, chosen: list[Row], path: Path) -> None:
    with pq.ParquetWriter(path, ROWS) as writer:
        for at in range(0, len(chosen), BATCH):
            part = [{name: row[name] for name in ROWS.names} for row in chosen[at : at + BATCH]]
            writer.write_table(pa.Table.from_pylist(part, ROWS))


def models_of(context: Context, step: Step) -> Models:
    """The models that are asked, each with its base and its adapter: base, adapter, other."""
    prepared = context.prepared
    named = {
        kind: Path(prepared.evaluated[f"{step.name}.{kind}"].uri.folder)
        for kind in (BASE, ADAPTER, OTHER)
        if f"{step.name}.{kind}" in prepared.evaluated
    }
    own = own_training(prepared.recipe, step)
    if own is not None:
        made = context.run / MODEL
        if not made.is_dir() and prepared.old_run is not None:  # its stage was taken over
            made = prepared.old_run / MODEL
        trained_on = prepared.bases.get(own.name)
        named[BASE] = made / "base" if trained_on is None else Path(trained_on.uri.folder)
        named[ADAPTER] = made / "adapter" if (made / "adapter").is_dir() else made / "full"
    base = named[BASE].resolve()
    check_base(f"{step.name}.base", base)
    found: Models = []
    for kind in (BASE, ADAPTER, OTHER):
        if kind in named:
            folder = named[kind].resolve()
            is_over = kind != BASE and is_adapter(folder)
            found.append(
                {
                    "name": kind,
                    "base": str(base if is_over else folder),
                    "adapter": str(folder) if is_over else None,
                }
            )
    return found


def _asked(
    context: Context,
    step: Step,
    folder: StageFolder,
    work: Path,
    models: Models,
    parts: tuple[str, ...],
) -> tuple[dict[str, list[dict[str, Any]]], dict[int, str]]:
    """What each model answers, and why rows could not be asked, by their place."""
    assert isinstance(step.config, Config)
    answers: dict[str, list[dict[str, Any]]] = {}
    refused: dict[int, str] = {}
    for said in said_by_models(context, step, work, models, parts):
        if "not_asked" in said:
            refused = dict(said["not_asked"])
        elif "said" in said:
            context.listener(Message(f"{step.name}: {said['said']}"))
        elif "answers" in said:
            answers = said["answers"]
        elif "step" in said:
            context.tell(folder, said["steps"], said["step"])
    return answers, refused


def _measuring(context: Context, step: Step, folder: StageFolder, work: Path) -> Ask:
    """Measures the losses of other models on the same rows, in a folder of their own."""

    def ask(models: Models) -> dict[str, list[dict[str, Any]]]:
        other = work / "measured"
        shutil.rmtree(other, ignore_errors=True)
        other.mkdir()
        shutil.copyfile(work / "rows.parquet", other / "rows.parquet")
        return _asked(context, step, folder, other, models, ("losses",))[0]

    return ask


def said_by_models(
    context: Context,
    step: Step,
    work: Path,
    models: Models,
    parts: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """What the process says in which models are asked."""
    assert isinstance(step.config, Config)
    given = {
        "models": models,
        "rows": str(work / "rows.parquet"),
        "out": str(work),
        "parts": parts,
        "max_tokens": step.config.max_tokens,
        "batch": step.config.batch,
        "keys": redact.remembered(),
    }
    yield from said_by(CHILD, given, context.run / LOGS / f"{step.name}.log", context.ending)


def _with_answers(
    step: Step,
    chosen: list[Row],
    answers: dict[str, list[dict[str, Any]]],
    refused: dict[int, str],
) -> list[Row]:
    """The rows that were asked about, with the answers of all models."""
    by_row: dict[int, list[dict[str, Any]]] = {}
    for model, found in answers.items():
        for one in found:
            at = one.pop("at")
            by_row.setdefault(at, []).append({"model": model, **one})
    return [row | {"evaluations": by_row[at]} for at, row in enumerate(chosen) if at not in refused]


def _verdicts(
    context: Context, step: Step, rows: list[Row], why_not: dict[str, str]
) -> pl.DataFrame:
    """All rows of the stage before, each kept, with what the stage writes."""
    ids = store.read_frame(context.input_shards(), ["row_id"])["row_id"].to_list()
    by_id = {row["row_id"]: row for row in rows}
    found = [by_id.get(row_id, {}) for row_id in ids]
    kind = COLUMNS["evaluations"].type
    evaluations = pl.Series(pa.array([row.get("evaluations") for row in found], kind))
    return pl.DataFrame(
        {
            "reason": pl.repeat(None, len(ids), dtype=pl.String, eager=True),
            "detail": pl.repeat(None, len(ids), dtype=pl.String, eager=True),
            "ref": pl.repeat(None, len(ids), dtype=pl.String, eager=True),
            "wanted_label": pl.Series([row.get("wanted_label") for row in found], dtype=pl.String),
            "evaluations": evaluations,
            "not_evaluated": pl.Series([why_not.get(one) for one in ids], dtype=pl.String),
        }
    )
