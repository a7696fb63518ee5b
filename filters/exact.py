"""Exact duplicates: the same row again, whatever the spaces and line breaks in it.

Self-Instruct and Alpaca only compare instructions by ROUGE-L, while a pool grows; this one is for
data from any source.
"""

from __future__ import annotations

from hashlib import blake2b

import polars as pl

# Whitespace, as str.split() knows it, other than single spaces: a break among any spaces, or two
# spaces. Rust's \s leaves out U+001C to U+001F.
UNEVEN = r" *(?:[^\S ]|[\x1c-\x1f])[\s\x1c-\x1f]*| {2,}"
BETWEEN = "\x1f"  # texts, in which it is whitespace and so no longer there
SLICE = 16_384  # rows whose texts exist a second time at once


def exact(
    row_id: pl.Series,
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    compare_output: bool = True,
    ignore_case: bool = False,
) -> pl.DataFrame:
    """Drop rows whose instruction, input and output an earlier row has.

    Runs of whitespace count as one space, those around a text not at all; a null is empty. Without
    `compare_output` rows differ by instruction and input only. Returns one row an entry, in order:
    `reason` (String, null where the row is kept), `detail` (null), `ref` (String: the `row_id` of
    the first) and `similarity` (Float64, 1 where a row is dropped).
    """
    key = row_keys(
        instruction, input, output, compare_output=compare_output, ignore_case=ignore_case
    )
    return repeated(row_id, key)


def row_keys(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    compare_output: bool = True,
    ignore_case: bool = False,
) -> pl.Series:
    """16 bytes a row (BLAKE2b), the same only for rows that `exact` finds equal.

    They stand for the texts where those are too many for memory: `repeated` takes them.
    """
    compared = {"instruction": instruction, "input": input}
    if compare_output:
        compared["output"] = output
    frame = pl.DataFrame(compared)
    even = pl.concat_str([_even(pl.col(name), ignore_case) for name in compared], separator=BETWEEN)
    found = [
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for part in frame.iter_slices(SLICE)
        for text in part.select(even).to_series()
    ]
    return pl.Series(found, dtype=pl.Binary)


def repeated(row_id: pl.Series, key: pl.Series) -> pl.DataFrame:
    """The verdicts of `exact` by the keys of rows."""
    row = pl.col("row")
    keys = pl.DataFrame({"key": key}).with_row_index("row")
    first = keys.select(row, first=row.first().over("key"))
    copy = pl.when(pl.col("first") != row)
    return first.with_columns(row_id=row_id).select(
        reason=copy.then(pl.lit("exact_duplicate")),
        detail=pl.lit(None, pl.String),
        ref=copy.then(pl.col("row_id").gather(pl.col("first"))),
        similarity=copy.then(1.0),
    )


def _even(text: pl.Expr, ignore_case: bool) -> pl.Expr:
    text = text.fill_null("").str.replace_all(UNEVEN, " ").str.strip_chars(" ")
    return text.str.to_lowercase() if ignore_case else text
