"""Exact duplicates: the same row again, whatever the spaces and line breaks in it.

Self-Instruct and Alpaca only compare instructions by ROUGE-L, while a pool grows; this one is for
data from any source.
"""

from __future__ import annotations

import polars as pl

from filters.verdict import verdict

SPACE = r"[\s\x1c-\x1f]"  # what str.split() splits at; \s leaves out U+001C to U+001F


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
    `reason` (String, null where the row is kept), `detail` (String: which copy it is) and `ref`
    (String: the `row_id` of the first).
    """
    texts = pl.DataFrame({"instruction": instruction, "input": input, "output": output}).select(
        _even(pl.col(name), ignore_case=ignore_case)
        for name in ("instruction", "input", "output")[: 3 if compare_output else 2]
    )
    ids = row_id.to_list()
    refs: list[str | None] = [None] * len(ids)
    # only rows that have a double are worth a walk
    doubles = texts.hash_rows().is_duplicated().arg_true()
    first: dict[tuple[str, ...], int] = {}
    for row, key in zip(doubles.to_list(), texts[doubles].iter_rows(), strict=True):
        at = first.setdefault(key, row)
        if at != row:
            refs[row] = ids[at]
    reasons = [None if ref is None else "exact_duplicate" for ref in refs]
    return verdict(reasons, [None] * len(ids), refs)


def _even(text: pl.Expr, *, ignore_case: bool) -> pl.Expr:
    """Give the texts as they are compared."""
    text = text.fill_null("").str.replace_all(f"{SPACE}+", " ").str.strip_chars(" ")
    return text.str.to_lowercase() if ignore_case else text
