"""Draft whole tasks, each with input and output, in one request.

Source: Stanford Alpaca (Taori et al. 2023), `generate_instruction.py`: no classification step, and
only seed tasks are shown. Where we differ: `task_blocks` says how replies are read, a task without
an answer is dropped, and novelty is strict (`rule`): exactly 0.7 is not new.
"""

from __future__ import annotations

from random import Random
from typing import Annotated

from pydantic import Field

from filters.keywords import ALPACA
from pipeline.seed_tasks import TaskPool
from pipeline.stage import (
    IDENTITY,
    OPERATIONAL,
    DraftStage,
    Drop,
    Pool,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages import drafts
from pipeline.stages.drafts import DraftConfig
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.task_blocks import parse_blocks


class Config(DraftConfig):
    """Settings of `one-call`; demonstrations and sampling default to Alpaca's.

    Alpaca asks for 20 tasks, the shown ones among them, and its stop words end a reply at 19.
    """

    demonstrations: Annotated[int, Field(ge=1, le=50), IDENTITY] = 3
    expected_yield: Annotated[float, Field(gt=0), OPERATIONAL] = 8.0
    new_tasks: Annotated[int, Field(ge=1, le=50), IDENTITY] = 17
    sampling: Sampling = Sampling(
        temperature=1, top_p=1, stop=("\n21. Instruction",), max_tokens=3072
    )


def ask(pool: Pool, n_drafts: int, config: Config, rng: Random) -> Request:
    """Build one request from seed tasks, each with its first instance."""
    assert isinstance(pool, TaskPool)
    shown = [pool.task(row_id) for row_id, _ in rng.sample(pool.seeds, config.demonstrations)]
    tasks = [
        {"instruction": task.instruction, "input": task.instances[0][0], "output": answer}
        for task in shown
        for answer in [task.instances[0][1]]
    ]
    first = len(tasks) + 1
    values = {"tasks": tasks, "first": first, "last": first + config.new_tasks - 1}
    return Request("one-call", values, shown=tuple(task.id for task in shown))


def read(reply: Reply, config: Config) -> list[Row | Drop]:
    """One entry a block; the last one of a cut-off reply is dropped unless "###" closes it."""
    entries: list[Row | Drop] = []
    blocks = parse_blocks(clean_reply(reply.text), first=config.demonstrations + 1)
    for number, block in enumerate(blocks, start=1):
        row: Row = {
            "instruction": block.instruction,
            "input": block.input,
            "output": block.output,
        }
        if reply.is_cut_off and not block.is_whole:
            entries.append(Drop("item_cut_off", reply.finish_reason, row=row))
        elif number > config.new_tasks:
            detail = f"item {number} of at most {config.new_tasks}"
            entries.append(Drop("beyond_the_list", detail, row=row))
        elif block.wrong:
            entries.append(Drop("malformed_block", block.wrong, row=row))
        elif not block.instruction:
            entries.append(Drop("empty_item", row=row))
        elif not block.output:
            entries.append(Drop("empty_output", row=row))
        else:
            entries.append(row)
    return entries


def judge(items: list[str], config: Config) -> list[Drop | None]:
    """The heuristics of Self-Instruct with Alpaca's five further keywords."""
    return drafts.judge(items, config, words=ALPACA)


STAGE = DraftStage(
    name="one-call",
    version=1,
    summary="draft tasks with input and output in one request; keep what is new",
    config=Config,
    prompts=("one-call",),
    ask=ask,
    read=read,
    judge=judge,
    writes=drafts.writes("instruction", "input", "output"),
)
