"""Write instances (input and output) for each task.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2: output-first for
classification tasks, all labels before an input for each, since input-first drifts to one label;
input-first for the rest. Where we differ: instances that contradict or repeat each other are judged
by the `filter` stage, with a reason a row, and the first instances are kept where there are too
many, not a random draw.
"""

from __future__ import annotations

from random import Random
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from pipeline.stage import (
    IDENTITY,
    AskingConfig,
    Drop,
    LLMStage,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.instance_blocks import parse_input_first, parse_output_first
from pipeline.stages.numbered_list import clean_reply


class Config(AskingConfig):
    """Settings of `instances`; at most `instances` are kept of a reply."""

    instances: Annotated[int, Field(ge=1, le=50), IDENTITY] = 5
    sampling: Sampling = Sampling(
        temperature=0, presence_penalty=1.5, stop=("Example 6", "\nTask:"), max_tokens=350
    )


def ask(row: Row, config: Config, rng: Random) -> Request:
    """Output-first for classification tasks, input-first otherwise."""
    kind = "output_first" if row["is_classification"] else "input_first"
    values = {"instruction": row["instruction"], "instances": config.instances}
    return Request(f"instances_{kind}", values)


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """One entry an instance; the last one of a cut-off reply is dropped."""
    parse = parse_output_first if row["is_classification"] else parse_input_first
    text = clean_reply(reply.text)
    parsed = parse(text, cut_off=reply.is_cut_off)
    entries: list[Row | Drop] = []
    for number, instance in enumerate(parsed.instances, start=1):
        made: Row = {"input": instance.input, "output": instance.output}
        if number <= config.instances:
            entries.append(made)
        else:
            detail = f"instance {number} of at most {config.instances}"
            entries.append(Drop("beyond_the_list", detail, row=made))
    if parsed.cut_off is not None:
        made = {"input": parsed.cut_off.input, "output": parsed.cut_off.output}
        entries.append(Drop("instance_cut_off", reply.finish_reason, row=made))
    return entries or [Drop("no_instance", text[:200])]


def label_shares(kept: pl.DataFrame) -> dict[str, Any]:
    """By output-first task: the share of each label among its instances.

    `label_balance` is the mean, over tasks with at least two instances, of the normalised entropy
    of those shares: 1 where all labels are even, 0 where there is only one.
    """
    rows = kept.filter(pl.col("is_classification"))
    if rows.is_empty():
        return {"label_shares": {}, "label_balance": None}
    counts = (
        rows.group_by("parent_id", "output", maintain_order=True)
        .len()
        .with_columns(share=pl.col("len") / pl.col("len").sum().over("parent_id"))
    )
    shares: dict[str, dict[str, float]] = {}
    for parent, label, share in counts.select("parent_id", "output", "share").iter_rows():
        shares.setdefault(parent, {})[label[:100]] = round(share, 4)
    balance = (
        counts.group_by("parent_id", maintain_order=True)
        .agg(
            instances=pl.col("len").sum(),
            labels=pl.len(),
            entropy=-(pl.col("share") * pl.col("share").log()).sum(),
        )
        .filter(pl.col("instances") > 1)
        .select(
            pl.when(pl.col("labels") > 1)
            .then(pl.col("entropy") / pl.col("labels").log())
            .otherwise(0.0)
            .mean()
        )
        .item()
    )
    return {
        "label_shares": shares,
        "label_balance": None if balance is None else round(balance, 4),
    }


STAGE = LLMStage(
    name="instances",
    version=1,
    summary="write instances (input and output) for each task",
    config=Config,
    prompts=("instances_input_first", "instances_output_first"),
    ask=ask,
    read=read,
    makes_rows=True,
    decisions=("beyond_the_list",),
    measure=label_shares,
    reads=("row_id", "root_id", "instruction", "is_classification"),
    writes=("row_id", "parent_id", "teacher", "input", "output", "requests"),
)
