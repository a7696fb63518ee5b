"""Have a judge say which of two models' answers is better, in both orders, and sum it up.

The rows are those of `evaluate`; the adapter is compared with the other one where there is one,
else with the base. Each pair is judged both ways round, as in `compare`: a verdict that turns with
the order counts as a tie. Rows that were not evaluated go on as they are, and so does one without a
verdict, which says why.
"""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl

from pipeline.evaluate import results
from pipeline.stage import (
    NOT_ASKED,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.compare import TIE, read_verdict
from pipeline.stages.conversations import whole_conversation


class Config(AskingConfig):
    """Settings of `win-rate`: how the judge decodes."""

    sampling: Sampling = Sampling(temperature=0, max_tokens=128)


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask about the two answers in both orders at once."""
    nothing: Row = {"preferred": None, "is_flipped": None, "not_judged": None}
    if row["not_evaluated"] is not None:
        return [nothing]
    names, texts = _answers(row)
    silent = [name for name in names if not texts[name].strip()]
    if silent:  # who says nothing loses, and no judge is paid to say so
        won = TIE if len(silent) == 2 else next(name for name in names if name not in silent)
        return [nothing | {"preferred": won, "is_flipped": False}]
    orders = (names, names[::-1])
    replies = yield [_request(row, texts, *order) for order in orders]
    for reply in replies:
        if isinstance(reply, Drop) and reply.reason == NOT_ASKED:
            return [reply]
    verdicts = [read_verdict(reply, *order) for reply, order in zip(replies, orders, strict=True)]
    for verdict in verdicts:
        if isinstance(verdict, Drop):
            return [nothing | {"not_judged": verdict.reason}]
    one, other = verdicts
    is_flip = TIE not in verdicts and one != other
    return [nothing | {"preferred": one if one == other else TIE, "is_flipped": is_flip}]


def _answers(row: Row) -> tuple[tuple[str, str], dict[str, str]]:
    """The two models and what they said; of a row that is still to be asked, its own output."""
    if row["evaluations"] is None:  # in a plan
        names = results.opponents(())
        return names, dict.fromkeys(names, row.get("output") or row["instruction"] or "-")
    names = results.opponents([one["model"] for one in row["evaluations"]])
    return names, {name: results.answer_of(row, name) for name in names}


def _request(row: Row, texts: dict[str, str], first: str, second: str) -> Request:
    """What the judge is shown: of a conversation its turns up to the answer."""
    asked = {"instruction": row["instruction"], "input": row["input"]}
    if turns := whole_conversation(row):
        said = [f"{turn['role']}: {turn['content']}" for turn in turns]
        before = said[:-1] if turns[-1]["role"] == "assistant" else said
        asked = {"instruction": "\n\n".join(before), "input": None}
    return Request("prefer", {**asked, "first": texts[first], "second": texts[second]})


def requests_about(row: Row, config: Config) -> float:
    """Both orders, of a row that was evaluated, or will be."""
    is_left_out = row["not_evaluated"] is not None or row.get("held_out") is False
    return 0.0 if is_left_out else 2.0


def measure(kept: pl.DataFrame) -> dict[str, Any]:
    """Win rates over all rows that were judged, and why others were not."""
    left_out = kept["not_judged"].drop_nulls().value_counts().sort("not_judged").rows()
    found = results.by_model(results.of_verdicts(kept, ()))
    return {"not_judged": dict(left_out), "results": found}


STAGE = ChainStage(
    name="win-rate",
    version=1,
    summary="have a judge compare the answers of two models, in both orders: win rates",
    config=Config,
    prompts=("prefer",),
    work=work,
    reads=("row_id", "instruction", "input", "evaluations", "not_evaluated"),
    writes=("preferred", "is_flipped", "not_judged", "requests"),
    requests_a_row=lambda config: 2.0,
    requests_about=requests_about,
    role="judge",
    measure=measure,
    measured=("evaluations", "preferred", "is_flipped", "not_judged"),
)
