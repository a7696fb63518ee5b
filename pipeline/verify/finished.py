"""What only a finished run has: its totals, `data/` and what it was made with."""

from __future__ import annotations

import hashlib

import polars as pl
import pyarrow as pa

from pipeline import store
from pipeline.errors import DamagedError
from pipeline.evaluate import results
from pipeline.inspect import Run
from pipeline.review import books
from pipeline.run.results import results_of
from pipeline.stages import export
from pipeline.verify import shard
from pipeline.verify.report import Report
from pipeline.verify.stage import CountedStage


def check_run_manifest(run: Run, report: Report) -> None:
    """`run.json` lists every stage, all of them complete, with their sum and their digest."""
    state = run.manifest
    begun = [stage.folder for stage in run.stage_manifests]
    for folder in begun:
        if folder not in state.stages:
            report.find(folder, "run.json does not list this stage")
    for stage in run.stage_manifests:
        if not stage.complete:
            report.find(f"{stage.folder}/stage.json", "not complete, in a run that is finished")
    if run.stage_manifests and state.kept != run.stage_manifests[-1].kept:
        report.find(
            "run.json", f"kept says {state.kept}, {begun[-1]} has {run.stage_manifests[-1].kept}"
        )
    for name, digest in state.texts.items():
        path = run.path / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            report.find(name, "it is not what the run wrote")
    if state.digest != state.digest_of(run.stage_manifests):
        report.find("run.json", "its digest is not that of the listed files")


def check_export(run: Run, counted: list[CountedStage], report: Report) -> None:
    """`data/`: each configuration holds the kept rows of the last stage, split by root."""
    exports = [stage for stage in counted if stage.state.exported is not None]
    sources = [stage for stage in counted if stage.state.parts]
    schemas = export.schemas(sources[-1].state.columns if sources else ())
    held: dict[tuple[str, str], list[pa.ChunkedArray]] = {}
    is_readable = True
    for entry in run.manifest.data:
        _, form, name = (*entry.path.split("/"), "", "")[:3]
        wanted = schemas.get(form)
        table = shard.read(run.path, entry.path, entry, wanted, ("row_id",), report)
        if table is None or "row_id" not in table.column_names:
            is_readable = False
            continue
        held.setdefault((form, name.split("-")[0]), []).append(table["row_id"])
    listed = {entry.path for entry in run.manifest.data}
    for path in sorted((run.path / "data").glob("*/*")):
        if (name := path.relative_to(run.path).as_posix()) not in listed:
            report.find(name, "run.json does not list it")
    if not exports:
        return
    if not sources or not sources[-1].is_readable or not is_readable:
        return
    source, stage = sources[-1], exports[-1]
    if stage.state.exported != source.state.kept:
        report.find(stage.books, f"exported {stage.state.exported} rows of {source.state.kept}")
    config = export.Config.model_validate(stage.state.settings)
    seed = int(run.manifest.identity.get("seed", 0))
    rows = _with_sides(source.rows, seed, config)
    for form in export.schemas((), config):
        for side in ("train", "validation"):
            ids = rows.filter(side=side)["row_id"]
            pieces = held.get((form, side), [])
            chunks = [chunk for piece in pieces for chunk in piece.chunks]
            found = pl.Series("row_id", pa.chunked_array(chunks, pa.string()))
            if not found.equals(ids):
                report.find(
                    f"data/{form}/{side}-*.parquet",
                    f"{len(found)} rows, not the {len(ids)} that {source.state.folder} has for it",
                )


def check_results(run: Run, report: Report) -> None:
    """`evaluation/`: the results are what the rows of the stages come to."""
    for entry in run.manifest.results:
        names = results.SCHEMA.names
        held = shard.read(run.path, entry.path, entry, results.SCHEMA, names, report)
        if held is None or report.findings:
            continue  # rows that are damaged come to nothing
        states = run.stage_manifests
        found = results_of(states, lambda state: store.shards(run.path / state.folder, state))
        if not held.equals(results.table(found)):
            report.find(entry.path, "not what the rows of the run come to")


def _with_sides(rows: pl.DataFrame, seed: int, config: export.Config) -> pl.DataFrame:
    """The kept rows with the side of the export that each belongs to: `row_id`, `side`."""
    if not rows.width:
        return pl.DataFrame(schema={"row_id": pl.String, "side": pl.String})
    root = pl.col("root_id").replace("", None)
    if "copies" in rows.columns:  # a row stands in data/ as often as in the mixture
        times = pl.col("copies").fill_null(1)
        rows = rows.filter("is_kept").select(pl.all().repeat_by(times)).explode(rows.columns)
    kept = rows.filter("is_kept").select("row_id", root=pl.coalesce(root, "row_id"))
    roots = kept["root"].unique()
    sides = [export.split(root, seed, config) for root in roots]
    side = pl.col("root").replace_strict(roots, pl.Series(sides, dtype=pl.String))
    return kept.select("row_id", side=side)


def check_inputs(run: Run, report: Report) -> None:
    """The seed tasks and templates in `inputs/` are those that the run was made with."""
    for setting, digest in run.manifest.identity.items():
        if setting == "seeds":
            name = "inputs/seeds.jsonl"
        elif setting.startswith("prompts."):
            name = f"inputs/{setting.removeprefix('prompts.')}.md"
        else:
            continue
        try:
            found = hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        except OSError as error:
            report.find(name, f"cannot be read: {error.strerror}")
            continue
        if found != digest:
            report.find(name, "not what the run was made with: its SHA-256 differs")


def check_reviews(run: Run, report: Report) -> None:
    """`reviews/`: every sheet that was read is there as it was written, and nothing else."""
    try:
        listed = books.books(run.path).files
    except DamagedError as error:
        report.find(books.LIST, str(error))
        return
    for entry in listed:
        shard.read(run.path, entry.path, entry, books.SCHEMA, ("row_id",), report)
    names = {books.LIST, *(entry.path for entry in listed)}
    for path in sorted((run.path / books.FOLDER).glob("*")):
        if (name := path.relative_to(run.path).as_posix()) not in names:
            report.find(name, f"{books.LIST} does not list it")
