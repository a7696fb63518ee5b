"""What an evaluation comes to: one row a model, slice and metric, from the rows alone.

| metric | what it is |
| --- | --- |
| loss, perplexity | mean loss of the references' tokens in nats, over all tokens; exp of it |
| rouge1, rouge2, rougeL | mean F1 of the rows |
| bleu | of all rows together, 0 to 100 |
| exact_match | share of answers equal to the reference, but for case and punctuation |
| accuracy; precision, recall, f1 | of classifications; a label's own, or the labels' mean |
| repetition, continuation | mean share of repeated runs; share of answers that copy the task |
| tokens, cut_off | mean length of an answer; share of those that reached the limit |
| win_rate, win_rate_length_controlled | of judged rows (`win_rate.py`) |
| ties, flips, no_verdict | shares of judged rows, or of those asked about |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.evaluate import labels, texts, win_rate

ALL = "all"
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("slice", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("n", pa.int64()),
    ]
)
"""`slice` is "all", COLUMN=VALUE, label=LABEL or size=SHARE; `n` the rows that a value is over."""
MEANS: dict[str, str] = {
    "rouge1": "rouge1",
    "rouge2": "rouge2",
    "rougeL": "rougeL",
    "exact_match": "is_exact",
    "repetition": "repetition",
    "continuation": "is_continuation",
    "tokens": "tokens",
}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One value: of a model, on a slice of the rows."""

    model: str
    slice: str
    metric: str
    value: float
    n: int
    standard_error: float | None = None


def table(found: Sequence[Result]) -> pa.Table:
    """Results as they are written."""
    names = SCHEMA.names
    return pa.table({name: [getattr(one, name) for one in found] for name in names}, SCHEMA)


def by_model(found: Sequence[Result], part: str = ALL) -> dict[str, dict[str, float]]:
    """The values of one slice by model and metric."""
    told: dict[str, dict[str, float]] = {}
    for one in found:
        if one.slice == part:
            told.setdefault(one.model, {})[one.metric] = round(one.value, 6)
    return told


def of_answers(rows: pl.DataFrame, by: Sequence[str]) -> list[Result]:
    """The results of rows with `evaluations`: of all, and of each value of the columns `by`."""
    return list(_by_slice(rows.filter(pl.col("evaluations").is_not_null()), by, _of_answers))


def of_verdicts(rows: pl.DataFrame, by: Sequence[str]) -> list[Result]:
    """The results of rows that a judge was asked about."""
    is_asked = pl.col("preferred").is_not_null() | pl.col("not_judged").is_not_null()
    asked = rows.filter(pl.col("evaluations").is_not_null() & is_asked)
    return list(_by_slice(asked, by, _of_verdicts))


def _by_slice(
    rows: pl.DataFrame,
    by: Sequence[str],
    measure: Callable[[str, list[dict[str, Any]]], Iterator[Result]],
) -> Iterator[Result]:
    if rows.is_empty():
        return
    yield from measure(ALL, rows.to_dicts())
    for column in by:
        if column not in rows.columns:
            continue
        for value in sorted(map(str, rows[column].drop_nulls().unique())):
            part = rows.filter(pl.col(column).cast(pl.String) == value)
            yield from measure(f"{column}={value}", part.to_dicts())


def _of_answers(part: str, rows: list[dict[str, Any]]) -> Iterator[Result]:
    for model in dict.fromkeys(one["model"] for row in rows for one in row["evaluations"]):
        pairs = [(row, one) for row in rows for one in row["evaluations"] if one["model"] == model]
        said = [one for _, one in pairs]
        lost = [one for one in said if one["loss"] is not None]
        if n_tokens := sum(one["loss_tokens"] for one in lost):
            loss = sum(one["loss"] * one["loss_tokens"] for one in lost) / n_tokens
            yield Result(model, part, "loss", loss, len(lost))
            yield Result(model, part, "perplexity", math.exp(min(loss, 700)), len(lost))
        for metric, field in MEANS.items():
            values = [float(one[field]) for one in said if one[field] is not None]
            if values:
                yield _mean(model, part, metric, values)
        if counts := [one["bleu_counts"] for one in said if one["bleu_counts"] is not None]:
            yield Result(model, part, "bleu", texts.bleu(counts), len(counts))
        yield _mean(model, part, "cut_off", [float(one["finish"] == "length") for one in said])
        yield from _of_labels(model, part, pairs)


def _of_labels(
    model: str, part: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> Iterator[Result]:
    told = [(one["label"], row["wanted_label"]) for row, one in pairs if row["wanted_label"]]
    if not told:
        return
    said, wanted = [one for one, _ in told], [one for _, one in told]
    n = len(told)
    yield Result(model, part, "accuracy", labels.accuracy(said, wanted), n)
    each = labels.by_label(said, wanted)
    for metric in ("precision", "recall", "f1"):
        mean = sum(getattr(one, metric) for one in each) / len(each)
        yield Result(model, part, metric, mean, n)
    if part == ALL:
        for one in each:
            for metric in ("precision", "recall", "f1"):
                value = getattr(one, metric)
                yield Result(model, f"label={one.label}", metric, value, one.rows)


def _of_verdicts(part: str, rows: list[dict[str, Any]]) -> Iterator[Result]:
    """The first of the two models against the second, in the order of their answers."""
    first, second = opponents([one["model"] for one in rows[0]["evaluations"]])
    judged = [row for row in rows if row["preferred"] is not None]
    model = f"{first} against {second}"
    yield Result(model, part, "no_verdict", 1 - len(judged) / len(rows), len(rows))
    if not judged:
        return
    points = [{first: 1.0, second: 0.0}.get(row["preferred"], 0.5) for row in judged]
    longer = [_length(row, first) - _length(row, second) for row in judged]
    n = len(judged)
    yield _mean(model, part, "win_rate", points)
    fair = win_rate.length_controlled(points, longer)
    yield Result(model, part, "win_rate_length_controlled", fair, n)
    yield Result(model, part, "ties", sum(one == 0.5 for one in points) / n, n)
    yield Result(model, part, "flips", sum(bool(row["is_flipped"]) for row in judged) / n, n)


def opponents(models: Sequence[str]) -> tuple[str, str]:
    """Who is judged against whom: the adapter against the other one, or else against the base."""
    second = "other" if "other" in models else "base"
    return "adapter", second


def answer_of(row: Row, model: str) -> str:
    """What a model answered to a row."""
    return next(str(one["answer"]) for one in row["evaluations"] if one["model"] == model)


def _length(row: Row, model: str) -> int:
    return len(answer_of(row, model))


def _mean(model: str, part: str, metric: str, values: Sequence[float]) -> Result:
    mean = sum(values) / len(values)
    return Result(model, part, metric, mean, len(values), win_rate.standard_error(values))
