"""What every filter returns: one row an entry, in order, with a reason where the row is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def verdict(
    reason: Sequence[str | None],
    detail: Sequence[str | None],
    ref: Sequence[str | None] | None = None,
) -> pl.DataFrame:
    """Put `reason` and `detail`, and `ref` where rows are compared, into String columns."""
    columns = {"reason": reason, "detail": detail}
    if ref is not None:
        columns["ref"] = ref
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
