"""Which rows are evaluated, on what, and what is filled in of their answers."""

from typing import Any

import pytest

pytest.importorskip("sacrebleu", reason="the extra 'evaluate' is not installed")
pytest.importorskip("rouge_score", reason="the extra 'evaluate' is not installed")

from pipeline.stages import evaluate
from pipeline.train.evaluate_settings import Config


def row(output: str | None = "Paris.", **more: Any) -> dict[str, Any]:
    return {"row_id": "a", "instruction": "Name it.", "input": None, "output": output} | more


def test_what_is_asked_is_all_before_the_last_answer() -> None:
    asked, reference = evaluate.prompt(row(input="France"))
    assert asked == [{"role": "user", "content": "Name it.\n\nFrance"}]
    assert reference == "Paris."
    turns = [
        {"role": role, "content": text}
        for role, text in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ]
    assert evaluate.prompt(row("b", instruction="a", messages=turns)) == (turns[:3], "d")


@pytest.mark.parametrize("output", [None, "", "  "])
def test_a_row_without_output_has_no_reference(output: str | None) -> None:
    assert evaluate.prompt(row(output))[1] is None


@pytest.mark.parametrize(
    ("held_out", "why"),
    [({"held_out": False}, "trained_on"), ({"held_out": True}, None), ({}, None)],
)
def test_rows_that_were_trained_on_are_not_evaluated(held_out: Any, why: str | None) -> None:
    assert evaluate.why_not(row(**held_out)) == why


def scored(*rows: tuple[str | None, str, bool | None], **settings: Any) -> list[dict[str, Any]]:
    """Rows of reference, answer and whether it is a classification."""
    found = [
        {"reference": wanted, "asked": ["?"], "is_classification": is_one,
         "evaluations": [{"model": "base", "answer": answer}]}
        for wanted, answer, is_one in rows
    ]  # fmt: skip
    evaluate.score(found, Config.model_validate(settings))
    return [one | one["evaluations"][0] for one in found]


def test_classifications_are_those_of_the_column_and_share_their_labels() -> None:
    yes, no, text, unknown = scored(
        ("Yes", "yes!", True), ("No", "Not yes, I think", True), ("yes", "yes", False),
        (None, "no", True),
    )  # fmt: skip
    assert (yes["wanted_label"], yes["label"]) == ("yes", "yes")
    assert (no["wanted_label"], no["label"]) == ("no", "yes")
    assert text["wanted_label"] is None
    assert "label" not in text
    assert unknown["wanted_label"] is None
    assert "rouge1" not in unknown
    assert unknown["repetition"] == 0.0


def test_named_labels_make_every_row_with_one_a_classification() -> None:
    good, other = scored(
        ("Good", "bad or good", None), ("fine", "good", None), labels=["good", "bad"]
    )
    assert (good["wanted_label"], good["label"]) == ("good", None)
    assert other["wanted_label"] is None
