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

from random import Random
from typing import Annotated

from pydantic import Field, model_validator

from pipeline.stage import IDENTITY, DraftStage, Drop, Pool, Reply, Request, Row, Sampling
from pipeline.stages.drafts import DraftConfig, judge, writes
from pipeline.stages.numbered_list import clean_reply, encode_demonstration, split_items


class Config(DraftConfig):
    """Settings of `bootstrap`; demonstrations, lengths and sampling default to the paper's."""

    from_drafts: Annotated[int, Field(ge=0), IDENTITY] = 2
    new_tasks: Annotated[int, Field(ge=1, le=50), IDENTITY] = 7
    sampling: Sampling = Sampling(
        temperature=0.7, top_p=0.5, presence_penalty=2, stop=("\n16.",), max_tokens=1024
    )

    @model_validator(mode="after")
    def _leaves_seeds(self) -> Config:
        if self.from_drafts >= self.demonstrations:
            raise ValueError("from_drafts must be below demonstrations: seed tasks are shown too")
        return self


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


STAGE = DraftStage(
    name="bootstrap",
    version=1,
    summary="draft new tasks from seed tasks and earlier drafts; keep what is new",
    config=Config,
    prompts=("bootstrap",),
    ask=ask,
    read=read,
    judge=judge,
    writes=writes("instruction"),
)
