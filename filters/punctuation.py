"""Answers that are mostly punctuation and symbols: rows of dashes, smileys, what is left of a page.

Source: the idea of a share of symbols is that of Rae et al. 2021 (arXiv:2112.11446), table A1,
where it is of hash signs and ellipses to words; the share here is of all signs and ours. Among
75,180 real answers those above six tenths are nearly all regular expressions and tables.
"""

from __future__ import annotations

import polars as pl

from filters.bounds import NoneOrMore, Share
from filters.code import is_code, without_fenced
from filters.share import rounded_down

BLANK = r"[\s\p{Cf}]"
SIGN = r"[\p{P}\p{S}]"


def punctuation(
    output: pl.Series, *, at_most: Share = 0.8, characters_at_least: NoneOrMore = 20
) -> pl.DataFrame:
    """Drop answers more than the share `at_most` of whose characters are punctuation or symbols.

    Blanks count as nothing. Answers of fewer than `characters_at_least` other characters, and those
    that look like code (fenced code is left out), are kept; a null has no characters. Returns one
    row an entry, in order: `reason` (String, null where the row is kept) and `detail` (String: the
    counts; null where the row is kept).
    """
    text = pl.col("output").fill_null("").str.replace_all(BLANK, "")
    counts = (
        pl.DataFrame({"output": output})
        .with_row_index("at")
        .select("at", "output", n=text.str.len_chars(), signs=text.str.count_matches(SIGN))
    )
    near = pl.col("signs") > at_most * pl.col("n") - 1  # among which the exact share decides
    many = near & (pl.col("n") >= characters_at_least)
    told = {
        row["at"]: f"{row['signs']} of {row['n']} characters, more than {at_most:g}"
        for row in counts.filter(many).iter_rows(named=True)
        if row["signs"] > rounded_down(row["n"], at_most)
        and "```" not in row["output"]
        and not is_code(without_fenced(row["output"]))
    }
    detail = pl.Series([told.get(at) for at in range(counts.height)], dtype=pl.String)
    return pl.DataFrame({"detail": detail}).select(
        pl.when(pl.col("detail").is_not_null())
        .then(pl.lit("too_much_punctuation"))
        .alias("reason"),
        "detail",
    )
