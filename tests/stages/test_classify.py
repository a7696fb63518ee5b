"""Only an exact Yes is a yes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Reply
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


@pytest.mark.parametrize(
    ("text", "is_yes"),
    [
        (" Yes", True), ("yes", True), ("YES\n", True), ("No", False), ("no", False),
        ("Yes.", False), ("Yes, it", False), ("No, it", False), ("This is a", False),
        ("Yes \n", True), ('"Yes"', False), ("- No,", False),
        ("<think>Ye</think>No", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_a_reply_that_was_cut_off_after_a_whole_word_is_read_as_any_other(
    text: str, is_yes: bool, finish: str
) -> None:
    assert classify.read(Reply(text, finish), ROW, Config()) == [{"is_classification": is_yes}]


@pytest.mark.parametrize(
    "text", ["Ye", " Y", "N", "Ja", "", "\n", '"Ye', "<think>Yes, it", "Yesno"]
)
@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_a_reply_that_was_cut_off_in_its_first_word_says_nothing(text: str, finish: str) -> None:
    (entry,) = classify.read(Reply(text, finish), ROW, Config())
    assert isinstance(entry, Drop)
    assert (entry.reason, entry.detail) == ("answer_cut_off", text)
    assert classify.read(Reply(text), ROW, Config()) == [{"is_classification": False}]


@given(st.text(), st.sampled_from(["stop", "length", "unknown"]))
def test_any_reply_gives_exactly_one_answer_or_was_cut_off(text: str, finish: str) -> None:
    (entry,) = classify.read(Reply(text, finish), ROW, Config())
    if isinstance(entry, Drop):
        assert finish != "stop"
        assert entry.reason == "answer_cut_off"
    else:
        assert set(entry) == {"is_classification"}
