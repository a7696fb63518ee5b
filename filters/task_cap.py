"""A cap on the rows of a task, so that no task outweighs the others because it has many rows.

Longpre et al. 2023, "The Flan Collection" (arXiv:2301.13688), cap what a task or a data set gives
to a mixture; here it is the rows that go back to one task, or share one instruction.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from filters.bounds import NoneOrMore, Some
from filters.draw import lot

SPACES = r"[\s\x1c-\x1f]+"  # what str.split() parts at


def task_cap(
    row_id: pl.Series,
    root_id: pl.Series,
    instruction: pl.Series,
    *,
    at_most: Some = 100,
    task: Literal["root", "instruction"] = "instruction",
    draw: Literal["first", "random"] = "random",
    seed: NoneOrMore = 0,
) -> pl.DataFrame:
    """Keep `at_most` rows of each task; the rest is `over_task_cap`.

    Rows are of one task if they have the same `root_id` (a row without one is its own), or the same
    instruction, whitespace aside; a null instruction is empty. Those that stay are the `first`, or
    drawn by a hash of `seed` and `row_id`, whatever the order of the rows. Returns one row an
    entry, in order: `reason` (String, null where the row is kept), `detail` (String: the place of
    the row in its task, and the rows of that) and `ref` (String: the `row_id` of the last row that
    was kept; null where the row is kept).
    """
    frame = pl.DataFrame({"row_id": row_id, "root_id": root_id, "instruction": instruction})
    even = pl.col("instruction").fill_null("").str.replace_all(SPACES, " ").str.strip_chars(" ")
    by = even if task == "instruction" else pl.coalesce("root_id", "row_id")
    place = pl.int_range(pl.len()) if draw == "first" else pl.Series(_draws(frame["row_id"], seed))
    rows = frame.select("row_id", task=by, place=place)
    order = pl.col("place").rank("ordinal").over("task")
    ranked = rows.with_columns(order=order, rows=pl.len().over("task"))
    last = pl.col("row_id").filter(pl.col("order") == at_most).first().over("task")
    over = pl.when(pl.col("order") > at_most)
    return ranked.select(
        reason=over.then(pl.lit("over_task_cap")),
        detail=over.then(pl.format("row {} of {} of the task", "order", "rows")),
        ref=over.then(last),
    )


def _draws(row_id: pl.Series, seed: int) -> pl.Series:
    return pl.Series([lot(seed, one) for one in row_id.to_list()], dtype=pl.Binary)
