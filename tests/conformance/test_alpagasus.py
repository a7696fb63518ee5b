"""Replies of a judge, read as the published script reads them, but for the exceptions listed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.stages.rating import HIGHEST, read_rating

PROBLEMS = {"no_first_line", "no_number", "out_of_range"}
OUT_OF_RANGE = "outside 0 to 5"
NO_PLAIN_NUMBER = "no plain number: inf, nan, digits with _ between, digits of another script"


def cases() -> list[dict[str, Any]]:
    folder = os.environ.get("SYNTH_REFERENCE_DIR")
    if not folder:
        pytest.skip("SYNTH_REFERENCE_DIR does not name the folder with the published verdicts")
    path = Path(folder) / "conformance" / "alpagasus_rating_parse.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def exception(reply: str, score: float | str) -> str | None:
    """Why we refuse what the script takes; null where we must not."""
    said = reply.partition("\n")[0].strip()
    if not isinstance(score, str) and not 0 <= score <= HIGHEST:
        return OUT_OF_RANGE
    if isinstance(score, str) or not said.isascii() or "_" in said:
        return NO_PLAIN_NUMBER
    return None


def test_what_the_strict_reading_takes_is_taken_and_all_else_is_named() -> None:
    seen = {"taken": 0, "named": 0, OUT_OF_RANGE: 0, NO_PLAIN_NUMBER: 0}
    for case in cases():
        found = read_rating(case["reply"])
        if case["strict_parse_failed"]:
            assert found.number is None, case["id"]
            assert found.problem in PROBLEMS, case["id"]
            seen["named"] += 1
            continue
        why = exception(case["reply"], case["strict"]["score"])
        if why is None:
            assert (found.number, found.problem) == (case["strict"]["score"], ""), case["id"]
            seen["taken"] += 1
        else:
            assert found.number is None, case["id"]
            assert found.problem in PROBLEMS, case["id"]
            seen[why] += 1
    assert seen["taken"] > 15
    assert seen["named"] > 30
    assert seen[OUT_OF_RANGE] == 4
    assert seen[NO_PLAIN_NUMBER] >= 3


@pytest.mark.parametrize(
    "reply",
    ["10", "inf", "-inf", "nan", "4_5", "４.５", "٤.٥", "1e1", "-1", "5.01", "1e999", "Infinity"],
)
def test_what_is_no_number_from_0_to_5_is_never_a_rating(reply: str) -> None:
    found = read_rating(f"{reply}\nIt is good.")
    assert found.number is None
    assert found.problem in ("no_number", "out_of_range")


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("0", 0),
        ("5", 5),
        ("4.5", 4.5),
        (" 4.5 \t\nGood.", 4.5),
        (".5", 0.5),
        ("5.", 5),
        ("4.50", 4.5),
    ],
)
def test_plain_numbers_are_ratings(reply: str, number: float) -> None:
    assert read_rating(reply).number == number
