"""Draft new tasks in the style of a few demonstrations, and keep those that are new.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2 and the released code.
Where we differ: an instruction keeps its own capitals, a finished item of a cut-off reply is kept
and only the last one lost (as Alpaca does), and novelty is strict (`rule`): exactly 0.7 is not new.

A reply to a prompt that ends in "9." reads

     Explain to a child why the moon seems to change its shape.
    10. Given a list of ingredients, say which of them contain gluten.
    11. Turn the meeting notes into a to-do list with one owner for each item.
"""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, model_validator

from filters.keywords import keywords
from filters.opening import opening
from filters.word_count import word_count
from pipeline.stage import (
    EXTENT,
    IDENTITY,
    OPERATIONAL,
    DraftStage,
    Drop,
    Pool,
    Reply,
    Request,
    Row,
    Sampling,
    StageConfig,
)
from pipeline.stages.numbered_list import clean_reply, encode_demonstration, split_items


class Config(StageConfig):
    """Settings of `bootstrap`; demonstrations, lengths and sampling default to the paper's.

    `expected_yield` is how many new tasks a request is expected to give; with the target it sets
    the `window` W where none is given: a request is drawn from the pool as it stood W slots
    earlier.
    """

    target: Annotated[int, Field(ge=1), EXTENT] = 1000
    demonstrations: Annotated[int, Field(ge=1, le=50), IDENTITY] = 8
    from_drafts: Annotated[int, Field(ge=0), IDENTITY] = 2
    new_tasks: Annotated[int, Field(ge=1, le=50), IDENTITY] = 7
    window: Annotated[int | None, Field(ge=1, le=65536), IDENTITY] = None
    expected_yield: Annotated[float, Field(gt=0), OPERATIONAL] = 4.0
    threshold: Annotated[float, Field(gt=0, le=1), IDENTITY] = 0.7
    rule: Annotated[Literal["strict", "published"], IDENTITY] = "strict"
    tokens: Annotated[Literal["unicode", "published"], IDENTITY] = "unicode"
    words_at_least: Annotated[int, Field(ge=0), IDENTITY] = 4
    words_at_most: Annotated[int, Field(ge=1), IDENTITY] = 150
    stall_after: Annotated[int | None, Field(ge=1), OPERATIONAL] = 500
    stall_below: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.02
    sampling: Sampling = Sampling(
        temperature=0.7, top_p=0.5, presence_penalty=2, stop=("\n16.",), max_tokens=1024
    )

    @model_validator(mode="after")
    def _leaves_seeds(self) -> Config:
        if self.from_drafts >= self.demonstrations:
            raise ValueError("from_drafts must be below demonstrations: seed tasks are shown too")
        return self

    def resolved_window(self) -> int:
        """W: small enough to feed drafts back early, large enough to keep a teacher busy."""
        if self.window is not None:
            return self.window
        return min(4096, max(8, math.ceil(self.target / self.expected_yield / 10)))


def ask(pool: Pool, n_drafts: int, config: Config, rng: Random) -> Request:
    """Build one request from the seeds and the first `n_drafts` drafts, shuffled together."""
    from_drafts = min(config.from_drafts, n_drafts, config.demonstrations)
    shown = [pool.drafts[index] for index in rng.sample(range(n_drafts), from_drafts)]
    shown += rng.sample(pool.seeds, config.demonstrations - from_drafts)
    rng.shuffle(shown)
    first = len(shown) + 1
    values = {
        "tasks": [encode_demonstration(instruction) for _, instruction in shown],
        "first": first,
        "last": first + config.new_tasks - 1,
    }
    return Request("bootstrap", values, shown=tuple(row_id for row_id, _ in shown))


def read(reply: Reply, config: Config) -> list[Row | Drop]:
    """Split a numbered list into one entry an item; the last item of a cut-off reply is dropped."""
    items = split_items(clean_reply(reply.text), first=config.demonstrations + 1)
    entries: list[Row | Drop] = [
        {"instruction": item} if item else Drop("empty_item") for item in items
    ]
    if reply.is_cut_off and entries:
        entries[-1] = Drop("item_cut_off", reply.finish_reason, row={"instruction": items[-1]})
    for number in range(config.new_tasks, len(entries)):
        entries[number] = Drop(
            "beyond_the_list",
            f"item {number + 1} of at most {config.new_tasks}",
            row={"instruction": items[number]},
        )
    return entries


def judge(items: list[str], config: Config) -> list[Drop | None]:
    """The heuristics of Self-Instruct, in its order: length, keywords, opening."""
    if not items:
        return []
    column = pl.Series("instruction", items, dtype=pl.String)
    verdicts = (
        word_count(column, at_least=config.words_at_least, at_most=config.words_at_most),
        keywords(column),
        opening(column),
    )
    found: list[Drop | None] = [None] * len(items)
    for verdict in verdicts:
        pairs = zip(verdict["reason"].to_list(), verdict["detail"].to_list(), strict=True)
        for index, (reason, detail) in enumerate(pairs):
            if reason is not None and found[index] is None:
                found[index] = Drop(reason, detail or "")
    return found


STAGE = DraftStage(
    name="bootstrap",
    version=1,
    summary="draft new tasks from seed tasks and earlier drafts; keep what is new",
    config=Config,
    prompts=("bootstrap",),
    ask=ask,
    read=read,
    judge=judge,
    writes=(
        "row_id",
        "origin",
        "teacher",
        "root_id",
        "instruction",
        "shown",
        "nearest_id",
        "nearest_score",
        "requests",
    ),
)
