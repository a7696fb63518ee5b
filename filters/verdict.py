"""What every filter returns: one row an entry, in order, with a reason where the row is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def verdict(
    reason: Sequence[str | None],
    detail: Sequence[str | None],
    ref: Sequence[str | None] | None = None,
    similarity: Sequence[float | None] | None = None,
) -> pl.DataFrame:
    """Put `reason` and `detail` into columns of String, and, where rows are compared, `ref`.

    `similarity` (Float64) is how alike a row and `ref` are, 0 to 1, where that was measured.
    """
    texts = {"reason": reason, "detail": detail} | ({} if ref is None else {"ref": ref})
    found = pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))
    if similarity is None:
        return found
    return found.with_columns(similarity=pl.Series(similarity, dtype=pl.Float64))
