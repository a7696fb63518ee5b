"""Elimination and clean-up of Evol-Instruct: what published notes and code decide, row by row."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from filters import information_gain, prompt_leak, refusal, stop_words
from pipeline.stages.evolution import Source, read_task

FOLDER = Path(os.environ.get("SYNTH_REFERENCE_DIR", "")) / "conformance"

REASONS = {
    "no_information_gain": "no_information_gain",
    "sorry_short": "refusal",
    "only_punct_stopwords": "only_stop_words",
    "prompt_leak": "prompt_leak",
}
"""The names of the reference, and ours."""

EXCEPTIONS = {
    "evol-008": "a reply that says neither is no verdict: both orders must say different",
}
"""Rows that another reading decides as well, and why ours is another."""

OTHER_CLEANING = {
    "a marker of the prompt is a reason to drop the row (prompt_leak), not to mend it": {
        "h2oclean-001",
        "h2oclean-002",
        "h2oclean-003",
        "h2oclean-014",
        "h2oclean-015",
        "h2oclean-018",
        "h2oclean-020",
        "h2oclean-023",
    },
    "what a task says of an AI model is left to the rules of a recipe": {
        "h2oclean-009",
        "h2oclean-011",
        "h2oclean-012",
    },
}


def rows(name: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip("SYNTH_REFERENCE_DIR is not set")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def verdicts(row: dict[str, Any]) -> list[str]:
    """Our reasons for one row, in the order of the paper's rules."""
    found = []
    if (said := row["judge_reply"]) is not None:  # one reply stands for both orders
        found.append(information_gain.judge(said, said)[0])
    found.append(refusal.judge(row["response"])[0])
    found.append(stop_words.judge(row["response"])[0])
    found.append(prompt_leak.judge(row["evolved"])[0])
    return [reason for reason in found if reason is not None]


def test_the_rules_of_the_paper_decide_every_row_alike_but_the_listed_ones() -> None:
    cases = rows("evol_elimination")
    other = {}
    for row in cases:
        wanted = [REASONS[name] for name in row["paper_rules"]["all_reasons"]]
        if verdicts(row) != wanted:
            other[row["id"]] = row
    assert len(cases) == 57
    assert other.keys() == EXCEPTIONS.keys()
    for row in other.values():
        assert row["paper_ambiguity"], "an exception must be open to reading"


def test_every_reason_of_the_paper_occurs_and_some_rows_are_kept() -> None:
    found = [verdicts(row) for row in rows("evol_elimination")]
    assert {reason for reasons in found for reason in reasons} == set(REASONS.values())
    assert sum(not reasons for reasons in found) > 20


def test_a_rewriting_is_cleaned_as_published_but_for_the_listed_ones() -> None:
    parent = Source("Name a fruit.", "")
    cases = rows("evol_h2o_clean")
    listed = set().union(*OTHER_CLEANING.values())
    for row in cases:
        instruction, given = read_task(row["raw"], parent, "depth")
        assert given == ""
        assert (instruction == row["cleaned"]) == (row["id"] not in listed), row["id"]
    assert listed < {row["id"] for row in cases}


def test_the_markers_that_are_not_mended_are_dropped_where_they_are_phrases_of_ours() -> None:
    leaked = [row["id"] for row in rows("evol_h2o_clean") if prompt_leak.judge(row["raw"])[0]]
    assert leaked == ["h2oclean-002"]
