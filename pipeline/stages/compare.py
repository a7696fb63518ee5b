"""Have a judge compare the answers of each row, two at a time, always in both orders.

Source: Chen et al. 2024, "AlpaGasus" (arXiv:2307.08701), section 4: each pair is judged both ways
round. A verdict that turns with the order is a flip: it says nothing about the answers, so the pair
counts as a tie, and is counted as a flip too.

A row has an output and another one, or, where the import named several fields, `answers`, each with
its field's name. Over more than two names the comparisons of all rows make a leaderboard
(`bradley_terry.py`). A pair without a verdict is left out; a row without any is dropped.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from pipeline.stage import (
    EXTENT,
    NOT_ASKED,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.bradley_terry import Outcome, leaderboard
from pipeline.stages.numbered_list import clean_reply
from pipeline.stages.yes_no import is_word_cut_off

VERDICT = re.compile(r"\s*(?:answer\s+)?(a|b|tie)[.!]?\s*(?:\n|$)", re.IGNORECASE)
FIRST, SECOND, TIE = "output", "other_output", "tie"


class Config(AskingConfig):
    """Settings of `compare`: how many pairs of a row are judged (null is all), and how.

    Which pairs is drawn a row; more of them later keep those that were judged.
    """

    pairs: Annotated[int | None, Field(ge=1), EXTENT] = None
    sampling: Sampling = Sampling(temperature=0, max_tokens=128)


def answers_of(row: Row) -> dict[str, str]:
    """The answers of a row that say something, by name."""
    several = row.get("answers")
    if several:
        return {one["source"]: one["text"] for one in several if one["text"]}
    return {name: row[name] for name in (FIRST, SECOND) if row[name]}


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask about every pair in both orders at once."""
    answers = answers_of(row)
    pairs = list(itertools.combinations(answers, 2))
    if not pairs:
        return [Drop("no_output", "there are no two answers to compare")]
    if config.pairs is not None:
        drawn = rng.sample(range(len(pairs)), len(pairs))[: config.pairs]
        pairs = [pairs[at] for at in sorted(drawn)]
    orders = [names for pair in pairs for names in (pair, pair[::-1])]
    replies = yield [_request(row, answers[one], answers[other]) for one, other in orders]
    for reply in replies:
        if isinstance(reply, Drop) and reply.reason == NOT_ASKED:
            return [reply]
    verdicts = [read_verdict(reply, *names) for reply, names in zip(replies, orders, strict=True)]
    judged = [
        _judged(pair, verdicts[2 * at], verdicts[2 * at + 1]) for at, pair in enumerate(pairs)
    ]
    if all(one["preferred"] is None for one in judged):
        return [next(found for found in verdicts if isinstance(found, Drop))]
    is_flipped = any(one["is_flipped"] for one in judged)
    found: Row = {"preferred": _best(judged), "is_flipped": is_flipped}
    return [found | {"comparisons": judged} if row.get("answers") else found]


def _judged(pair: tuple[str, str], one: str | Drop, other: str | Drop) -> dict[str, Any]:
    """A pair with what both orders came to; nulls where one of them gave no verdict."""
    names = {"first": pair[0], "second": pair[1]}
    if isinstance(one, Drop) or isinstance(other, Drop):
        return names | {"preferred": None, "is_flipped": None}
    is_flip = TIE not in (one, other) and one != other
    return names | {"preferred": one if one == other else TIE, "is_flipped": is_flip}


def _best(judged: Sequence[Mapping[str, Any]]) -> str:
    """The answer with the largest share of its comparisons, ties half; a tie where several have."""
    points: dict[str, list[float]] = {}
    for one in judged:
        if one["preferred"] is not None:
            for name in (one["first"], one["second"]):
                made = 0.5 if one["preferred"] == TIE else float(one["preferred"] == name)
                points.setdefault(name, []).append(made)
    shares = {name: sum(made) / len(made) for name, made in points.items()}
    best = [name for name, share in shares.items() if share == max(shares.values())]
    return best[0] if len(best) == 1 else TIE


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
    """Shares of the comparisons: ties, verdicts that turned with the order, wins of two answers.

    Over more than two there is a leaderboard in place of the wins: rating and comparisons a name.
    """
    found = [one for row in kept.iter_rows(named=True) for one in _comparisons(row)]
    judged = [one for one in found if one["preferred"] is not None]
    if not judged:
        return {}
    names = dict.fromkeys(name for one in found for name in (one["first"], one["second"]))
    is_ranked = len(names) > 2
    shown = (TIE,) if is_ranked else (*names, TIE)
    told: dict[str, Any] = {
        f"share_{name}": round(sum(one["preferred"] == name for one in judged) / len(judged), 4)
        for name in shown
    }
    told["share_flipped"] = round(sum(one["is_flipped"] for one in judged) / len(judged), 4)
    if len(judged) < len(found):
        told["pairs_without_verdict"] = len(found) - len(judged)
    if is_ranked:
        told["comparisons"] = len(judged)
        told["leaderboard"] = {
            one.name: {
                "rating": one.rating,
                "comparisons": one.comparisons,
                "won": one.won,
                "tied": one.tied,
                "lost": one.lost,
            }
            for one in leaderboard(_outcome(one) for one in judged)
        }
    return told


def _comparisons(row: Row) -> list[dict[str, Any]]:
    """The comparisons of a row; of one with two answers it is what the row says itself."""
    alone = {"first": FIRST, "second": SECOND}
    verdict = {"preferred": row["preferred"], "is_flipped": row["is_flipped"]}
    return row["comparisons"] or [alone | verdict]


def _outcome(one: Mapping[str, Any]) -> Outcome:
    winner = None if one["preferred"] == TIE else str(one["preferred"])
    return Outcome(one["first"], one["second"], winner)


def requests_about(row: Row, config: Config) -> float:
    """Both orders of each pair that is judged."""
    pairs = math.comb(len(answers_of(row)), 2)
    return 2.0 * (pairs if config.pairs is None else min(pairs, config.pairs))


STAGE = ChainStage(
    name="compare",
    version=2,
    summary="have a judge compare the answers of each row in pairs, in both orders",
    config=Config,
    prompts=("prefer",),
    work=work,
    reads=("row_id", "instruction", "input", "output", "other_output"),
    writes=("preferred", "is_flipped", "comparisons", "requests"),
    requests_a_row=lambda config: 2.0,
    requests_about=requests_about,
    role="judge",
    measure=measures,
    measured=("preferred", "is_flipped", "comparisons"),
)
