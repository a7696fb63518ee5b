"""The novelty filter over a column."""

import polars as pl

from filters.novelty.index import NoveltyIndex, Verdicts
from filters.rouge import Rule, Tokens


def novelty(
    instruction: pl.Series,
    *,
    against: pl.Series | None = None,
    threshold: float = 0.7,
    tokens: Tokens = "unicode",
    rule: Rule = "strict",
) -> pl.DataFrame:
    """Drop instructions too much like one of `against` or one kept before them.

    A null has no tokens, like an empty text, and is kept. Returns one row an entry, in order:
    `reason` (String, "not_novel", or null where the row is kept), `detail` (String, what was
    measured), `ref` (Int64, the most similar row: rows of `against` count from 0, those of
    `instruction` go on after them) and `score` (Float64, ROUGE-L F1 with that row). The last
    three are null where there was nothing to compare with.

    Raises ValueError for settings that `filters.rouge` does not know.
    """
    index = NoveltyIndex(threshold=threshold, tokens=tokens, rule=rule)
    n_against = 0 if against is None else len(against)
    if against is not None:
        index.add(against.fill_null("").to_list())
    verdicts = index.filter(instruction.fill_null("").to_list())
    measured = pl.DataFrame(
        {
            "accepted": verdicts.accepted,
            "lcs": verdicts.lcs,
            "m": verdicts.n_tokens,
            "n": verdicts.entry_tokens,
            "ref": _rows_met(verdicts, n_against),
            "score": verdicts.f,
        }
    )
    detail = pl.format(
        "ROUGE-L {} (lcs {} of {} and {} tokens)", pl.col("score").round(2), "lcs", "m", "n"
    )
    has_met = pl.col("ref").is_not_null()
    return measured.select(
        reason=pl.when(~pl.col("accepted")).then(pl.lit("not_novel")),
        detail=pl.when(has_met).then(detail),
        ref="ref",
        score=pl.when(has_met).then("score"),
    )


def _rows_met(verdicts: Verdicts, n_against: int) -> pl.Series:
    """The row of each entry that was met: those of `against` come first, then those accepted."""
    accepted = pl.Series(verdicts.accepted)
    row_of_entry = pl.concat(
        [
            pl.int_range(n_against, eager=True),
            pl.int_range(len(accepted), eager=True).filter(accepted) + n_against,
        ]
    )
    entry = pl.Series(verdicts.entry)
    return row_of_entry.gather(pl.select(pl.when(entry >= 0).then(entry)).to_series())
