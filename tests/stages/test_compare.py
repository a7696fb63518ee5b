"""Two answers, judged in both orders."""

import json
from pathlib import Path
from random import Random

import polars as pl
import pytest

from pipeline.stage import Drop, Reply, Row
from pipeline.stages.compare import Config, measures, work
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

ROW: Row = {"row_id": "a", "instruction": "Add.", "input": "", "output": "x", "other_output": "y"}


def compare(*replies: Reply | Drop) -> Row | Drop:
    talk = work(ROW, Config(), Random(0))
    first, second = next(talk)
    assert (first.values["first"], first.values["second"]) == ("x", "y")
    assert (second.values["first"], second.values["second"]) == ("y", "x")
    with pytest.raises(StopIteration) as end:
        talk.send(replies)
    (entry,) = end.value.value
    return entry


@pytest.mark.parametrize(
    ("first", "second", "preferred", "is_flipped"),
    [
        ("A", "B", "output", False),
        ("B\nIt is true.", "Answer A.", "other_output", False),
        ("A", "A", "tie", True),
        ("b", "B", "tie", True),
        ("Tie", "tie", "tie", False),
        ("A", "Tie", "tie", False),
        ("<think>B?\nNo.</think>\n\nA", "A?\n</think>\nB", "output", False),
    ],
)
def test_an_answer_wins_only_in_both_orders(
    first: str, second: str, preferred: str, is_flipped: bool
) -> None:
    found = compare(Reply(first), Reply(second))
    assert found == {"preferred": preferred, "is_flipped": is_flipped}


@pytest.mark.parametrize("text", ["", "Both are fine.", "A and B", "C"])
def test_a_reply_without_a_verdict_drops_the_row(text: str) -> None:
    found = compare(Reply("A"), Reply(text))
    assert isinstance(found, Drop)
    assert found.reason == "no_verdict"


@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_a_verdict_that_was_cut_off_in_its_first_word_is_none(finish: str) -> None:
    for text in ("T", "Ti", "Answer", "", "<think>A"):
        found = compare(Reply(text, finish), Reply("A"))
        assert isinstance(found, Drop)
        assert (found.reason, found.detail) == ("cut_off", text)
    whole = {"preferred": "output", "is_flipped": False}
    assert compare(Reply("A\nIt is tr", finish), Reply("B", finish)) == whole
    found = compare(Reply("Both are fi", finish), Reply("A"))
    assert isinstance(found, Drop)
    assert found.reason == "no_verdict"


def test_a_refusal_keeps_its_name() -> None:
    found = compare(Drop("refusal"), Reply("A"))
    assert isinstance(found, Drop)
    assert found.reason == "refusal"


def test_ties_and_flips_are_counted() -> None:
    kept = pl.DataFrame(
        {"preferred": ["output", "tie", "tie", "other_output"],
         "is_flipped": [False, True, False, False]}
    )  # fmt: skip
    assert measures(kept) == {
        "share_output": 0.25, "share_other_output": 0.25, "share_tie": 0.5, "share_flipped": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "tie", "flipped"), [("A", 1.0, 1.0), ("Tie", 1.0, 0.0)])
def test_equal_answers_are_ties_and_a_judge_that_likes_the_first_place_flips(
    text: str, tie: float, flipped: float, run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": text}})
    lines = [{"prompt": f"Name river {n}.", "chosen": "The Po.", "rejected": "The Po."}
             for n in range(12)]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    run_synth(tmp_path / "run", recipe="compare", input=str(path),
              judge=f"openai:the-judge@{server.url}")  # fmt: skip
    found = books.stage_json(tmp_path / "run", "compare")
    assert found["measures"] == {
        "share_output": 0.0, "share_other_output": 0.0, "share_tie": tie, "share_flipped": flipped,
    }  # fmt: skip
    assert found["usage"][0]["requests"] == 24
