"""The tree of a starting row: everything that it was rewritten into, kept or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from pipeline.errors import InputError
from pipeline.manifest import HALVES, StageManifest
from pipeline.rows import ROW_ID, Rows, rows_where
from pipeline.stages import evolve
from pipeline.terminal import safe, shorten

NEEDED = ("row_id", "parent_id", "round", "operation", "instruction")


@dataclass(frozen=True, slots=True)
class Branch:
    """One row of a tree and what was made of it; `drop_*` are null where it came through."""

    row_id: str
    instruction: str | None
    round: int | None = None
    operation: str | None = None
    drop_stage: str | None = None
    drop_reason: str | None = None
    drop_detail: str | None = None
    children: tuple[Branch, ...] = ()

    def walk(self) -> Iterator[Branch]:
        """This row and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree_of(run: Rows, row_id: str) -> Branch | None:
    """The tree that a row stands in, in this run or in those that it came from; or null."""
    for one in run.ancestors:
        for state in one.stage_manifests:
            if state.stage == evolve.STAGE.name and (found := _tree(one, state, row_id)):
                return found
    return None


def tree(run: Rows, stage: str | None, row_id: str) -> Branch:
    """The tree of one stage that a row stands in, or of any that evolves where none is named.

    Raises `InputError` where there is none.
    """
    states = [
        state
        for state in run.stage_manifests
        if (state.stage == evolve.STAGE.name if stage is None else state.name == stage)
    ]
    found = next((one for state in states if (one := _tree(run, state, row_id))), None)
    if found is None:
        where = "this run" if stage is None else stage
        raise InputError(f"the row {safe(row_id)!r} stands in no tree of {where}.")
    return found


def _tree(run: Rows, state: StageManifest, row_id: str) -> Branch | None:
    if not {"parent_id", "operation"} <= set(state.columns):
        return None
    prefix = _prefix(run, state, row_id)
    if prefix is None:
        return None
    rows = _find(run, state, pl.col("row_id").str.starts_with(prefix))
    if not rows:  # no stage that rewrites: it names rows for what they came from, and made none
        return None
    by_id = {row["row_id"]: row for row in rows}
    root = next(row["parent_id"] for row in rows if row["parent_id"] not in by_id)
    by_id[root] = _root(run, state, root)
    for later in run.stage_manifests[state.index + 1 :]:
        if later.exported is None:
            mine = pl.col("row_id").is_in(list(by_id))
            for row in rows_where(run.scan(later.name, "dropped"), mine):
                by_id[row["row_id"]] |= _fate(later, row)
    return _branch(root, list(by_id.values()))


def _prefix(run: Rows, state: StageManifest, row_id: str) -> str | None:
    """What the ids of all rows of one starting row begin with."""
    parts = ROW_ID.fullmatch(row_id)
    if parts is not None and parts["stage"] == state.ids_begin_with:
        return f"{state.ids_begin_with}-{parts['slot']}-"
    children = _find(run, state, pl.col("parent_id") == row_id)
    parts = ROW_ID.fullmatch(children[0]["row_id"]) if children else None
    return None if parts is None else f"{state.ids_begin_with}-{parts['slot']}-"


def _find(run: Rows, state: StageManifest, which: pl.Expr) -> list[dict[str, Any]]:
    found = []
    for half in HALVES:
        for row in rows_where(run.scan(state.name, half), which):
            fate = _fate(state, row) if half == "dropped" else {}
            found.append({name: row[name] for name in NEEDED} | fate)
    return sorted(found, key=lambda row: str(row["row_id"]))


def _fate(state: StageManifest, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "drop_stage": state.name,
        "drop_reason": row["drop_reason"],
        "drop_detail": row["drop_detail"],
    }


def _root(run: Rows, state: StageManifest, row_id: str) -> dict[str, Any]:
    """The row that all began with, as the stage before left it."""
    before = run.stage_manifests[state.index - 1]
    mine = pl.col("row_id") == row_id
    rows = rows_where(run.scan(before.name, "kept"), mine)
    instruction = rows[0]["instruction"] if rows else None
    return {"row_id": row_id, "instruction": instruction, "round": 0}


def _branch(row_id: str, rows: list[dict[str, Any]]) -> Branch:
    (own,) = [row for row in rows if row["row_id"] == row_id]
    children = [row["row_id"] for row in rows if row.get("parent_id") == row_id]
    below = tuple(_branch(child, rows) for child in sorted(children) if child != row_id)
    fields: dict[str, Any] = {
        name: own.get(name) for name in Branch.__dataclass_fields__ if name != "children"
    }
    return replace(Branch(row_id, None), **fields, children=below)


def as_lines(branch: Branch, width: int, marked: str = "") -> Iterator[str]:
    """The tree for people, safe to print: one line a row, and one with why where it was dropped."""
    yield from _lines(branch, "", "", width, marked)


def _lines(
    branch: Branch, head: str, below: str, width: int, marked: str, before: str = ""
) -> Iterator[str]:
    mark = " <- this row" if branch.row_id == marked else ""
    how = f" round {branch.round}, {branch.operation}" if branch.operation else ""
    yield f"{head}{safe(branch.row_id)}{safe(how)}{mark}"
    stem = "|  " if branch.children else "   "
    text = branch.instruction or ""
    yield f"{below}{stem}" + shorten(_new_in(branch, before), max(width - 20, 40))
    if branch.drop_reason is not None:
        detail = f" ({branch.drop_detail})" if branch.drop_detail else ""
        said = f"dropped by {branch.drop_stage}: {branch.drop_reason}{detail}"
        yield f"{below}{stem}" + shorten(said, max(width - 20, 40))
    for child in branch.children:
        is_last = child is branch.children[-1]
        yield from _lines(
            child, f"{below}+- ", f"{below}{'   ' if is_last else '|  '}", width, marked, text
        )


def _new_in(branch: Branch, before: str) -> str:
    """The text of a row, less the beginning that it shares with its parent as it stood there."""
    text = branch.instruction or ""
    if before and len(text) > len(before) and text.startswith(before):
        return f"... {text[len(before) :].strip()}"
    return text or "(no text)"
