"""Have a judge compare two answers of each row, always in both orders.

Source: Chen et al. 2024, "AlpaGasus" (arXiv:2307.08701), section 4: each pair is judged both ways
round. A verdict that turns with the order is a flip: it says nothing about the answers, so the row
counts as a tie, and is counted as a flip too.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

import polars as pl

from pipeline.stage import (
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
    StageConfig,
)
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.yes_no import is_word_cut_off

VERDICT = re.compile(r"\s*(?:answer\s+)?(a|b|tie)[.!]?\s*(?:\n|$)", re.IGNORECASE)
FIRST, SECOND, TIE = "output", "other_output", "tie"


class Config(StageConfig):
    """Settings of `compare`: how the judge decodes."""

    sampling: Sampling = Sampling(temperature=0, max_tokens=128)


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask in both orders at once."""
    if not row["output"] or not row["other_output"]:
        return [Drop("no_output", "there are no two answers to compare")]
    replies = yield [
        _request(row, row["output"], row["other_output"]),
        _request(row, row["other_output"], row["output"]),
    ]
    verdicts = []
    for reply, names in zip(replies, ((FIRST, SECOND), (SECOND, FIRST)), strict=True):
        found = read_verdict(reply, *names)
        if isinstance(found, Drop):
            return [found]
        verdicts.append(found)
    one, other = verdicts
    is_flip = TIE not in verdicts and one != other
    return [{"preferred": one if one == other else TIE, "is_flipped": is_flip}]


def _request(row: Row, first: str, second: str) -> Request:
    texts = {"instruction": row["instruction"], "input": row["input"]}
    return Request("prefer", {**texts, "first": first, "second": second})


def read_verdict(reply: Reply | Drop, first: str, second: str) -> str | Drop:
    """Which answer a reply prefers, by its name; a `Drop` where it names none or was cut off."""
    if isinstance(reply, Drop):
        return reply
    found = VERDICT.match(clean_reply(reply.text))
    if is_word_cut_off(reply, ("a", "b", "tie")):
        return Drop("cut_off", reply.text[:200])
    if found is None:
        return Drop("no_verdict", reply.text[:200])
    return {"a": first, "b": second, "tie": TIE}[found[1].lower()]


def measures(kept: pl.DataFrame) -> dict[str, Any]:
    """Shares of the rows: each answer preferred, ties, and verdicts that turned with the order."""
    if not kept.height:
        return {}
    shares = {
        f"share_{name}": round(kept["preferred"].eq(name).sum() / kept.height, 4)
        for name in (FIRST, SECOND, TIE)
    }
    return shares | {"share_flipped": round(kept["is_flipped"].sum() / kept.height, 4)}


STAGE = ChainStage(
    name="compare",
    version=1,
    summary="have a judge compare two answers of each row, in both orders",
    config=Config,
    prompts=("prefer",),
    work=work,
    reads=("row_id", "instruction", "input", "output", "other_output"),
    writes=("preferred", "is_flipped", "requests"),
    requests_a_row=lambda config: 2.0,
    role="judge",
    measure=measures,
    measured=("preferred", "is_flipped"),
)
