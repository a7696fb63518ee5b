"""Give each row a vector of its text, through any server that speaks the OpenAI protocol.

One request a row, journalled like any other. Without a setting the text is the instruction, a blank
line and the input, if there is one; the template `embed` says what stands around them. A reply is

    {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.7]}],
     "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
"""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.stage import IDENTITY, AskingConfig, Drop, LLMStage, Reply, Request, Row

Text = Literal["instruction", "input", "output"]


class Config(AskingConfig):
    """Settings of `embed`: the columns that make the text, those that are empty left out.

    `length` is how many numbers a vector has; rows that get another are dropped. Null takes any.
    """

    text: Annotated[tuple[Text, ...], Field(min_length=1), IDENTITY] = ("instruction", "input")
    length: Annotated[int | None, Field(ge=1), IDENTITY] = None


def ask(row: Row, config: Config, rng: Random) -> Request:
    """The row's text."""
    return Request("embed", {"texts": [row[name] for name in config.text if row[name]]})


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """The vector as float32, an eighth of a list's memory."""
    if config.length not in (None, len(reply.vector)):
        return [Drop("wrong_length", f"{len(reply.vector)} numbers, not {config.length}")]
    return [{"embedding": np.array(reply.vector, np.float32)}]


def reads(config: Config) -> tuple[str, ...]:
    """The texts, and what the rows are called."""
    return ("row_id", *config.text)


STAGE = LLMStage(
    name="embed",
    version=1,
    summary="give each row a vector of its text (/v1/embeddings)",
    config=Config,
    prompts=("embed",),
    ask=ask,
    read=read,
    reads=reads,
    writes=("embedding", "requests"),
    endpoint="embeddings",
)
