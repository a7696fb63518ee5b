"""Have models answer the rows that were held out, and measure the answers.

A row that a model was trained on is not asked about. What is measured of an answer is in
`pipeline/evaluate/texts.py` and `labels.py`, what it sums up to in `results.py` there. A row is a
classification where its column says so, or where the settings name the labels and its output is one
of them.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.evaluate import labels, results
from pipeline.evaluate.texts import AgainstReference, is_continuation, normalised, repetition
from pipeline.stage import EvaluateStage, Row
from pipeline.stages import export
from pipeline.train.evaluate_settings import Config

TRAINED_ON = "trained_on"


def prompt(row: Row) -> tuple[list[dict[str, str]], str | None]:
    """The turns up to the last answer, and that answer; null where it is empty."""
    turns = list(export.render(row, "messages")["messages"])
    *before, last = turns
    if last["role"] != "assistant":
        return turns, None
    return before, last["content"] if last["content"].strip() else None


def why_not(row: Row) -> str | None:
    """A row that was not held out from training says nothing about a model."""
    return TRAINED_ON if row.get("held_out") is False else None


def score(rows: list[Row], config: Config) -> None:
    """Fill in what is measured of each answer; all rows at once, for their labels belong together.

    A row is one that was asked about, with `reference` and `asked`, its texts, beside its columns.
    """
    compare = AgainstReference()
    known = {normalised(one) for one in config.labels or ()}
    for row in rows:
        row["wanted_label"] = _wanted(row, known)
    known |= {row["wanted_label"] for row in rows if row["wanted_label"] is not None}
    for row in rows:
        reference = row["reference"]
        for one in row["evaluations"]:
            answer = one["answer"]
            one["repetition"] = repetition(answer)
            one["is_continuation"] = is_continuation(answer, row["asked"], reference)
            if reference is not None:
                one |= compare.measure(answer, reference)
            if row["wanted_label"] is not None:
                one["label"] = labels.label_of(answer, known)


def _wanted(row: Row, known: set[str]) -> str | None:
    """The right label of a classification, normalised; null for other rows."""
    if row["reference"] is None:
        return None
    label = normalised(row["reference"])
    if known:
        return label if label in known else None
    return (label or None) if row.get("is_classification") else None


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows were asked about, why others were not, and the results over all of them."""
    left_out = kept["not_evaluated"].drop_nulls().value_counts().sort("not_evaluated").rows()
    found = results.of_answers(kept, ())
    return {
        "rows_evaluated": int(kept["evaluations"].is_not_null().sum()),
        "not_evaluated": dict(left_out),
        "results": results.by_model(found),
    }


STAGE = EvaluateStage(
    name="evaluate",
    version=1,
    summary="have a model and its base answer held-out rows, and measure loss, ROUGE and more",
    config=Config,
    prompt=prompt,
    why_not=why_not,
    score=score,
    reads=("row_id", "instruction", "input", "output"),
    may_read=("messages", "held_out", "is_classification"),
    writes=("wanted_label", "evaluations", "not_evaluated"),
    measure=measure,
)
