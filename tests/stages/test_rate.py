"""What a judge is asked, and what becomes of its replies."""

from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline import templates
from pipeline.stage import Drop, Reply, Request, Row
from pipeline.stages.rate import Config, work

ROW: Row = {"row_id": "a", "instruction": "Name a river.", "input": "", "output": "The Po."}


def config(**given: Any) -> Config:
    return Config.model_validate(given)


def rate(found: Config, *replies: Reply | Drop, row: Row = ROW) -> tuple[list[Request], Row | Drop]:
    """Hold the conversation about one row."""
    talk = work(row, found, Random(0))
    asked = list(next(talk))
    with pytest.raises(StopIteration) as end:
        talk.send(replies)
    (entry,) = end.value.value
    return asked, entry


def test_one_reply_gives_a_rating_and_its_reason() -> None:
    asked, entry = rate(config(), Reply("4.5\n\nOne step is left out."))
    assert len(asked) == 1
    assert entry == {
        "rating": 4.5, "rating_reason": "One step is left out.",
        "ratings": [{"dimension": "accuracy", "rating": 4.5, "votes": [4.5],
                     "reason": "One step is left out."}],
    }  # fmt: skip


def test_votes_make_a_median_of_those_that_were_given() -> None:
    replies = [Reply("3\na"), Reply("5\nb"), Reply("none"), Reply("4.5\nc")]
    asked, entry = rate(config(votes=4), *replies)
    assert len(asked) == 4
    assert isinstance(entry, dict)
    assert (entry["rating"], entry["ratings"][0]["votes"]) == (4.5, [3, 5, 4.5])
    assert entry["rating_reason"] == "c"


def test_the_lowest_dimension_is_the_rating() -> None:
    rules = {"brevity": "is it as short as it can be?"}
    found = config(dimensions=["accuracy", "brevity"], rules=rules)
    asked, entry = rate(found, Reply("5\ntrue"), Reply("2\nlong"))
    assert [request.values["meaning"] for request in asked][1] == rules["brevity"]
    assert isinstance(entry, dict)
    assert (entry["rating"], entry["rating_reason"]) == (2, "long")
    assert [one["rating"] for one in entry["ratings"]] == [5, 2]


def test_a_number_out_of_range_is_said_with_its_reason() -> None:
    _, entry = rate(config(), Reply("10\nPerfect."))
    assert isinstance(entry, Drop)
    assert entry.detail == "accuracy: 10\nPerfect."


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("It is good."), "no_number"),
        (Reply("10\nPerfect."), "out_of_range"),
        (Reply(""), "no_first_line"),
        (Reply("4", "length"), "cut_off"),
        (Drop("refusal", "I cannot."), "refusal"),
        (Drop("content_filter"), "content_filter"),
    ],
)
def test_a_reply_without_a_rating_drops_the_row_by_name(reply: Reply | Drop, reason: str) -> None:
    _, entry = rate(config(), reply)
    assert isinstance(entry, Drop)
    assert entry.reason == reason


@pytest.mark.parametrize(
    "said",
    [
        "<think>4 or 5?\nIt is short.</think>\n\n3\nIt is wrong.",
        "4 or 5?\nIt is short.\n</think>\n3\nIt is wrong.",
    ],
)
def test_what_a_judge_thinks_first_is_no_rating(said: str) -> None:
    _, entry = rate(config(), Reply(said))
    assert isinstance(entry, dict)
    assert (entry["rating"], entry["rating_reason"]) == (3, "It is wrong.")


def test_a_judge_that_was_cut_off_while_it_thought_is_said_to_be_cut_off() -> None:
    _, entry = rate(config(), Reply("<think>4?\nOr", "length"))
    assert isinstance(entry, Drop)
    assert entry.reason == "cut_off"


def test_a_number_stands_though_its_reason_was_cut_off() -> None:
    _, entry = rate(config(), Reply("4\nBecause", "length"))
    assert isinstance(entry, dict)
    assert entry["rating"] == 4


def test_a_row_without_an_answer_is_not_asked_about() -> None:
    with pytest.raises(StopIteration) as end:
        next(work({**ROW, "output": None}, config(), Random(0)))
    (entry,) = end.value.value
    assert isinstance(entry, Drop)
    assert entry.reason == "no_output"


def test_the_prompt_holds_the_row_and_what_is_rated() -> None:
    asked, _ = rate(config(), Reply("4"))
    text = templates.load("rate").render(asked[0].values)
    for part in ("Name a river.", "The Po.", "accuracy", "is what it says true"):
        assert part in text
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    asked, _ = rate(config(), Reply("4"), row={**ROW, "messages": turns})
    text = templates.load("rate").render(asked[0].values)
    assert "[assistant]\nYes?" in text


@pytest.mark.parametrize(
    "given", [{"dimensions": ["beauty"]}, {"dimensions": []}, {"dimensions": ["bias", "bias"]}]
)
def test_dimensions_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**given)
