"""Only an exact Yes is a yes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Reply
from pipeline.stages import classify
from pipeline.stages.classify import Config

ROW = {"row_id": "a", "instruction": "Name a river."}


def test_one_question_a_task() -> None:
    request = classify.ask(ROW, Config(), Random(0))
    assert (request.template, request.values) == ("classify", {"instruction": "Name a river."})


@pytest.mark.parametrize(
    ("text", "is_yes"),
    [
        (" Yes", True), ("yes", True), ("YES\n", True), ("<think>No?</think>Yes", True),
        ("No", False), ("Yes.", False), ("Yes, it is", False), ("", False), ("yEs", False),
        ("<think>Yes", False), ("Oui", False), ("YesYes", False),
    ],
)  # fmt: skip
def test_a_yes_and_everything_else(text: str, is_yes: bool) -> None:
    assert classify.read(Reply(text), ROW, Config()) == [{"is_classification": is_yes}]


@given(st.text(), st.sampled_from(["stop", "length", "unknown"]))
def test_any_reply_gives_exactly_one_answer(text: str, finish: str) -> None:
    (entry,) = classify.read(Reply(text, finish), ROW, Config())
    assert set(entry) == {"is_classification"}  # type: ignore[call-overload]
