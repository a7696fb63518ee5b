"""The dataset card: what is in `data/`, where it came from, what was dropped and why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from filters.decontaminate import read_benchmarks
from pipeline import store, yaml_text
from pipeline.errors import DamagedError
from pipeline.manifest import FileEntry, RunManifest, StageManifest
from pipeline.package_data import PROMPTS
from pipeline.seed_tasks import BUILTIN
from pipeline.stages import decontaminate
from pipeline.templates import parse
from pipeline.terminal import shorten

OFFLINE = "offline"
SOURCES = 20
"""How many sources a card names one by one."""
LANGUAGE = r"^[a-z]{2,3}$"
LANGUAGES = 50
LONGEST = 200
TEMPLATE = PROMPTS / "dataset_card.md"


def render(
    run: Path,
    state: RunManifest,
    stages: Sequence[StageManifest],
    files: Sequence[FileEntry],
    shards: Sequence[Path] | None = None,
) -> str:
    """The text of `data/README.md`, with the YAML header that the `datasets` package reads.

    `shards` are those of the exported rows where they are not in their place yet.
    """
    template = parse(TEMPLATE.read_text(encoding="utf-8"), where=str(TEMPLATE))
    recipe = _recipe(run)
    last = stages[-2]  # the export itself has no shards
    exported = store.shards(run / last.folder, last) if shards is None else shards
    writers = _writers(exported, last)
    sources, has_teacher = _sources(exported, last)
    seeds_sha256 = state.identity.get("seeds")
    seeds = str(recipe.get("seeds", "builtin"))
    rows = {
        side: sum(entry.rows for entry in files if entry.path.startswith(f"data/messages/{side}-"))
        for side in ("train", "validation")
    }
    return template.render(
        {
            "recipe": state.recipe,
            "description": recipe.get("description", ""),
            "languages": _languages(exported, last) or [recipe.get("language", "en")],
            "writers": [{"name": name, "rows": n} for name, n in writers],
            "has_offline": any(name == OFFLINE for name, _ in writers),
            "seeds": (BUILTIN if seeds == "builtin" else Path(seeds)).name
            if seeds_sha256
            else None,
            "seeds_sha256": seeds_sha256,
            "input": Path(state.input["path"]).name if state.input else None,
            "sources": sources,
            "scorer": state.identity.get("scorer.model"),
            "depends_on": _depends_on(
                has_seeds=bool(seeds_sha256), has_sources=bool(sources), has_teacher=has_teacher
            ),
            "judge": state.judge,
            "judged_by_teacher": state.judged_by_teacher,
            "teacher": state.teacher,
            "looked_for": _looked_for(state, stages),
            "rows": rows,
            "has_completion": any(entry.path.startswith("data/completion/") for entry in files),
            "size": _size_category(sum(rows.values())),
            "stages": [
                {
                    "name": stage.name,
                    "candidates": stage.candidates,
                    "kept": stage.kept,
                    "dropped": stage.dropped,
                    "reasons": ", ".join(f"{k} {n}" for k, n in stage.dropped_by_reason.items()),
                }
                for stage in stages
            ],
        }
    )


def _recipe(run: Path) -> dict[str, Any]:
    """The run's recipe as it is written in its folder."""
    path = run / "recipe.yaml"
    try:
        tree = yaml_text.load(path.read_text(encoding="utf-8"), where=str(path))
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}.") from error
    return tree if isinstance(tree, dict) else {}


def _languages(shards: Sequence[Path], last: StageManifest) -> list[str]:
    """The languages of the exported rows, most rows first; none where no row says its own.

    What a row says is data: only what has the form of a code is one.
    """
    if not shards or "language" not in last.columns:
        return []
    named = store.read_frame(shards, ["language"]).drop_nulls()
    codes = named.filter(pl.col("language").str.contains(LANGUAGE))
    counts = codes.group_by("language").len().sort(["len", "language"], descending=[True, False])
    codes_only = counts["language"].to_list()[:LANGUAGES]
    return [f'"{code}"' if code == "no" else code for code in codes_only]  # no is false in YAML


def _writers(shards: Sequence[Path], last: StageManifest) -> list[tuple[str, int]]:
    """Who wrote the exported rows, by the rows themselves, most first."""
    names = [name for name in ("teacher", "source") if name in last.columns]
    frame = store.read_frame(shards, names)
    null = pl.lit(None, pl.String)
    columns = [
        pl.col(name) if name in names else null.alias(name) for name in ("teacher", "source")
    ]
    named = frame.select(pl.coalesce(*columns, pl.lit("people or programs unknown")).alias("by"))
    counts = named.group_by("by").len().sort(["len", "by"], descending=[True, False])
    return [(str(name), int(n)) for name, n in counts.iter_rows()]


def _sources(shards: Sequence[Path], last: StageManifest) -> tuple[list[dict[str, object]], bool]:
    """The sources that the exported rows name, each with its licence, and whether any is written.

    Most rows first; of more than `SOURCES` the rest is one entry. What a row says is data: it comes
    on one line, with no mark in it that ends a piece of code.
    """
    names = [name for name in ("source", "license", "teacher") if name in last.columns]
    if not shards or not names:
        return [], False
    frame = store.read_frame(shards, names)
    has_teacher = "teacher" in names and frame["teacher"].null_count() < frame.height
    by = [name for name in names if name != "teacher"]
    if not by:
        return [], has_teacher
    said = frame.filter(pl.any_horizontal(pl.col(by).is_not_null()))
    counts = said.group_by(by).len().sort(["len", *by], descending=[True, *(False for _ in by)])
    found: list[dict[str, object]] = [
        {
            "name": _code(row.get("source")),
            "licence": _code(row.get("license")),
            "rows": row["len"],
            "more": 0,
        }
        for row in counts.head(SOURCES).to_dicts()
    ]
    if rest := int(counts["len"].slice(SOURCES).sum()):
        found.append({"name": None, "licence": None, "rows": rest, "more": counts.height - SOURCES})
    return found, has_teacher


def _code(text: str | None) -> str | None:
    """A text of a row as it may stand between backticks."""
    return None if text is None else shorten(" ".join(text.split()).replace("`", "'"), LONGEST)


def _looked_for(state: RunManifest, stages: Sequence[StageManifest]) -> list[dict[str, object]]:
    """What each stage of decontamination looked for: the file, its SHA-256, and its benchmarks.

    A file that is gone, or is another by now, is named without what is in it.
    """
    found: list[dict[str, object]] = []
    for stage in stages:
        if stage.stage != decontaminate.STAGE.name:
            continue
        path = stage.settings.get("benchmarks")
        digest = state.identity.get(f"{stage.name}.file.{path}")
        prompts = None if path is None else _prompts(Path(path), digest)
        counts = None if prompts is None else prompts.group_by("benchmark").len()
        named = (
            []
            if counts is None
            else counts.sort(["len", "benchmark"], descending=[True, False]).rows()
        )
        found.append(
            {
                "stage": stage.name,
                "file": None if path is None else _code(Path(path).name),
                "sha256": digest,
                "prompts": None if prompts is None else prompts.height,
                "benchmarks": [{"name": _code(name or ""), "n": n} for name, n in named[:SOURCES]],
                "more": max(len(named) - SOURCES, 0),
            }
        )
    return found


def _prompts(path: Path, digest: object) -> pl.DataFrame | None:
    """The prompts of a file, where it is still the one that was looked into."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return None
        return read_benchmarks(path)
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return None


def _depends_on(*, has_seeds: bool, has_sources: bool, has_teacher: bool) -> str:
    """What the licence of the result depends on."""
    parts = [
        *(["the licences of the rows that were taken in"] if has_sources else []),
        *(["the seed tasks"] if has_seeds else []),
        *(["the terms of the teacher"] if has_teacher else []),
    ]
    return " and on ".join(parts) or "where its rows come from"


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
