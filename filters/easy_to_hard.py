"""The order in which training shows rows: from easy to hard, or phase by phase.

Bengio et al. 2009, "Curriculum Learning"; YuLan-Chat (Zhu et al. 2024, arXiv:2406.19853) fine-tunes
from easy to hard. What is hard is not measured here: the order is that of any measure.
"""

from __future__ import annotations

import polars as pl

from filters.draw import lot


def easy_to_hard(
    row_id: pl.Series,
    measure: pl.Series,
    *,
    phase: pl.Series | None = None,
    descending: bool = False,
    seed: int = 0,
) -> pl.Series:
    """The place of each row, 0 first (Int64): by `phase`, in it by `measure`, low to high.

    With `descending` high to low. A null or NaN, of a measure or a phase, comes after all others.
    Rows with the same are ordered by a hash of `seed` and `row_id`, whatever their order was.
    """
    ids = row_id.cast(pl.String).to_list()
    draw = [lot(seed, one) for one in ids]
    phases = pl.repeat(0, len(ids), dtype=pl.Int64, eager=True) if phase is None else phase
    frame = pl.DataFrame(
        {
            "phase": phases,
            "measure": measure.cast(pl.Float64).fill_nan(None),
            "draw": pl.Series(draw, dtype=pl.Binary),
        }
    ).with_row_index("row")
    order = frame.sort(
        "phase", "measure", "draw", descending=[False, descending, False], nulls_last=True
    )["row"]
    places = pl.DataFrame({"row": order}).with_row_index("place").sort("row")["place"]
    return places.cast(pl.Int64).alias("curriculum")
