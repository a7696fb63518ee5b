"""Paraphrases stand beside their row, those that say nothing new are dropped."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Reply, Request
from pipeline.stages import reformulate
from pipeline.stages.reformulate import Config

ROW: dict[str, Any] = {"row_id": "a", "instruction": "Name a lake.", "nearest_id": "seed_3"}


def said(
    *replies: Reply | Drop, row: dict[str, Any] = ROW
) -> tuple[list[Request], list[dict[str, Any] | Drop]]:
    talk = reformulate.work(row, Config(reformulations=len(replies)), Random(0))
    requests = list(next(talk))
    with pytest.raises(StopIteration) as done:
        talk.send(list(replies))
    return requests, done.value.value


def test_the_row_goes_on_and_each_paraphrase_names_its_own_request() -> None:
    requests, entries = said(Reply("Give me the name of a lake."), Reply("Which lake is there?"))
    assert [request.values for request in requests] == [{"instruction": "Name a lake."}] * 2
    assert entries == [
        {"row_id": "a", "requests": []},
        {
            "instruction": "Give me the name of a lake.",
            "origin": "teacher",
            "nearest_id": None,
            "requests": [requests[0]],
        },
        {
            "instruction": "Which lake is there?",
            "origin": "teacher",
            "nearest_id": None,
            "requests": [requests[1]],
        },
    ]
    assert entries[1]["requests"][0] is requests[0]  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        "Which lake is there?", ' "Which lake is there?"\n', "New wording: Which lake is there?",
        'Instruction: "Which lake is there?"', "<think>Hm</think>Which lake is there?",
    ],
)  # fmt: skip
def test_field_names_and_quotation_marks_around_all_of_it_go(text: str) -> None:
    assert reformulate.read(Reply(text)) == "Which lake is there?"


def test_quotation_marks_inside_stay() -> None:
    assert reformulate.read(Reply('"Yes" or "no"?')) == '"Yes" or "no"?'


@pytest.mark.parametrize(
    ("reply", "reason", "ref"),
    [
        (Reply("name a  LAKE."), "equals_original", 0),
        (Reply("Which lake?"), "repeats_another", 1),
        (Reply("Which la", "length"), "item_cut_off", None),
        (Reply(" "), "empty_item", None),
        (Drop("content_filter", "stopped"), "content_filter", None),
    ],
)
def test_what_is_no_paraphrase_is_dropped_by_name(
    reply: Reply | Drop, reason: str, ref: int | None
) -> None:
    _, (_, first, second) = said(Reply("Which lake?"), reply)
    assert not isinstance(first, Drop)
    assert isinstance(second, Drop)
    assert (second.reason, second.ref) == (reason, ref)


@given(
    st.lists(
        st.sampled_from(["Name a lake.", "Which lake?", "", "Say one."]), min_size=1, max_size=20
    )
)
def test_kept_instructions_are_all_different(texts: list[str]) -> None:
    _, entries = said(*map(Reply, texts))
    assert len(entries) == len(texts) + 1
    kept = [entry for entry in entries if not isinstance(entry, Drop)]
    instructions = [ROW["instruction"], *(entry["instruction"] for entry in kept[1:])]
    assert len(set(instructions)) == len(instructions)
    assert set(instructions) == {ROW["instruction"], *filter(None, texts)}
