"""Drop rows that are too much like one before them, by ROUGE-L.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2, where the loop does it
for what it drafts; here it is done for rows from anywhere. Evolved rows keep most of their parent's
words: a threshold well above 0.7 is right for them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from filters.novelty import novelty
from filters.rouge import Rule, Tokens
from pipeline.stage import DECISION, FilterStage, StageConfig


class Config(StageConfig):
    """Settings of `novelty`: from which ROUGE-L on a row is not new, and the texts compared."""

    threshold: Annotated[float, Field(gt=0, le=1), DECISION] = 0.7
    rule: Annotated[Rule, DECISION] = "strict"
    tokens: Annotated[Tokens, DECISION] = "unicode"
    columns: Annotated[
        tuple[Literal["instruction", "input", "output"], ...], Field(min_length=1), DECISION
    ] = ("instruction",)


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, in order; `ref` is the most similar row of those that were kept.

    `similarity` is its ROUGE-L F1 with that row.
    """
    texts = frame.select(
        pl.concat_str(*(pl.col(name).fill_null("") for name in config.columns), separator="\n")
    ).to_series()
    found = novelty(texts, threshold=config.threshold, tokens=config.tokens, rule=config.rule)
    ids = frame["row_id"]
    is_new = found["reason"].is_null()
    met = [None if at is None else ids[at] for at in found["ref"].to_list()]
    return found.select(
        "reason",
        "detail",
        ref=pl.Series(met, dtype=pl.String).set(is_new, None),
        similarity=pl.when(~is_new).then("score"),
    )


def reads(config: Config) -> tuple[str, ...]:
    """The columns that are compared."""
    return ("row_id", *config.columns)


STAGE = FilterStage(
    name="novelty",
    version=1,
    summary="drop rows too much like one before them (ROUGE-L)",
    config=Config,
    judge=judge,
    reads=reads,
)
