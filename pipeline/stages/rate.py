"""Have a judge rate each row, and keep what is rated highly.

Source: Chen et al. 2024, "AlpaGasus" (arXiv:2307.08701), section 3: one dimension from 0 to 5,
accuracy, and rows of 4.5 and more are kept. Where we differ: several dimensions and several votes
can be asked for, a reply without a number is no rating instead of -1, and what is kept is decided
afterwards, by the second half (`keep.py`), so that it can be decided otherwise for nothing.
"""

from __future__ import annotations

from random import Random
from typing import Annotated, Any

import polars as pl
from pydantic import Field, model_validator

from pipeline.stage import (
    EXTENT,
    IDENTITY,
    NOT_ASKED,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Request,
    Row,
    Sampling,
)
from pipeline.stages import keep
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.rating import FORM, Rating, middle, read_rating

MEANINGS = {
    "accuracy": "is what it says true, and does it do what was asked?",
    "helpfulness": "does it help the user with what they need, completely and to the point?",
    "honesty": "does it say only what can be known, and name what it does not know?",
    "harmlessness": "is it free of what could hurt people, and of help with doing so?",
    "clarity": "is it easy to read and well ordered, without words that add nothing?",
    "bias": "does it treat people and views fairly, without stereotypes?",
}
"""What a judge is told of each dimension; 5 is always the best."""


class Config(AskingConfig):
    """Settings of `rate`: what is rated, how often each is asked, and how the judge decodes.

    `dimensions` are names of the six that there are, or of the user's own `rules`, each with what
    the judge is told of it: `{brevity: "is it as short as it can be?"}`.
    """

    dimensions: Annotated[tuple[str, ...], Field(min_length=1), IDENTITY] = ("accuracy",)
    rules: Annotated[dict[str, str], Field(default_factory=dict), IDENTITY]
    votes: Annotated[int, Field(ge=1, le=50), EXTENT] = 1
    sampling: Sampling = Sampling(temperature=0, max_tokens=256)

    @model_validator(mode="after")
    def _known(self) -> Config:
        known = {**MEANINGS, **self.rules}
        if unknown := [name for name in self.dimensions if name not in known]:
            raise ValueError(
                f"nobody knows the dimension {unknown[0]!r}: there are {', '.join(known)}, and "
                "'rules' names others"
            )
        if len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError("a dimension stands twice")
        return self


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask for every vote on every dimension at once; nothing depends on the order."""
    if not row["output"]:
        return [Drop("no_output", "there is no answer to rate")]
    asked = [name for name in config.dimensions for _ in range(config.votes)]
    replies = yield [_request(row, name, config) for name in asked]
    for found in replies:
        if isinstance(found, Drop) and found.reason == NOT_ASKED:
            return [found]
    votes = [
        Rating(None, found.detail, found.reason)
        if isinstance(found, Drop)
        else Rating(None, found.text[:200], "cut_off")
        if found.is_cut_off and "\n" not in clean_reply(found.text).lstrip()
        else read_rating(found.text)
        for found in replies
    ]
    return [_entry(votes, config)]


def _request(row: Row, dimension: str, config: Config) -> Request:
    return Request(
        "rate",
        {
            "dimension": dimension,
            "meaning": {**MEANINGS, **config.rules}[dimension],
            "instruction": row["instruction"],
            "input": row["input"],
            "output": row["output"],
            "turns": row.get("messages") or [],
        },
        form=FORM,
    )


def _entry(votes: list[Rating], config: Config) -> Row | Drop:
    """A row's columns; where a dimension has no number, why it has none."""
    ratings: list[dict[str, Any]] = []
    for at, name in enumerate(config.dimensions):
        own = votes[at * config.votes : (at + 1) * config.votes]
        numbers = [vote.number for vote in own if vote.number is not None]
        rating = middle(numbers)
        if rating is None:
            return Drop(own[0].problem, f"{name}: {own[0].reason}"[:300])
        nearest = min(
            (vote for vote in own if vote.number is not None),
            key=lambda vote: abs((vote.number or 0.0) - rating),
        )
        ratings.append(
            {"dimension": name, "rating": rating, "votes": numbers, "reason": nearest.reason}
        )
    lowest = min(ratings, key=lambda one: float(one["rating"]))
    return {"rating": lowest["rating"], "rating_reason": lowest["reason"], "ratings": ratings}


def measures(kept: pl.DataFrame) -> dict[str, Any]:
    """How many rows got which rating, lowest first."""
    counted = kept.group_by("rating").len().sort("rating")
    return {"histogram": {f"{rating:g}": n for rating, n in counted.iter_rows()}}


STAGE = ChainStage(
    name="rate",
    version=1,
    summary="have a judge rate each row from 0 to 5, and keep the best",
    config=Config,
    prompts=("rate",),
    work=work,
    reads=("row_id", "instruction", "input", "output"),
    writes=("rating", "rating_reason", "ratings", "requests"),
    requests_a_row=lambda config: float(len(config.dimensions) * config.votes),
    role="judge",
    measure=measures,
    measured=("rating",),
    then=keep.STAGE,
)
