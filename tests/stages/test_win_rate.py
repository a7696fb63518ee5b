"""Two models' answers before a judge: both orders, what it is shown, and who is never asked."""

from random import Random
from typing import Any

import pytest

from pipeline.stage import NOT_ASKED, Drop, Reply, Request, Row
from pipeline.stages import win_rate
from pipeline.stages.win_rate import Config


def row(*said: tuple[str, str], **more: Any) -> Row:
    """A row with the answers of models."""
    both = [{"model": model, "answer": answer} for model, answer in said] or None
    why = None if both else "trained_on"
    known = {"instruction": "Name it.", "input": "France", "output": "Paris!"}
    return known | {"evaluations": both, "not_evaluated": why, **more}


BOTH = (("base", "No idea."), ("adapter", "Paris."))


def judged(given: Row, *replies: Reply | Drop) -> tuple[list[Request], Row | Drop]:
    """What is asked, and what comes of it."""
    talk = win_rate.work(given, Config(), Random(1))
    try:
        asked = list(next(talk))
        talk.send(replies)
    except StopIteration as ended:
        (entry,) = ended.value
        return (asked if replies else []), entry
    raise AssertionError("it asks twice")


def says(text: str) -> Reply:
    return Reply(text)


@pytest.mark.parametrize(
    ("first", "second", "preferred", "is_flipped"),
    [
        ("A\nbetter", "B\nbetter", "adapter", False),
        ("B", "A", "base", False),
        ("A", "A", "tie", True),  # whoever stands first
        ("B", "B", "tie", True),
        ("Tie", "A", "tie", False),
        ("A", "Tie", "tie", False),
        ("Tie", "Tie", "tie", False),
    ],
)
def test_only_who_wins_in_both_orders_wins(
    first: str, second: str, preferred: str, is_flipped: bool
) -> None:
    asked, entry = judged(row(*BOTH), says(first), says(second))
    shown = [(one.values["first"], one.values["second"]) for one in asked]
    assert shown == [("Paris.", "No idea."), ("No idea.", "Paris.")]
    assert {one.template for one in asked} == {"prefer"}
    assert entry == {"preferred": preferred, "is_flipped": is_flipped, "not_judged": None}


def test_a_second_adapter_is_judged_in_place_of_the_base() -> None:
    asked, entry = judged(row(*BOTH, ("other", "Lyon.")), says("B"), says("A"))
    assert (asked[0].values["first"], asked[0].values["second"]) == ("Paris.", "Lyon.")
    assert isinstance(entry, dict)
    assert entry["preferred"] == "other"


def test_a_row_that_was_not_evaluated_goes_on_and_nobody_is_asked() -> None:
    asked, entry = judged(row())
    assert asked == []
    assert entry == {"preferred": None, "is_flipped": None, "not_judged": None}
    assert win_rate.requests_about(row(), Config()) == 0
    assert win_rate.requests_about(row(*BOTH), Config()) == 2


def test_a_plan_asks_about_rows_that_are_still_to_be_answered() -> None:
    still = row(not_evaluated=None)
    asked, _ = judged(still, says("A"), says("A"))
    assert {one.values["first"] for one in asked} == {"Paris!"}
    assert win_rate.requests_about(still, Config()) == 2
    assert win_rate.requests_about(still | {"held_out": False}, Config()) == 0


@pytest.mark.parametrize(
    ("base", "adapter", "preferred"),
    [("", "x", "adapter"), ("x", " \n", "base"), ("", " ", "tie")],
)
def test_who_says_nothing_loses_without_a_judge(base: str, adapter: str, preferred: str) -> None:
    asked, entry = judged(row(("base", base), ("adapter", adapter)))
    assert asked == []
    assert isinstance(entry, dict)
    assert entry["preferred"] == preferred


def test_a_row_without_a_verdict_is_kept_and_says_why() -> None:
    _, entry = judged(row(*BOTH), says("A"), says("Both are fine."))
    assert entry == {"preferred": None, "is_flipped": None, "not_judged": "no_verdict"}
    _, entry = judged(row(*BOTH), Drop("content_filter"), says("A"))
    assert isinstance(entry, dict)
    assert entry["not_judged"] == "content_filter"


def test_a_replay_that_lacks_a_reply_drops_the_row() -> None:
    _, entry = judged(row(*BOTH), says("A"), Drop(NOT_ASKED))
    assert isinstance(entry, Drop)
    assert entry.reason == NOT_ASKED


def test_of_a_conversation_the_judge_sees_all_before_the_answer() -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ]
    given = row(*BOTH, messages=turns) | {"instruction": "a", "output": "b", "input": None}
    asked, _ = judged(given, says("A"), says("B"))
    assert asked[0].values["instruction"] == "user: a\n\nassistant: b\n\nuser: c"
    assert asked[0].values["input"] is None
