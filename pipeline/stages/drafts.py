"""What the stages that draft new tasks share: their settings, and the heuristics of Self-Instruct.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2 and the released code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from filters.keywords import PUBLISHED, keywords
from filters.opening import opening
from filters.word_count import word_count
from pipeline.stage import EXTENT, IDENTITY, OPERATIONAL, AskingConfig, Drop


class DraftConfig(AskingConfig):
    """Settings of a stage that drafts; lengths default to Self-Instruct's.

    `demonstrations` tasks are shown in each request. `expected_yield` is how many new tasks a
    request is expected to give; with the target it sets the `window` W where none is given: a
    request is drawn from the pool as it stood W slots earlier.

    Where `stall_after` items came and 200 replies brought nothing, the stage is also stopped if
    less than `stall_distinct_below` of the last replies differ, or more than `stall_spend_above` of
    a budget went since.
    """

    target: Annotated[int, Field(ge=1), EXTENT] = 1000
    demonstrations: Annotated[int, Field(ge=1, le=50), IDENTITY] = 8
    window: Annotated[int | None, Field(ge=1, le=65536), IDENTITY] = None
    expected_yield: Annotated[float, Field(gt=0), OPERATIONAL] = 4.0
    threshold: Annotated[float, Field(gt=0, le=1), IDENTITY] = 0.7
    rule: Annotated[Literal["strict", "published"], IDENTITY] = "strict"
    tokens: Annotated[Literal["unicode", "published"], IDENTITY] = "unicode"
    words_at_least: Annotated[int, Field(ge=0), IDENTITY] = 4
    words_at_most: Annotated[int, Field(ge=1), IDENTITY] = 150
    stall_distinct_below: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.05
    stall_spend_above: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.02

    @model_validator(mode="after")
    def _lengths_leave_something(self) -> Self:
        if self.words_at_least > self.words_at_most:
            raise ValueError("words_at_least is above words_at_most: every task would be dropped")
        return self

    def resolved_window(self) -> int:
        """W: small enough to feed drafts back early, large enough to keep a teacher busy."""
        if self.window is not None:
            return self.window
        return min(4096, max(8, math.ceil(self.target / self.expected_yield / 10)))


def writes(*texts: str) -> tuple[str, ...]:
    """The columns of a draft: who wrote it from what, its `texts`, what was shown, what it met."""
    met = ("nearest_id", "nearest_score")
    return ("row_id", "origin", "teacher", "root_id", *texts, "shown", *met, "requests")


def judge(
    items: list[str], config: DraftConfig, *, words: Sequence[str] = PUBLISHED
) -> list[Drop | None]:
    """The heuristics of Self-Instruct, in its order: length, keywords (`words`), opening."""
    if not items:
        return []
    column = pl.Series("instruction", items, dtype=pl.String)
    verdicts = (
        word_count(column, at_least=config.words_at_least, at_most=config.words_at_most),
        keywords(column, words=words),
        opening(column),
    )
    found: list[Drop | None] = [None] * len(items)
    for verdict in verdicts:
        pairs = zip(verdict["reason"].to_list(), verdict["detail"].to_list(), strict=True)
        for index, (reason, detail) in enumerate(pairs):
            if reason is not None and found[index] is None:
                found[index] = Drop(reason, detail or "")
    return found
