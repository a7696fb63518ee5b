"""Measure how hard each answer is for a language model, given its instruction and alone.

Perplexity, and IFD in both published definitions: the ratio of the mean token losses (Li et al.
2023, "From Quantity to Quality", arXiv:2308.12032) and of the perplexities (Li et al. 2024,
"Superfiltering", arXiv:2402.00530). Every row is kept; `balance` decides. A row that cannot be
measured has null measures, and `not_measured` names why: it has no output, its prompt fills the
context, the scorer's chat template refuses its conversation, or `tiny` had no other rows to learn
from.

A conversation is measured whole, because it is exported and trained on whole: the mean over the
tokens of all its answers, each given everything before it, written by the chat template. "Alone" is
each of these answers without anything before it, so that a conversation of one answer has the same
numbers as the row that it is. Assistant turns before the first user turn answer nothing and are not
measured; where the row's texts were rewritten after the import, the rewritten ones are.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import polars as pl

from pipeline.stage import AskingConfig, Drop, LLMStage, Reply, Request, Row
from pipeline.stages.conversations import whole_conversation

TEXTS = ("instruction", "input", "output")
MEASURES = ("perplexity", "ifd", "ifd_perplexity")
NO_OUTPUT, PROMPT_FILLS_CONTEXT = "no_output", "prompt_fills_the_context"
REFUSED, TOO_HIGH = "template_refuses", "perplexity_too_high"
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Config(AskingConfig):
    """`difficulty` has no settings: who measures is `scorer`."""


def ask(row: Row, config: Config, rng: Random) -> Request:
    """The row's three texts, as they are, and the conversation where it is more than that."""
    values: dict[str, Any] = {name: row[name] or "" for name in TEXTS}
    if turns := whole_conversation(row):
        values["messages"] = turns
    return Request("", values)


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """The measures of the row."""
    found = reply.measured
    assert found is not None
    columns: Row = {"scored_tokens": found.tokens, "cut_tokens": found.cut}
    if found.loss is None or found.alone is None:
        why = PROMPT_FILLS_CONTEXT if found.cut else found.why or REFUSED
        if not found.cut and not _has_answer(row):
            why = NO_OUTPUT
        nothing: Row = dict.fromkeys(MEASURES)
        return [columns | nothing | {"not_measured": why}]
    perplexity = _exp(found.loss)
    return [
        columns
        | {
            "perplexity": perplexity,
            "ifd": found.loss / found.alone if found.alone else None,
            "ifd_perplexity": _exp(found.loss - found.alone),
            "not_measured": TOO_HIGH if perplexity is None else None,
        }
    ]


def _has_answer(row: Row) -> bool:
    """Whether there is anything that could have been measured."""
    turns = whole_conversation(row) or [{"role": "assistant", "content": row["output"] or ""}]
    first = next((at for at, turn in enumerate(turns) if turn["role"] == "user"), 0)
    said = (turn["content"] for turn in turns[first:] if turn["role"] == "assistant")
    return any(text.strip() for text in said)


def _exp(loss: float) -> float | None:
    """E to the loss; null where no float holds it."""
    return math.exp(loss) if loss < 700 else None


def measure(kept: pl.DataFrame) -> dict[str, Any]:
    """Quantiles of each measure, how many rows have none, by why, and how many were cut."""
    found: dict[str, Any] = {
        name: {
            f"{quantile:g}": value
            for quantile in QUANTILES
            if (value := kept[name].quantile(quantile)) is not None
        }
        for name in MEASURES
    }
    found["rows_not_measured"] = kept["perplexity"].null_count()
    counts = kept["not_measured"].drop_nulls().value_counts(name="rows")
    found["not_measured"] = dict(
        counts.sort(["rows", "not_measured"], descending=[True, False]).rows()
    )
    found["rows_cut"] = int((kept["cut_tokens"] > 0).sum())
    return found


STAGE = LLMStage(
    name="difficulty",
    version=2,
    summary="measure perplexity and IFD of each answer (--scorer)",
    config=Config,
    prompts=(),
    ask=ask,
    read=read,
    reads=("row_id", *TEXTS),
    writes=(*MEASURES, "scored_tokens", "cut_tokens", "not_measured", "requests"),
    role="scorer",
    endpoint="score",
    measure=measure,
)
