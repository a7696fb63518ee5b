"""Instances: how they are asked for, what is read, how even the labels are."""

from collections.abc import Callable
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Reply
from pipeline.stages import instances
from pipeline.stages.instances import Config

OPEN = {"row_id": "a", "instruction": "Make it plural.", "is_classification": False}
CLASSES = OPEN | {"is_classification": True}
CONFIG = Config()
Write = Callable[[int], str]
PARTS = ["Example 1", "Output:", "Class label:", "\n", "Input:", "**", "x", " ", "<think>", "```"]


@pytest.mark.parametrize(
    ("row", "template"), [(OPEN, "instances_input_first"), (CLASSES, "instances_output_first")]
)
def test_classification_tasks_are_asked_output_first(row: dict[str, object], template: str) -> None:
    request = instances.ask(row, CONFIG, Random(0))
    assert request.template == template
    assert request.values == {"instruction": "Make it plural.", "instances": 5}


def examples(n: int) -> str:
    return "\n\n".join(f"Example {i}\nNoun: word{i}\nOutput: words{i}" for i in range(1, n + 1))


def labels(n: int) -> str:
    return "\n".join(f"Class label: {i}\nText: number {i}" for i in range(1, n + 1))


def test_each_form_is_read() -> None:
    assert instances.read(Reply(examples(2)), OPEN, CONFIG) == [
        {"input": "Noun: word1", "output": "words1"},
        {"input": "Noun: word2", "output": "words2"},
    ]
    assert instances.read(Reply(labels(2)), CLASSES, CONFIG) == [
        {"input": "Text: number 1", "output": "1"},
        {"input": "Text: number 2", "output": "2"},
    ]


@pytest.mark.parametrize(("row", "write"), [(OPEN, examples), (CLASSES, labels)])
def test_the_last_instance_of_a_cut_off_reply_is_dropped(
    row: dict[str, object], write: Write
) -> None:
    found = instances.read(Reply(write(3)[:-2], "length"), row, CONFIG)
    assert len(found) == 3
    assert not isinstance(found[1], Drop)
    assert isinstance(found[2], Drop)
    assert (found[2].reason, found[2].detail) == ("instance_cut_off", "length")
    assert set(found[2].row) == {"input", "output"}


@pytest.mark.parametrize(("row", "write"), [(OPEN, examples), (CLASSES, labels)])
@pytest.mark.parametrize(("n", "beyond"), [(5, 0), (6, 1), (9, 4)])
def test_instances_beyond_the_list_are_dropped(
    row: dict[str, object],
    write: Write,
    n: int,
    beyond: int,
) -> None:
    found = instances.read(Reply(write(n)), row, CONFIG)
    assert len(found) == n
    drops = [entry for entry in found if isinstance(entry, Drop)]
    assert [drop.reason for drop in drops] == ["beyond_the_list"] * beyond
    assert not any(isinstance(entry, Drop) for entry in found[:5])


@pytest.mark.parametrize("row", [OPEN, CLASSES])
@pytest.mark.parametrize("text", ["", "   ", "I cannot help with that.", "<think>Example 1"])
def test_a_reply_without_instance_is_one_dropped_row(row: dict[str, object], text: str) -> None:
    (found,) = instances.read(Reply(text), row, CONFIG)
    assert isinstance(found, Drop)
    assert found.reason == "no_instance"


@given(
    st.text() | st.lists(st.sampled_from(PARTS), max_size=25).map("".join),
    st.sampled_from(["stop", "length", "unknown"]),
    st.booleans(),
)
def test_any_reply_gives_at_least_one_entry_and_at_most_five_kept(
    text: str, finish: str, is_classification: bool
) -> None:
    row = OPEN | {"is_classification": is_classification}
    found = instances.read(Reply(text, finish), row, CONFIG)
    assert found
    kept = [entry for entry in found if not isinstance(entry, Drop)]
    assert len(kept) <= 5
    assert all(set(entry) == {"input", "output"} for entry in kept)
    assert all(entry.reason for entry in found if isinstance(entry, Drop))


def shares(rows: list[tuple[str, str, bool]]) -> dict[str, object]:
    schema = {"parent_id": pl.String, "output": pl.String, "is_classification": pl.Boolean}
    return instances.label_shares(pl.DataFrame(rows, schema=schema, orient="row"))


def test_even_labels_have_a_balance_of_one_and_one_label_has_none() -> None:
    even = [("a", "yes", True), ("a", "no", True)]
    assert shares(even) == {"label_shares": {"a": {"yes": 0.5, "no": 0.5}}, "label_balance": 1.0}
    assert shares([("a", "yes", True)] * 4)["label_balance"] == 0.0
    assert shares(even + [("b", "x", True)] * 2)["label_balance"] == 0.5


def test_uneven_labels_lie_between() -> None:
    found = shares([("a", "yes", True)] * 3 + [("a", "no", True)])
    assert found == {
        "label_shares": {"a": {"yes": 0.75, "no": 0.25}},
        "label_balance": pytest.approx(0.8113, abs=1e-4),
    }


def test_only_classification_tasks_with_two_instances_count() -> None:
    assert shares([("a", "x", False), ("a", "y", False)]) == {
        "label_shares": {},
        "label_balance": None,
    }
    assert shares([("a", "x", True)]) == {"label_shares": {"a": {"x": 1.0}}, "label_balance": None}
    assert shares([]) == {"label_shares": {}, "label_balance": None}
