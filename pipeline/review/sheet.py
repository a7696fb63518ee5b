"""A sheet of rows for people to mark, as CSV and Parquet, and the same sheet read back.

A row is one that a stage dropped or the last stage kept; the sheet does not say which, so that
nobody marks what the rules have said. Of a pair of answers nobody sees which is which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import outside
from pipeline.errors import InputError, RecipeError
from pipeline.inspect import Run
from pipeline.report.facts import halves
from pipeline.report.strata import strata
from pipeline.review import cells
from pipeline.rows import talk
from pipeline.teacher.blanking import PURGED
from pipeline.terminal import shorten

Kind = Literal["row", "pair"]
WORDS: dict[Kind, tuple[str, ...]] = {
    "row": ("good", "bad", "unsure"),
    "pair": ("first", "second", "tie", "unsure"),
}
"""What people may say; nothing is said of a row that is left empty."""
TEXTS: dict[Kind, tuple[str, ...]] = {
    "row": ("instruction", "input", "output", "conversation"),
    "pair": ("instruction", "input", "first", "second"),
}
MARKS = ("verdict", "reviewer", "time", "note")
LEAST = 5
"""So many rows of every rule are on a sheet at least, or all it dropped."""
MOST_PROBLEMS = 20
COLUMNS = ("row_id", "instruction", "input", "output", "other_output", "messages", "rating",
           "preferred", "drop_reason")  # fmt: skip
"""What is read of rows, where they have it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What one person said of one row; of a pair `verdict` is output, other_output or tie."""

    row_id: str
    stage: str
    is_kept: bool
    kind: Kind
    verdict: str
    reviewer: str
    time: str
    note: str
    texts: str


def ended(run: Run, stage: str | None = None) -> pl.DataFrame:
    """Every row as it ended: `COLUMNS`, `stage` (the one that dropped or last kept it), `is_kept`.

    With a `stage` those that it kept and dropped. Rows that were purged are left out.
    """
    named = None if stage is None else run.stage(stage).name
    frames = []
    for name, half in halves(run) if named is None else [(named, "kept"), (named, "dropped")]:
        scan = run.scan(name, half)  # type: ignore[arg-type]
        there = scan.collect_schema().names()
        frame = scan.select([column for column in COLUMNS if column in there])
        if half == "dropped":
            frame = frame.filter(pl.col("drop_reason") != PURGED)
        frames.append(
            frame.with_columns(stage=pl.lit(name), is_kept=pl.lit(half == "kept")).collect()
        )
    if not frames:
        raise InputError(f"{run.path} has published no rows yet: there is nothing to mark.")
    found = pl.concat([frame for frame in frames if "row_id" in frame.columns], how="diagonal")
    missing = [name for name in COLUMNS if name not in found.columns]
    return found.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)


def draw(run: Run, kind: Kind, most: int, seed: int, stage: str | None = None) -> pl.DataFrame:
    """At most `most` rows, of every rule and of those kept their share, in an order that says none.

    The same for the same seed. Raises `InputError` where there is nothing to mark.
    """
    rows = ended(run, stage)
    if kind == "pair":
        rows = rows.filter(
            pl.col("output").is_not_null()
            & pl.col("other_output").is_not_null()
            & (pl.col("output") != pl.col("other_output"))
        )
        alike = [_is_same(*both) for both in rows.select("output", "other_output").iter_rows()]
        rows = rows.filter(~pl.Series(alike, dtype=pl.Boolean))  # nobody could say which is meant
    if not rows.height:
        what = "has two answers" if kind == "pair" else "is there"
        raise InputError(f"no row of {run.path} {what}: there is nothing to mark.")
    keys = pl.concat_str("stage", pl.col("drop_reason").fill_null(""), separator="\n")
    groups = rows.with_row_index("at").group_by(keys, maintain_order=True).agg("at")["at"].to_list()
    least = LEAST if len(groups) * LEAST <= most else 1
    rng = Random(seed)
    taken = strata([len(group) for group in groups], most, least)
    chosen = [
        at for group, n in zip(groups, taken, strict=True) for at in rng.sample(list(group), n)
    ]
    rng.shuffle(chosen)
    return rows[chosen[:most]]


def shown(row: Mapping[str, Any], kind: Kind, seed: int = 0) -> dict[str, str]:
    """The texts of a row as people see them; of a pair the order is drawn of seed and id."""
    texts = {"instruction": row["instruction"] or "", "input": row["input"] or ""}
    if kind == "pair":
        answers = [row["output"] or "", row["other_output"] or ""]
        drawn = hashlib.blake2b(f"{seed}:{row['row_id']}".encode(), digest_size=1).digest()
        first, second = answers[:: -1 if drawn[0] % 2 else 1]
        return texts | {"first": first, "second": second}
    return texts | {"output": row["output"] or "", "conversation": talk(row.get("messages"))}


def check_place(folder: Path) -> list[Path]:
    """The paths of a sheet in a folder, before anything is drawn.

    Raises `RecipeError` where one is there, which somebody may have marked, and `StorageError`
    where the folder cannot be written in.
    """
    outside.check_folder(folder)
    outside.refuse_inside(folder / "sheet.csv")
    paths = [folder / "sheet.csv", folder / "sheet.parquet"]
    for path in paths:
        if path.exists():
            raise RecipeError(
                f"{path} is there, and may be marked: name another folder with --out."
            )
    return paths


def write(folder: Path, rows: pl.DataFrame, kind: Kind, seed: int) -> list[Path]:
    """Write `sheet.csv` and `sheet.parquet`, to be marked; gives their paths.

    Raises as `check_place` does, and `StorageError` where they cannot be written.
    """
    paths = check_place(folder)
    names = ("row_id", *TEXTS[kind], *MARKS)
    whole = [
        {"row_id": row["row_id"], **shown(row, kind, seed), **dict.fromkeys(MARKS, "")}
        for row in rows.iter_rows(named=True)
    ]
    with outside.translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with outside.replacing(paths[0]) as file:
        file.write(cells.write(names, ([cells.cell(row[n]) for n in names] for row in whole)))
    table = pa.Table.from_pylist(whole, pa.schema([(name, pa.string()) for name in names]))
    with outside.replacing(paths[1]) as file, pq.ParquetWriter(file, table.schema) as out:
        out.write_table(table)
    return paths


def read(path: Path, run: Run, reviewer: str | None = None, stage: str | None = None) -> list[Mark]:
    """The marks of a sheet, all checked against the run; rows without a verdict give none.

    A sheet of a `stage` is checked against what that kept and dropped.
    Raises one `InputError` that names line and column of all that is wrong, `MOST_PROBLEMS` at
    most: ids that the run has not, texts that are not its own, words that are no verdict.
    """
    kind, lines = _lines(path)
    ids = {row["row_id"] for _, row in lines}
    rows = ended(run, stage).filter(pl.col("row_id").is_in(list(ids)))
    known = {row["row_id"]: row for row in rows.iter_rows(named=True)}
    problems: list[str] = []
    marks: list[Mark] = []
    seen: dict[tuple[str, str], int] = {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for line, row in lines:
        wrong = list(_wrong(row, known.get(row["row_id"]), kind))
        given = row["verdict"].strip().lower()
        who = row["reviewer"].strip() or (reviewer or "").strip()
        if given and not who:
            wrong.append(("reviewer", "nobody is named: fill it in, or take --reviewer NAME"))
        if given and (before := seen.setdefault((row["row_id"], who), line)) != line:
            wrong.append(("row_id", f"{who} has marked this row in line {before} already"))
        problems += [f"line {line}, column {column}: {said}" for column, said in wrong]
        if given and not wrong:
            marks.append(_mark(row, known[row["row_id"]], kind, given, who, now))
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems[:MOST_PROBLEMS])
        more = len(problems) - MOST_PROBLEMS
        raise InputError(
            f"{path} cannot be read, and nothing of it was taken:\n{listed}"
            + (f"\n- and {more} more" if more > 0 else "")
        )
    return marks


def _lines(path: Path) -> tuple[Kind, list[tuple[int, dict[str, str]]]]:
    """The kind of a sheet, and its rows with their lines; in Parquet the first row is line 1."""
    needed = ("row_id", "instruction", *MARKS)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if content[:4] == b"PAR1":
        try:
            table = pq.read_table(pa.BufferReader(content))
        except pa.ArrowException as error:
            raise InputError(f"{path} is no Parquet file that can be read: {error}.") from error
        if lacking := [name for name in needed if name not in table.column_names]:
            raise InputError(f"{path} lacks the column {lacking[0]}, which the sheet had.")
        found = [
            (at, {name: "" if value is None else str(value) for name, value in row.items()})
            for at, row in enumerate(table.to_pylist(), start=1)
        ]
        names = table.column_names
    else:
        names, rows = cells.read(content, needed, where=str(path))
        found = [
            (at, dict(zip(names, [*row, *[""] * len(names)], strict=False))) for at, row in rows
        ]
        for _, row in found:
            row["row_id"] = cells.text_of(row["row_id"].strip())
    return "pair" if {"first", "second"} <= set(names) else "row", found


def _wrong(
    row: Mapping[str, str], known: Mapping[str, Any] | None, kind: Kind
) -> Iterator[tuple[str, str]]:
    """What is wrong with a line: the column, and what to say of it."""
    given = row["verdict"].strip().lower()
    if given and given not in WORDS[kind]:
        words = ", ".join(WORDS[kind])
        yield "verdict", f"{shorten(given, 30)!r} is no verdict: {words}, or nothing"
    if row["time"].strip() and _time(row["time"]) is None:
        yield "time", f"{shorten(row['time'], 30)!r} is no time: 2026-01-31T10:00, or nothing"
    if known is None:
        yield "row_id", f"the run has no row {shorten(row['row_id'], 60)!r}"
        return
    if kind == "pair" and given and _is_same(known["output"] or "", known["other_output"] or ""):
        yield "verdict", "the two answers look the same, so that none can be meant"
    for order in (0, 1) if kind == "pair" else (0,):
        texts = shown(known, kind)
        if order:
            texts |= {"first": texts["second"], "second": texts["first"]}
        changed = [name for name in TEXTS[kind] if not _is_same(row.get(name, ""), texts[name])]
        if not changed:
            return
    yield changed[0], "it is not the text of the run: marks are for the rows as they were shown"


def _is_same(found: str, text: str) -> bool:
    """Whether a cell shows a text, whatever a spreadsheet does to line breaks and apostrophes."""
    wanted = {cells.as_shown(one) for one in (text, cells.cell(text))}
    return cells.as_shown(found) in wanted


def _time(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text.strip()).isoformat(timespec="seconds")
    except ValueError:
        return None


def _mark(
    row: Mapping[str, str], known: Mapping[str, Any], kind: Kind, given: str, who: str, now: str
) -> Mark:
    if kind == "pair" and given in ("first", "second"):
        given = "output" if _is_same(row[given], known["output"] or "") else "other_output"
    texts = "\0".join(shown(known, kind)[n] for n in ("instruction", "input"))
    return Mark(
        row_id=known["row_id"],
        stage=known["stage"],
        is_kept=known["is_kept"],
        kind=kind,
        verdict=given,
        reviewer=cells.as_shown(who)[:200],
        time=_time(row["time"]) or now,
        note=cells.text_of(row["note"].strip()),
        texts=hashlib.sha256(f"{texts}\0{known['output']}".encode()).hexdigest(),
    )
