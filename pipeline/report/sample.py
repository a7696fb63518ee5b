"""The rows of a report: all of them, or a sample by stratum where there are more than it shows.

A stratum is a rule of a stage, or what the last stage kept. What a row refers to and is not among
them is given by its instruction alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import polars as pl

from pipeline.inspect import Run
from pipeline.report.facts import halves
from pipeline.report.strata import strata

SEED = 42
LEAST = 50
"""Of each stratum so many rows are shown, or all it has."""
LONGEST = 4000
"""Characters of a text that are shown; the page says where there are more."""
LONGEST_OTHER = 300
TEXTS = ("instruction", "input", "output", "reasoning")
SCORES = ("rating", "perplexity", "ifd", "nearest_score", "quality", "round", "toxicity")
REFERS = ("parent_id", "root_id", "nearest_id", "drop_ref")
PLAIN = (
    *("row_id", "operation", "teacher", "source", "is_classification", "language", "domain"),
    *("task_type", "final_answer", "rating_reason", "drop_reason", "drop_detail", "held_out"),
)
LISTS = ("shown", "demonstrations")


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows as plain data, how many there are in all, and instructions of others by their id."""

    rows: list[dict[str, Any]]
    total: int
    others: dict[str, str]


def of_run(run: Run, most: int) -> Sample:
    """At most `most` rows of a run, in the order of its stages, the same each time.

    A row has `stage` (which dropped it, or the last that kept it), `is_kept`, and its columns.
    """
    ends = halves(run)
    groups: dict[tuple[int, str], list[int]] = {}
    for number, (stage, half) in enumerate(ends):
        if half == "kept":
            n = run.scan(stage, half).select(pl.len()).collect().item()
            groups[number, ""] = list(range(n))
            continue
        reasons = run.scan(stage, half).select("drop_reason").collect()["drop_reason"]
        for at, reason in enumerate(reasons):
            groups.setdefault((number, reason), []).append(at)
    sizes = [len(group) for group in groups.values()]
    rng = Random(SEED)
    chosen: dict[int, list[int]] = {}
    for (number, _), group, n in zip(
        groups, groups.values(), strata(sizes, most, LEAST), strict=True
    ):
        chosen.setdefault(number, []).extend(rng.sample(group, n))
    rows = [row for number, (stage, half) in enumerate(ends)
            for row in _rows(run, stage, half, sorted(chosen.get(number, [])))]  # fmt: skip
    return Sample(rows, sum(sizes), _others(run, rows))


def _rows(run: Run, stage: str, half: Any, at: list[int]) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - "kept" or "dropped"
    if not at:
        return
    scan = run.scan(stage, half)
    there = set(scan.collect_schema().names())
    wanted = [
        name
        for name in (*PLAIN, *TEXTS, *SCORES, *REFERS, *LISTS, "requests", "messages")
        if name in there
    ]
    frame = (
        scan.select(wanted)
        .with_row_index("at")
        .filter(pl.col("at").is_in(pl.lit(pl.Series(at, dtype=pl.UInt32)).implode()))
        .drop("at")
        .collect()
    )
    for row in frame.iter_rows(named=True):
        yield {"stage": stage, "is_kept": half == "kept", **_small(row)}


def _small(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what it does not have, its texts cut where they are very long."""
    found = {name: value for name, value in row.items() if value not in (None, "", [])}
    for name in TEXTS:
        text = found.get(name)
        if text is not None and len(text) > LONGEST:
            found[name] = text[:LONGEST]
            found.setdefault("cut", {})[name] = len(text) - LONGEST
    if "messages" in found:
        turns = [[turn["role"], turn["content"][:LONGEST]] for turn in found["messages"]]
        found["messages"] = turns[:20]
    if "requests" in found:
        found["requests"] = [
            [one["stage"], one["template"], one["model"], one["key"]] for one in found["requests"]
        ]
    return found


def _others(run: Run, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The instructions of what the rows refer to and that are not among them."""
    wanted = {row[name] for row in rows for name in REFERS if name in row}
    wanted |= {one for row in rows for name in LISTS for one in row.get(name, ())}
    wanted -= {row["row_id"] for row in rows}
    found = {
        id_: task.instruction[:LONGEST_OTHER] for id_, task in run.seeds.items() if id_ in wanted
    }
    wanted -= found.keys()
    for state in run.stage_manifests:
        if not wanted or state.exported is not None or not state.parts:
            continue
        for half in ("kept", "dropped"):
            scan = run.scan(state.name, half)
            if "instruction" not in scan.collect_schema().names():
                continue
            ids = pl.lit(pl.Series(sorted(wanted))).implode()
            frame = (
                scan.select("row_id", pl.col("instruction").str.slice(0, LONGEST_OTHER))
                .filter(pl.col("row_id").is_in(ids))
                .collect()
            )
            found |= {id_: text or "" for id_, text in frame.iter_rows()}
            wanted -= found.keys()
    return found
