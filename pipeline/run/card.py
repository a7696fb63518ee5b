"""The dataset card: what is in `data/`, where it came from, what was dropped and why."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline import store
from pipeline.manifest import FileEntry, StageManifest
from pipeline.package_data import PROMPTS
from pipeline.run.prepare import Prepared
from pipeline.templates import parse

OFFLINE = "offline"
TEMPLATE = PROMPTS / "dataset_card.md"


def render(prepared: Prepared, stages: list[StageManifest], files: list[FileEntry]) -> str:
    """The text of `data/README.md`, with the YAML header that the `datasets` package reads."""
    template = parse(TEMPLATE.read_text(encoding="utf-8"), where=str(TEMPLATE))
    writers = _writers(prepared.run, stages)
    rows = {
        side: sum(entry.rows for entry in files if entry.path.startswith(f"data/messages/{side}-"))
        for side in ("train", "validation")
    }
    return template.render(
        {
            "recipe": prepared.recipe.settings.name,
            "description": prepared.recipe.settings.description,
            "language": prepared.recipe.settings.language,
            "writers": [{"name": name, "rows": n} for name, n in writers],
            "has_offline": any(name == OFFLINE for name, _ in writers),
            "seeds": prepared.seeds.path.name if prepared.seeds else None,
            "seeds_sha256": prepared.seeds.sha256 if prepared.seeds else None,
            "input": prepared.source.path.name if prepared.source else None,
            "judge": prepared.judge.uri.model if prepared.judge else None,
            "judged_by_teacher": [] if prepared.judge else prepared.judged_by_teacher,
            "teacher": prepared.teacher.model,
            "rows": rows,
            "size": _size_category(sum(rows.values())),
            "stages": [
                {
                    "name": state.name,
                    "candidates": state.candidates,
                    "kept": state.kept,
                    "dropped": state.dropped,
                    "reasons": ", ".join(f"{k} {n}" for k, n in state.dropped_by_reason.items()),
                }
                for state in stages
            ],
        }
    )


def _writers(run: Path, stages: list[StageManifest]) -> list[tuple[str, int]]:
    """Who wrote the exported rows, by the rows themselves, most first."""
    last = stages[-2]  # the export itself has no shards
    names = [name for name in ("teacher", "source") if name in last.columns]
    frame = store.read_frame(store.shards(run / last.folder, last), names)
    null = pl.lit(None, pl.String)
    columns = [
        pl.col(name) if name in names else null.alias(name) for name in ("teacher", "source")
    ]
    named = frame.select(pl.coalesce(*columns, pl.lit("people or programs unknown")).alias("by"))
    counts = named.group_by("by").len().sort(["len", "by"], descending=[True, False])
    return [(str(name), int(n)) for name, n in counts.iter_rows()]


def _size_category(rows: int) -> str:
    for limit, name in (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    ):
        if rows < limit:
            return name
    return "n>1M"
