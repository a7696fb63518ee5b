"""Rows in, results out: every figure against sums by hand."""

import math
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline.evaluate import report, results
from pipeline.schema import COLUMNS

NOTHING = dict.fromkeys(field.name for field in COLUMNS["evaluations"].type.value_type)


def said(model: str, answer: str = "x", **more: Any) -> dict[str, Any]:
    given = {"tokens": 1, "finish": "stop", "repetition": 0.0, "is_continuation": False}
    return NOTHING | {"model": model, "answer": answer} | given | more


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = ("domain", "wanted_label", "evaluations", "preferred", "is_flipped", "not_judged")
    columns = {
        name: pa.array([row.get(name) for row in rows], COLUMNS[name].type) for name in names
    }
    found = pl.from_arrow(pa.table(columns))
    assert isinstance(found, pl.DataFrame)
    return found


def values(found: list[results.Result], part: str, model: str) -> dict[str, float]:
    return {one.metric: one.value for one in found if (one.slice, one.model) == (part, model)}


def test_a_loss_is_over_tokens_and_the_others_are_over_rows() -> None:
    rows = [
        {"domain": "code", "evaluations": [said("base", loss=2.0, loss_tokens=1, rouge1=1.0)]},
        {"domain": "math", "evaluations": [said("base", loss=1.0, loss_tokens=3, rouge1=0.5)]},
        {"domain": "math", "evaluations": [said("base", finish="length", tokens=4)]},
        {"domain": "math", "evaluations": None},
    ]
    found = results.of_answers(frame(rows), ["domain", "language"])
    of_all = values(found, "all", "base")
    assert of_all["loss"] == pytest.approx(1.25)
    assert of_all["perplexity"] == pytest.approx(math.exp(1.25))
    assert of_all["rouge1"] == 0.75
    assert of_all["tokens"] == 2
    assert of_all["cut_off"] == pytest.approx(1 / 3)
    assert "bleu" not in of_all
    assert "accuracy" not in of_all
    assert values(found, "domain=math", "base")["loss"] == 1.0
    assert {one.n for one in found if one.metric == "loss"} == {1, 2}
    assert not [one for one in found if one.slice.startswith("language")]


def test_labels_have_results_of_their_own() -> None:
    rows = [
        {"wanted_label": wanted, "evaluations": [said("base", label=label)]}
        for label, wanted in [("yes", "yes"), ("yes", "no"), (None, "no"), ("no", "no")]
    ]
    found = results.of_answers(frame([*rows, {"evaluations": [said("base")]}]), [])
    of_all = values(found, "all", "base")
    assert of_all["accuracy"] == 0.5
    assert values(found, "label=yes", "base") == {
        "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3),
    }  # fmt: skip
    assert values(found, "label=no", "base")["recall"] == pytest.approx(1 / 3)
    assert of_all["recall"] == pytest.approx(2 / 3)


def judged(preferred: str | None, domain: str = "code", **more: Any) -> dict[str, Any]:
    both = [said("base", "short"), said("adapter", "a longer one")]
    is_flipped = None if preferred is None else False
    row = {"domain": domain, "evaluations": both, "preferred": preferred, "is_flipped": is_flipped}
    return row | more


def test_a_tie_is_half_a_win_and_a_row_without_a_verdict_none() -> None:
    rows = [
        judged("adapter"), judged("base", "math"), judged("tie", is_flipped=True),
        judged("adapter"), judged(None, not_judged="no_verdict"), judged(None),
    ]  # fmt: skip
    found = results.of_verdicts(frame(rows), ["domain"])
    of_all = values(found, "all", "adapter against base")
    assert of_all["win_rate"] == 0.625
    assert of_all["win_rate_length_controlled"] == 0.625  # all answers differ by as much
    assert (of_all["ties"], of_all["flips"]) == (0.25, 0.25)
    assert of_all["no_verdict"] == pytest.approx(0.2)
    assert values(found, "domain=math", "adapter against base")["win_rate"] == 0.0


def test_a_second_adapter_goes_before_the_base() -> None:
    three = [said("base"), said("adapter"), said("other")]
    rows = [{"evaluations": three, "preferred": "other", "is_flipped": False}]
    (model,) = {one.model for one in results.of_verdicts(frame(rows), [])}
    assert model == "adapter against other"
    assert values(results.of_verdicts(frame(rows), []), "all", model)["win_rate"] == 0.0


def test_nothing_judged_and_nothing_asked_come_to_nothing() -> None:
    assert results.of_answers(frame([{"evaluations": None}]), ["domain"]) == []
    assert results.of_verdicts(frame([judged(None)]), []) == []


def test_a_report_shows_each_value_and_no_markup_of_the_data() -> None:
    rows = [
        judged("adapter", "a|b<i>"),
        judged("tie", "plain") | {"wanted_label": "x"},
    ]
    found = results.of_answers(frame(rows), ["domain"]) + results.of_verdicts(
        frame(rows), ["domain"]
    )
    text = report.render(found, run="r", kin="qwen")
    assert "| all | 0.750" in text
    assert "one family (qwen" in text
    assert "<i>" not in text
    assert r"a\|b\<i\>" in text
    assert results.table(found).num_rows == len(found)
