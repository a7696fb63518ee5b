"""An instruction for a text, and a rating of the pair that is null where none was given."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Reply, Request
from pipeline.stages import backtranslate
from pipeline.stages.backtranslate import Config

ROW: dict[str, Any] = {"row_id": "a", "root_id": "a", "output": " Garda is a lake. "}


def talked(
    *replies: Reply | Drop, row: dict[str, Any] = ROW
) -> tuple[list[Request], dict[str, Any] | Drop]:
    """What was asked, and the entry."""
    talk = backtranslate.work(row, Config(), Random(0))
    asked: list[Request] = []
    given: list[Sequence[Reply | Drop] | None] = [None, *([reply] for reply in replies)]
    for one in given:
        try:
            asked += next(talk) if one is None else talk.send(one)
        except StopIteration as done:
            (entry,) = done.value
            return asked, entry
    raise AssertionError("the conversation goes on")


def test_the_instruction_is_asked_for_and_then_rated_with_the_text() -> None:
    asked, entry = talked(Reply("What is Garda?"), Reply("Fine.\nScore: 5"))
    assert [request.template for request in asked] == ["backtranslate", "rate-pair"]
    assert asked[0].values == {"output": "Garda is a lake."}
    assert asked[1].values == {"instruction": "What is Garda?", "output": "Garda is a lake."}
    assert [request.sampling for request in asked] == ["sampling", "rating"]
    assert entry == {
        "instruction": "What is Garda?", "input": "", "origin": "teacher", "pair_rating": 5,
    }  # fmt: skip


def test_columns_of_the_instruction_that_was_there_are_emptied() -> None:
    row = ROW | {"nearest_id": "seed_1", "shown": ["seed_1"], "is_classification": True}
    _, entry = talked(Reply("What is Garda?"), Reply("4"), row=row)
    assert not isinstance(entry, Drop)
    assert (entry["nearest_id"], entry["shown"], entry["is_classification"]) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Score: 4", 4), ("It is good.\n**Score: 5**", 5), ("**Score:** 1", 1), ("3", 3),
        ("4/5", 4), ("4 out of 5\nIt is good.", 4), ("Rating is 2.", 2), ("评分：3", 3),
        ("Score (1-5): 4", 4), ("Score: 2\nNo, better:\nScore: 3", 3), ("score = 5", 5),
        ("<think>Score: 1</think>Score: 5", 5),
        ("", None), ("Good.", None), ("Score: 0", None), ("Score: 6", None), ("Score: 4.5", None),
        ("Score: 10", None), ("It has 5 sentences.", None), ("Score: good", None), ("44", None),
    ],
)  # fmt: skip
def test_a_rating_is_a_number_from_one_to_five_or_null(text: str, rating: int | None) -> None:
    assert backtranslate.rating_of(Reply(text)) == rating
    _, entry = talked(Reply("What is Garda?"), Reply(text))
    assert not isinstance(entry, Drop)
    assert entry["pair_rating"] == rating


@pytest.mark.parametrize("finish", ["length", "unknown"])
@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("4\nIt is go", 4), ("Score: 2\nNo, bett", 2), ("4/5\n", 4), ("**Score: 5**\nI", 5),
        ("4", None), ("Score: 4", None), ("It is good.\nScore: 4", None), ("", None),
        ("A score of 2 would be too low.\nIt an", None), ("It is good.\nScore: 2 is too l", None),
        ("<think>Score: 1", None),
    ],
)  # fmt: skip
def test_of_a_rating_that_was_cut_off_only_a_whole_first_line_counts(
    text: str, rating: int | None, finish: str
) -> None:
    assert backtranslate.rating_of(Reply(text, finish)) == rating
    _, entry = talked(Reply("What is Garda?"), Reply(text, finish))
    if rating is None:
        assert isinstance(entry, Drop)
        assert (entry.reason, entry.detail) == ("cut_off", text)
        assert entry.row["instruction"] == "What is Garda?"
    else:
        assert not isinstance(entry, Drop)
        assert entry["pair_rating"] == rating


@pytest.mark.parametrize(
    "text",
    [
        "What is Garda?",
        '"What is Garda?"',
        "**Instruction:** What is Garda?\n",
        "Instruction: What is Garda?",
    ],
)
def test_field_names_and_quotation_marks_around_the_instruction_go(text: str) -> None:
    assert backtranslate.instruction_of(Reply(text)) == "What is Garda?"


@pytest.mark.parametrize(
    ("replies", "reason", "n_asked"),
    [
        ([Reply("What is", "length")], "item_cut_off", 1),
        ([Reply("")], "empty_item", 1),
        ([Drop("content_filter", "stopped")], "content_filter", 1),
        ([Reply("What is Garda?"), Drop("refusal", "no")], "refusal", 2),
    ],
)
def test_without_an_instruction_or_any_rating_the_row_is_dropped_by_name(
    replies: list[Reply | Drop], reason: str, n_asked: int
) -> None:
    asked, entry = talked(*replies)
    assert len(asked) == n_asked
    assert isinstance(entry, Drop)
    assert entry.reason == reason


@pytest.mark.parametrize("output", [None, "", "  \n"])
def test_nothing_is_asked_about_an_empty_text(output: str | None) -> None:
    assert talked(row=ROW | {"output": output}) == ([], Drop("empty_output"))


@given(st.text())
def test_any_text_has_a_rating_on_the_scale_or_none(text: str) -> None:
    assert backtranslate.rating_of(Reply(text)) in (None, 1, 2, 3, 4, 5)


@given(st.integers(1, 5), st.text(alphabet="abc ,.\n", max_size=40))
def test_a_score_line_after_any_grounds_is_read(rating: int, grounds: str) -> None:
    assert backtranslate.rating_of(Reply(f"{grounds}\nScore: {rating}")) == rating
