"""The texts of rows with all that their conversations say, for filters that read three texts.

A row that is a conversation holds its first exchange as instruction and output, and is exported
whole (`conversations.whole_conversation`): what is compared of it has to be the whole too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from pipeline.stages.conversations import Message, is_one_exchange, whole_conversation

Texts = Callable[[dict[str, Any], list[Message]], tuple[str, str]]
"""The input and the output that stand for a row and its turns."""

TEXTS = ("instruction", "input", "output")


def with_all_turns(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with all turns in its texts, to be read.

    Of a conversation `output` is all answers, and `input` what else is said beside the first user
    turn, each turn on its own lines. Other rows are left as they are.
    """

    def texts(row: dict[str, Any], turns: list[Message]) -> tuple[str, str]:
        first = next(at for at, turn in enumerate(turns) if turn["role"] == "user")
        others = turns[:first] + turns[first + 1 :]
        told = [turn["content"] for turn in others if turn["role"] != "assistant"]
        answers = [turn["content"] for turn in others if turn["role"] == "assistant"]
        return "\n".join([row["input"] or "", *told]), "\n".join(answers)

    return _replaced(frame, texts)


def with_turns_told_apart(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with texts that are the same only where whole conversations are.

    Runs of whitespace count as one space. Without `output` they are the same where all but the
    answers is.
    """

    def texts(row: dict[str, Any], turns: list[Message]) -> tuple[str, str]:
        told = [[turn["role"], turn["content"]] for turn in turns if turn["role"] != "assistant"]
        answers = [
            [str(at), turn["content"]]
            for at, turn in enumerate(turns)
            if turn["role"] == "assistant"
        ]
        return _packed([[row["input"] or ""], *told]), _packed(answers)

    return _replaced(frame, texts)


def user_turns_after_the_first(frame: pl.DataFrame) -> pl.DataFrame:
    """`row` (its place in the frame) and `turn` (String), in order."""
    found = [
        (at, turn["content"])
        for at, _, turns in _conversations(frame)
        for turn in [turn for turn in turns if turn["role"] == "user"][1:]
    ]
    return pl.DataFrame(found, {"row": pl.Int64, "turn": pl.String}, orient="row")


def _packed(parts: Sequence[Sequence[str]]) -> str:
    even = [[" ".join(text.split()) for text in part] for part in parts]
    return json.dumps(even, ensure_ascii=False)


def _conversations(frame: pl.DataFrame) -> list[tuple[int, dict[str, Any], list[Message]]]:
    """The place, the row and the turns of every row that more than an exchange is exported of."""
    if "messages" not in frame.columns:
        return []
    rows = (
        frame.select(*TEXTS, "messages")
        .with_row_index("at")
        .filter(pl.col("messages").list.len() > 0)
    )
    found = ((row["at"], row, whole_conversation(row)) for row in rows.iter_rows(named=True))
    return [(at, row, turns) for at, row, turns in found if turns and not is_one_exchange(turns)]


def _replaced(frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    found = [(at, *texts(row, turns)) for at, row, turns in _conversations(frame)]
    if not found:
        return frame
    places = [at for at, _, _ in found]
    return frame.with_columns(
        frame["input"].cast(pl.String).scatter(places, [told for _, told, _ in found]),
        frame["output"].cast(pl.String).scatter(places, [said for _, _, said in found]),
    )
