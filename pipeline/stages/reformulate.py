"""Say each instruction again in other words; input and output stay.

Source: Honovich et al. 2023, "Unnatural Instructions" (arXiv:2212.09689), section 2.2. Every row
goes on as it is, with its paraphrases beside it.
"""

from __future__ import annotations

from random import Random
from typing import Annotated

from pydantic import Field

from pipeline.stage import (
    IDENTITY,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.numbered_list import clean_reply

STALE = ("shown", "nearest_id", "nearest_score")
"""Columns that speak of the wording which a paraphrase replaces."""


class Config(AskingConfig):
    """Settings of `reformulate`: how many paraphrases are asked for, a request each."""

    reformulations: Annotated[int, Field(ge=1, le=20), IDENTITY] = 2
    sampling: Sampling = Sampling(temperature=1, top_p=0.99, max_tokens=512)


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask for the paraphrases at once; the row itself is the first entry."""
    values = {"instruction": row["instruction"]}
    requests = [Request("reformulate", values) for _ in range(config.reformulations)]
    replies = yield requests
    entries: list[Row | Drop] = [{"row_id": row["row_id"], "requests": []}]
    of_other_words: Row = {name: None for name in STALE if name in row}
    places = {_words(row["instruction"]): 0}
    for request, reply in zip(requests, replies, strict=True):
        entries.append(_entry(reply, of_other_words, request, len(entries), places))
    return entries


def _entry(
    reply: Reply | Drop, made: Row, request: Request, place: int, places: dict[str, int]
) -> Row | Drop:
    """One paraphrase; `places` says at which entry each instruction came first."""
    asked: Row = made | {"requests": [request]}
    if isinstance(reply, Drop):
        return Drop(reply.reason, reply.detail, row=asked)
    text = read(reply)
    row = asked | {"instruction": text, "origin": "teacher"}
    if reply.is_cut_off:
        return Drop("item_cut_off", reply.finish_reason, row=row)
    if not text:
        return Drop("empty_item", row=row)
    first = places.setdefault(_words(text), place)
    if first != place:
        reason = "repeats_another" if first else "equals_original"
        return Drop(reason, ref=first, row=row)
    return row


def read(reply: Reply) -> str:
    """The paraphrase, without a field name and quotation marks around all of it."""
    text = clean_reply(reply.text).strip()
    for name in ("Instruction:", "Paraphrase:", "New wording:"):
        text = text.removeprefix(name).strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        return text[1:-1].strip()
    return text


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


STAGE = ChainStage(
    name="reformulate",
    version=1,
    summary="say each instruction again in other words; input and output stay",
    config=Config,
    prompts=("reformulate",),
    work=work,
    requests_a_row=lambda config: float(config.reformulations),
    rows_a_row=lambda config: 1.0 + config.reformulations,
    makes_rows=True,
    reads=("row_id", "root_id", "origin", "instruction"),
    writes=("row_id", "parent_id", "origin", "teacher", "instruction", "requests"),
)
